//! The kernel maps. Names, kinds, sizes and layouts come from `nexin_abi::maps`; nothing is declared twice.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr;

use aya_ebpf::bindings::bpf_map_def;
use aya_ebpf::bindings::bpf_map_type::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_PERCPU_ARRAY,
    BPF_MAP_TYPE_RINGBUF,
};
use aya_ebpf::helpers::{bpf_map_delete_elem, bpf_map_lookup_elem, bpf_map_update_elem};
use nexin_abi::maps::addr::{Addr4Map, Addr6Map};
use nexin_abi::maps::capture::{CaptureBuffers, CaptureFilters, CaptureRing};
use nexin_abi::maps::cidr::{Cidr4, Cidr6, NoMasq4, NoMasq6};
use nexin_abi::maps::config::ConfigMap;
use nexin_abi::maps::ct::{Ct4, Ct6};
use nexin_abi::maps::device::Devices;
use nexin_abi::maps::endpoint::{EndpointByDevice, EndpointStates, Endpoints};
use nexin_abi::maps::frag::{Frag4, Frag6};
use nexin_abi::maps::metrics::{Clocks, DropEvents, Lost, Metrics, Pace, TraceEvents, VerdictEvents, Withheld};
use nexin_abi::maps::nat::{Nat4, Nat6, NatAddr4, NatAddr6};
use nexin_abi::maps::policy::{Blocks, Classes, Decisions, Policies, Ports, Verdicts};
use nexin_abi::maps::{KernelMap, MapKind};

/// A map as the loader finds it in section `maps`.
#[repr(transparent)]
pub struct Table<M> {
    definition: UnsafeCell<bpf_map_def>,
    map: PhantomData<M>,
}

// SAFETY: the definition is only read, by the loader; at run time the static's address stands for the kernel's map.
unsafe impl<M> Sync for Table<M> {}

impl<M: KernelMap> Table<M> {
    const fn new() -> Self {
        let kind = match M::KIND {
            MapKind::Array => BPF_MAP_TYPE_ARRAY,
            MapKind::PerCpuArray => BPF_MAP_TYPE_PERCPU_ARRAY,
            MapKind::Hash => BPF_MAP_TYPE_HASH,
            MapKind::LruHash => BPF_MAP_TYPE_LRU_HASH,
            MapKind::LpmTrie => BPF_MAP_TYPE_LPM_TRIE,
            MapKind::RingBuf => BPF_MAP_TYPE_RINGBUF,
        };
        let definition = bpf_map_def {
            type_: kind,
            key_size: size_of::<M::Key>() as u32,
            value_size: size_of::<M::Value>() as u32,
            max_entries: M::ENTRIES,
            map_flags: M::FLAGS,
            id: 0,
            pinning: 0,
        };
        Self { definition: UnsafeCell::new(definition), map: PhantomData }
    }

    pub fn as_ptr(&self) -> *mut c_void {
        self.definition.get().cast()
    }

    /// The value in place; null where there is none. Other CPUs and user space write it at the same time.
    #[inline(always)]
    pub fn find(&self, key: &M::Key) -> *mut M::Value {
        // SAFETY: the key has the map's key type and is initialised.
        unsafe { bpf_map_lookup_elem(self.as_ptr(), ptr::from_ref(key).cast()) }.cast()
    }

    /// A copy of the value.
    #[inline(always)]
    pub fn get(&self, key: &M::Key) -> Option<M::Value> {
        let value = self.find(key);
        // SAFETY: a non-null result points to a live value of the map's value type.
        if value.is_null() { None } else { Some(unsafe { ptr::read_volatile(value) }) }
    }

    /// A shared view of the value, for types that are read field by field.
    #[inline(always)]
    pub fn peek(&self, key: &M::Key) -> Option<&M::Value> {
        // SAFETY: a non-null result points to a live value; fields are plain integers, a torn read is a stale read.
        unsafe { self.find(key).as_ref() }
    }

    /// Adds an entry that must not exist yet; false when it does or the map is full.
    #[inline(always)]
    pub fn add(&self, key: &M::Key, value: &M::Value) -> bool {
        const BPF_NOEXIST: u64 = 1;
        self.update(key, value, BPF_NOEXIST)
    }

    /// Adds or replaces an entry; false when the map is full.
    #[inline(always)]
    pub fn set(&self, key: &M::Key, value: &M::Value) -> bool {
        self.update(key, value, 0)
    }

    #[inline(always)]
    fn update(&self, key: &M::Key, value: &M::Value, flags: u64) -> bool {
        // SAFETY: key and value have the map's types and are initialised.
        unsafe {
            bpf_map_update_elem(self.as_ptr(), ptr::from_ref(key).cast(), ptr::from_ref(value).cast(), flags) == 0
        }
    }

    /// True for the one caller that removed the entry.
    #[inline(always)]
    pub fn remove(&self, key: &M::Key) -> bool {
        // SAFETY: the key has the map's key type and is initialised.
        unsafe { bpf_map_delete_elem(self.as_ptr(), ptr::from_ref(key).cast()) == 0 }
    }
}

macro_rules! tables {
    ($($table:ident = $map:ty, $name:literal;)*) => {
        $(
            #[unsafe(link_section = "maps")]
            #[unsafe(export_name = $name)]
            pub static $table: Table<$map> = Table::new();
            const _: () = assert!(same(<$map as KernelMap>::NAME, $name), "the name is the abi's");
        )*
    };
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

tables! {
    ADDR4 = Addr4Map, "nx_addr4";
    ADDR6 = Addr6Map, "nx_addr6";
    CAPTURE_FILTERS = CaptureFilters, "nx_capfilter";
    CAPTURE_BUFFERS = CaptureBuffers, "nx_capbuf";
    CAPTURE_RING = CaptureRing, "nx_capture";
    CIDR4 = Cidr4, "nx_cidr4";
    CIDR6 = Cidr6, "nx_cidr6";
    NO_MASQ4 = NoMasq4, "nx_nomasq4";
    NO_MASQ6 = NoMasq6, "nx_nomasq6";
    CONFIG = ConfigMap, "nx_config";
    CT4 = Ct4, "nx_ct4";
    CT6 = Ct6, "nx_ct6";
    DEVICES = Devices, "nx_device";
    ENDPOINTS = Endpoints, "nx_endpoint";
    ENDPOINT_STATES = EndpointStates, "nx_epstate";
    ENDPOINT_BY_DEVICE = EndpointByDevice, "nx_epdev";
    FRAG4 = Frag4, "nx_frag4";
    FRAG6 = Frag6, "nx_frag6";
    METRICS = Metrics, "nx_metrics";
    LOST = Lost, "nx_lost";
    WITHHELD = Withheld, "nx_withheld";
    PACE = Pace, "nx_pace";
    CLOCK = Clocks, "nx_clock";
    DROP_EVENTS = DropEvents, "nx_ev_drop";
    VERDICT_EVENTS = VerdictEvents, "nx_ev_verdict";
    TRACE_EVENTS = TraceEvents, "nx_ev_trace";
    NAT4 = Nat4, "nx_nat4";
    NAT6 = Nat6, "nx_nat6";
    NAT_ADDR4 = NatAddr4, "nx_nataddr4";
    NAT_ADDR6 = NatAddr6, "nx_nataddr6";
    POLICIES = Policies, "nx_policy";
    CLASSES = Classes, "nx_class";
    DECISIONS = Decisions, "nx_decision";
    PORTS = Ports, "nx_ports";
    BLOCKS = Blocks, "nx_block";
    VERDICTS = Verdicts, "nx_verdict";
}
