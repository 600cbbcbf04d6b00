//! Numeric security identities. The numbers match Cilium's, since they travel (VXLAN VNI, flow records).
//! Source: cilium `pkg/identity/numericidentity.go`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A security identity: the number that stands for a set of labels.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Identity(pub u32);

impl Identity {
    pub const UNKNOWN: Self = Self(0);
    pub const HOST: Self = Self(1);
    pub const WORLD: Self = Self(2);
    pub const UNMANAGED: Self = Self(3);
    pub const HEALTH: Self = Self(4);
    pub const INIT: Self = Self(5);
    pub const REMOTE_NODE: Self = Self(6);
    pub const KUBE_APISERVER: Self = Self(7);
    pub const INGRESS: Self = Self(8);
    pub const WORLD_IPV4: Self = Self(9);
    pub const WORLD_IPV6: Self = Self(10);

    /// First and last number for identities of labelled workloads of this cluster.
    pub const CLUSTER_MIN: u32 = 256;
    pub const CLUSTER_MAX: u32 = 65_535;
    /// Scope of identities that only this node knows: CIDRs and DNS names.
    pub const SCOPE_LOCAL: u32 = 1 << 24;
    /// Scope of identities of other nodes that carry their own labels.
    pub const SCOPE_REMOTE_NODE: u32 = 2 << 24;
    const SCOPE_MASK: u32 = 0xff << 24;

    /// Stands for something outside the cluster: the world itself or a CIDR of it.
    #[inline(always)]
    pub const fn is_world(self) -> bool {
        matches!(self, Self::WORLD | Self::WORLD_IPV4 | Self::WORLD_IPV6)
            || self.0 & Self::SCOPE_MASK == Self::SCOPE_LOCAL
    }

    /// One of the fixed numbers below [`Self::CLUSTER_MIN`].
    pub const fn is_reserved(self) -> bool {
        self.0 < Self::CLUSTER_MIN
    }
}
