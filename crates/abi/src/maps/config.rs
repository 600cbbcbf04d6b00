//! What may change while programs run. What may not is a `.rodata` global of the kernel program.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::kernel_map;

/// Node-wide run-time configuration, one entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Config {
    /// Raised after every change of a policy, an identity or an address. A flow admitted under another epoch is judged
    /// again at its next packet. Never 0.
    pub epoch: u32,
    /// [`Config::AUDIT`] and friends.
    pub flags: u32,
}

impl Config {
    /// Policy denials are reported and let through.
    pub const AUDIT: u32 = 1;
}

kernel_map!(
    /// Index 0 only.
    ConfigMap, "nx_config", Array, 1, u32, Config
);
