//! Decision tables. Precedence, deny, tiers and pass were resolved when they were compiled; here are only look-ups.
//!
//! ```text
//! endpoint.ingress_policy ─ POLICY[policy] = (classifier, base)
//!
//! CLASS[classifier, identity] ─ class ─ DECISION[base + class].<protocol> ─┬─ verdict
//!     (miss: class 0)                                                      └─ PORTS[table][port >> 8] ─┬─ verdict
//!                                                                                BLOCK[block][port & 255] ┘
//! ```
//!
//! A policy is a direction's rule set, shared by all endpoints that have the same. Who belongs to which class stands apart
//! from what a class may do: policies whose rules tell the same peers apart share a classifier, and a change of rules that
//! does not change who is told apart writes decisions only, however many identities there are. Every step is O(1).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{NO_PREALLOC, kernel_map};
use crate::{Be16, Identity};

/// Number of a rule, stable while its policy document stands; the agent knows its text, file and line. 0 = no rule.
pub type RuleId = u32;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClassKey {
    /// [`Policy::classifier`], never 0.
    pub classifier: u32,
    pub identity: Identity,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Policy {
    /// Who is told apart. 0 = the policy is not loaded, which denies.
    pub classifier: u32,
    /// Index in [`Decisions`] of class 0: of identities that have no entry in [`Classes`]. The other classes follow.
    pub base: u32,
}

/// Either a verdict's index or, with [`Slot::TABLE`] set, the index of the next table.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Slot(pub u32);

impl Slot {
    pub const TABLE: u32 = 1 << 31;

    pub const fn verdict(index: u32) -> Self {
        Self(index)
    }

    pub const fn table(index: u32) -> Self {
        Self(index | Self::TABLE)
    }

    #[inline(always)]
    pub const fn is_table(self) -> bool {
        self.0 & Self::TABLE != 0
    }

    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 & !Self::TABLE
    }
}

/// What a class may do, by protocol. A `Slot` with a table leads to [`Ports`].
/// For ICMP and ICMPv6 the "port" is `type << 8 | code`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Decision {
    pub tcp: Slot,
    pub udp: Slot,
    pub sctp: Slot,
    pub icmp: Slot,
    pub icmp6: Slot,
    /// Every other protocol; always a verdict.
    pub other: Slot,
}

/// 256 slots: [`Ports`] by the high byte of the port, [`Blocks`] by the low byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Page(pub [Slot; 256]);

/// A resolved decision.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Verdict {
    /// [`crate::Action`].
    pub action: u8,
    /// [`crate::Action`] of the policies in shadow mode and the live ones together; meaningful with [`Verdict::SHADOW`].
    pub shadow_action: u8,
    /// [`Verdict::SHADOW`] and friends.
    pub flags: u8,
    /// Authentication wanted: 0 none.
    pub auth: u8,
    /// Proxy to redirect to, 0 = none.
    pub proxy_port: Be16,
    pub reserved: u16,
    pub rule: RuleId,
    pub shadow_rule: RuleId,
    /// Policy log text, 0 = none.
    pub log: u32,
}

impl Verdict {
    /// Policies in shadow mode would decide `shadow_action`.
    pub const SHADOW: u8 = 1;
    /// A winning rule redirects to a proxy.
    pub const REDIRECT: u8 = 1 << 1;
}

kernel_map!(
    /// Policy number -> policy.
    Policies, "nx_policy", Array, 16_384, u32, Policy
);
kernel_map!(
    /// (classifier, identity) -> class; identities without an entry are of class 0.
    Classes, "nx_class", Hash, 1_048_576, ClassKey, u32, NO_PREALLOC
);
kernel_map!(
    /// Policy's base + class -> decisions by protocol.
    Decisions, "nx_decision", Array, 131_072, u32, Decision
);
kernel_map!(
    /// Port table: high byte of the port -> slot.
    Ports, "nx_ports", Array, 4_096, u32, Page
);
kernel_map!(
    /// Port block: low byte of the port -> verdict.
    Blocks, "nx_block", Array, 4_096, u32, Page
);
kernel_map!(
    /// Verdict index -> verdict.
    Verdicts, "nx_verdict", Array, 65_536, u32, Verdict
);
