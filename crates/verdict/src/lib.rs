//! The policy decision, once: kernel programs, the agent, `explain`, `simulate` and the tests run this function.
//!
//! Arbitration (precedence, deny, tiers, pass) happened when the tables were compiled; what is left is a walk of at most
//! six look-ups. The crate knows no map and no kernel: [`Tables`] says where the tables are.
#![cfg_attr(not(test), no_std)]

pub mod precedence;

use nexin_abi::Identity;
use nexin_abi::maps::policy::{Decision, Policy, Slot, Verdict};

/// IP protocol numbers that have a port table of their own.
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMP6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// Access to the decision tables of `nexin_abi::maps::policy`. `None` means that the entry does not exist.
pub trait Tables {
    fn policy(&self, policy: u32) -> Option<Policy>;
    fn class(&self, classifier: u32, identity: Identity) -> Option<u32>;
    fn decision(&self, index: u32) -> Option<Decision>;
    /// Slot of port table `table` for the high byte of a port.
    fn port(&self, table: u32, high: u8) -> Option<Slot>;
    /// Slot of port block `block` for the low byte of a port.
    fn block(&self, block: u32, low: u8) -> Option<Slot>;
    fn verdict(&self, index: u32) -> Option<Verdict>;
}

/// What `policy` says of traffic with `identity` on `protocol` and destination `port` (host order; for ICMP
/// `type << 8 | code`).
///
/// `None` means the tables are incomplete: the caller must fail closed. Policy 0 ("not isolated") is the caller's to
/// handle: it needs no look-up.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, policy: u32, identity: Identity, protocol: u8, port: u16) -> Option<Verdict> {
    let Policy { classifier, base } = tables.policy(policy)?;
    if classifier == 0 {
        return None;
    }
    let class = tables.class(classifier, identity).unwrap_or(0);
    let decision = tables.decision(base.wrapping_add(class))?;
    let slot = match protocol {
        protocol::TCP => decision.tcp,
        protocol::UDP => decision.udp,
        protocol::SCTP => decision.sctp,
        protocol::ICMP => decision.icmp,
        protocol::ICMP6 => decision.icmp6,
        _ => decision.other,
    };
    tables.verdict(resolve_port(tables, slot, port)?.index())
}

#[inline(always)]
fn resolve_port<T: Tables>(tables: &T, slot: Slot, port: u16) -> Option<Slot> {
    if !slot.is_table() {
        return Some(slot);
    }
    let high = tables.port(slot.index(), (port >> 8) as u8)?;
    if !high.is_table() {
        return Some(high);
    }
    tables.block(high.index(), port as u8)
}
