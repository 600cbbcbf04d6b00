//! The kernel maps, one file each: key, value, name and kind in one declaration.

pub mod addr;
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
    type Key: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static;
    type Value: FromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static;
}

/// Declares a map: `kernel_map!(Ct4, "nx_ct4", Hash, 262_144, CtKey<Addr4>, CtEntry);`
macro_rules! kernel_map {
    ($(#[$doc:meta])* $ty:ident, $name:literal, $kind:ident, $entries:expr, $key:ty, $value:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $ty {}

        impl $crate::maps::KernelMap for $ty {
            const NAME: &'static str = $name;
            const KIND: $crate::maps::MapKind = $crate::maps::MapKind::$kind;
            const ENTRIES: u32 = $entries;
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
