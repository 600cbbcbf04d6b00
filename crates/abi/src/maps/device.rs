//! Devices of the node that lead to the network.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::kernel_map;

/// A network device, by interface index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Device {
    /// Index + 1 of the address to masquerade with ([`super::nat::NatAddr4`]), 0 = none.
    pub nat_addr4: u8,
    pub nat_addr6: u8,
    pub mtu: u16,
    /// [`Device::NO_L2`].
    pub flags: u32,
}

impl Device {
    /// Packets carry no Ethernet header (tun, wireguard).
    pub const NO_L2: u32 = 1;
}

kernel_map!(
    /// ifindex -> device.
    Devices, "nx_device", Hash, 256, u32, Device
);
