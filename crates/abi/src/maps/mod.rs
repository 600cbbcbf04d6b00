//! The kernel maps, one file each: key, value, name and kind in one declaration.

pub mod addr;
pub mod capture;
pub mod cidr;
pub mod config;
pub mod ct;
pub mod device;
pub mod endpoint;
pub mod frag;
pub mod metrics;
pub mod nat;
pub mod policy;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What kind of kernel map holds a [`KernelMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    Array,
    PerCpuArray,
    Hash,
    LruHash,
    LpmTrie,
    RingBuf,
}

/// One kernel map: the kernel program, the agent and the tests all take its name and layout from here.
///
/// `NAME` is at most 15 bytes (kernel limit), and the pin is `<bpffs>/v<LAYOUT>/<NAME>`.
pub trait KernelMap {
    const NAME: &'static str;
    const KIND: MapKind;
    /// Entries when no setting says otherwise.
    const ENTRIES: u32;
    /// `BPF_F_*` flags the map is created with; both sides take them from here.
    const FLAGS: u32;
    type Key: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static;
    type Value: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static;
}

/// `BPF_F_NO_PREALLOC`: memory grows with use. For big maps that are mostly empty and that only the agent fills.
pub const NO_PREALLOC: u32 = 1;

/// A [`KernelMap`] as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    pub name: &'static str,
    pub kind: MapKind,
    pub entries: u32,
    pub flags: u32,
    /// Bytes; 0 for ring buffers.
    pub key_size: u32,
    pub value_size: u32,
}

impl MapSpec {
    pub const fn of<M: KernelMap>() -> Self {
        Self {
            name: M::NAME,
            kind: M::KIND,
            entries: M::ENTRIES,
            flags: M::FLAGS,
            key_size: size_of::<M::Key>() as u32,
            value_size: size_of::<M::Value>() as u32,
        }
    }
}

/// Every kernel map there is: what is pinned, accounted and cleaned up.
pub const ALL: &[MapSpec] = &[
    MapSpec::of::<addr::Addr4Map>(),
    MapSpec::of::<addr::Addr6Map>(),
    MapSpec::of::<capture::CaptureFilters>(),
    MapSpec::of::<capture::CaptureBuffers>(),
    MapSpec::of::<capture::CaptureRing>(),
    MapSpec::of::<cidr::Cidr4>(),
    MapSpec::of::<cidr::Cidr6>(),
    MapSpec::of::<cidr::NoMasq4>(),
    MapSpec::of::<cidr::NoMasq6>(),
    MapSpec::of::<config::ConfigMap>(),
    MapSpec::of::<ct::Ct4>(),
    MapSpec::of::<ct::Ct6>(),
    MapSpec::of::<device::Devices>(),
    MapSpec::of::<endpoint::Endpoints>(),
    MapSpec::of::<endpoint::EndpointStates>(),
    MapSpec::of::<endpoint::EndpointByDevice>(),
    MapSpec::of::<frag::Frag4>(),
    MapSpec::of::<frag::Frag6>(),
    MapSpec::of::<metrics::Metrics>(),
    MapSpec::of::<metrics::Lost>(),
    MapSpec::of::<metrics::Withheld>(),
    MapSpec::of::<metrics::Pace>(),
    MapSpec::of::<metrics::Clocks>(),
    MapSpec::of::<metrics::DropEvents>(),
    MapSpec::of::<metrics::VerdictEvents>(),
    MapSpec::of::<metrics::TraceEvents>(),
    MapSpec::of::<nat::Nat4>(),
    MapSpec::of::<nat::Nat6>(),
    MapSpec::of::<nat::NatAddr4>(),
    MapSpec::of::<nat::NatAddr6>(),
    MapSpec::of::<policy::Policies>(),
    MapSpec::of::<policy::Classes>(),
    MapSpec::of::<policy::Decisions>(),
    MapSpec::of::<policy::Ports>(),
    MapSpec::of::<policy::Blocks>(),
    MapSpec::of::<policy::Verdicts>(),
];

/// Declares a map: `kernel_map!(Ct4, "nx_ct4", Hash, 262_144, CtKey<Addr4>, CtEntry);`, flags at the end if it has any.
macro_rules! kernel_map {
    ($(#[$doc:meta])* $ty:ident, $name:literal, $kind:ident, $entries:expr, $key:ty, $value:ty) => {
        $crate::maps::kernel_map!($(#[$doc])* $ty, $name, $kind, $entries, $key, $value, 0);
    };
    ($(#[$doc:meta])* $ty:ident, $name:literal, $kind:ident, $entries:expr, $key:ty, $value:ty, $flags:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $ty {}

        impl $crate::maps::KernelMap for $ty {
            const NAME: &'static str = $name;
            const KIND: $crate::maps::MapKind = $crate::maps::MapKind::$kind;
            const ENTRIES: u32 = $entries;
            const FLAGS: u32 = $flags;
            type Key = $key;
            type Value = $value;
        }
        const _: () = assert!($name.len() <= 15);
    };
}
pub(crate) use kernel_map;

/// Declares the same layouts for both families: in the body, `Addr` is the family's address. (zerocopy proves the
/// absence of padding for concrete types only, hence no generics.)
macro_rules! by_family {
    ($($body:tt)*) => {
        /// Layouts with IPv4 addresses.
        pub mod v4 {
            use super::*;
            type Addr = crate::Addr4;
            $($body)*
        }
        /// Layouts with IPv6 addresses.
        pub mod v6 {
            use super::*;
            type Addr = crate::Addr6;
            $($body)*
        }
    };
}
pub(crate) use by_family;
