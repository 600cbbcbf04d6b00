//! Policy: what the two sides of a flow say of it. The walk over the tables is `nexin-verdict`'s.

use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::config::Config;
use nexin_abi::maps::endpoint::Endpoint;
use nexin_abi::maps::policy::Verdict;
use nexin_abi::{Action, Direction, DropReason};
use nexin_verdict::decide;

use crate::maps;
use crate::tables::Kernel;

/// What one side's policy says.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Ruling {
    /// Policy asked, 0 if none isolates this side.
    pub policy: u32,
    pub rule: u32,
    pub shadow_rule: u32,
    /// [`Action`] of the rules.
    pub action: u8,
    pub shadow_action: u8,
    /// Bits of [`Event::flags`](nexin_abi::Event::flags): AUDIT, SHADOW.
    pub flags: u8,
    /// [`DropReason`] to refuse with, 0 to let pass.
    pub refuse: u8,
}

impl Ruling {
    /// Nobody was asked.
    pub const NONE: Self =
        Self { policy: 0, rule: 0, shadow_rule: 0, action: 0, shadow_action: 0, flags: 0, refuse: 0 };
}

/// A flow's facts as policy asks for them.
#[repr(C)]
pub struct Question {
    pub source: AddrInfo,
    pub target: AddrInfo,
    pub service: u16,
    pub protocol: u8,
    reserved: u8,
    /// [`Config::flags`].
    flags: u32,
}

impl Question {
    #[inline(always)]
    pub fn new(source: AddrInfo, target: AddrInfo, protocol: u8, service: u16, flags: u32) -> Self {
        Self { source, target, service, protocol, reserved: 0, flags }
    }
}

/// What is in force now. The epoch is read before any policy number: the agent writes tables, then endpoints, then the
/// epoch, so what is judged by half-old tables is judged again.
#[inline(always)]
pub fn config() -> Config {
    maps::CONFIG.get(&NX_ONLY).unwrap_or_default()
}

/// Key of a map with one entry. Not a literal: the compiler merges constants of equal value, and a literal's with a load-time
/// constant ([`crate::config`]) whose default it has, which the loader then changes. A static keeps its address.
#[unsafe(no_mangle)]
pub static NX_ONLY: u32 = 0;

/// Asks one side's policy. `direction` is as seen from the endpoint whose policy it is. 0, or the reason to refuse.
#[inline(always)]
pub fn rule(q: &Question, direction: Direction, ruling: &mut Ruling) -> i32 {
    nx_rule(q, direction as u32, ruling)
}

/// The same as a stage (see [`crate::stage`]); it needs no packet.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_rule(q: *const Question, direction: u32, ruling: *mut Ruling) -> i32 {
    // SAFETY: null, or the caller's question and ruling in its frame.
    let (Some(q), Some(ruling)) = (unsafe { q.as_ref() }, unsafe { ruling.as_mut() }) else {
        return DropReason::NoConfiguration as i32;
    };
    let egress = direction == Direction::Egress as u32;
    let (own, peer) = if egress { (q.source, q.target) } else { (q.target, q.source) };
    *ruling = Ruling { action: Action::Allow as u8, ..Ruling::default() };
    if own.endpoint == 0 {
        return 0;
    }
    let Some(endpoint) = maps::ENDPOINTS.peek(&u32::from(own.endpoint)) else { return 0 };
    let policy = if egress { endpoint.egress_policy } else { endpoint.ingress_policy };
    if policy == 0 {
        return 0;
    }
    let audit = q.flags & Config::AUDIT != 0 || endpoint.flags & Endpoint::AUDIT != 0;
    ruling.policy = policy;
    let Some(verdict) = decide(&Kernel, policy, peer.identity, q.protocol, q.service) else {
        ruling.action = Action::DefaultDeny as u8;
        ruling.refuse = DropReason::NoConfiguration as u8;
        return ruling.refuse as i32;
    };
    ruling.rule = verdict.rule;
    ruling.shadow_rule = verdict.shadow_rule;
    ruling.action = verdict.action;
    ruling.shadow_action = verdict.shadow_action;
    if verdict.flags & Verdict::SHADOW != 0 {
        ruling.flags |= nexin_abi::Event::SHADOW;
    }
    if verdict.action != Action::Allow as u8 {
        if audit {
            ruling.flags |= nexin_abi::Event::AUDIT;
        } else if verdict.action == Action::Deny as u8 {
            ruling.refuse = DropReason::PolicyDenyRule as u8;
        } else {
            ruling.refuse = DropReason::PolicyDenied as u8;
        }
    }
    ruling.refuse as i32
}
