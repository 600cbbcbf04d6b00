//! Stages: functions with BTF linkage "global". The verifier checks each of them once, whoever calls it and however often,
//! so that the cost of loading grows with the code and not with the paths through it.
//!
//! VERIFIER: a global function takes the context, scalars and pointers to structs of known size, and returns a scalar. It
//! may be given null for every pointer, hence the checks; what it gets must be initialised. Generic code has no symbol of
//! its own, so each stage is made twice here, and trait [`Stages`] picks the family's.

use aya_ebpf::bindings::__sk_buff;
use nexin_abi::maps::ct::CtEntry;

use crate::ct::Flow;
use crate::family::{Family, V4, V6};
use crate::packet::Packet;
use crate::policy::Ruling;
use crate::skb::{Skb, act};
use crate::{capture, deliver, event, from_network, icmp, nat, packet, related, tell, to_network, track};

/// Another argument of a stage: scalars pass as they are, pointers are checked.
trait Argument {
    type Checked;
    /// `None` for null where null means nothing.
    fn check(self) -> Option<Self::Checked>;
}

impl Argument for u32 {
    type Checked = u32;

    #[inline(always)]
    fn check(self) -> Option<u32> {
        Some(self)
    }
}

impl Argument for *const Ruling {
    type Checked = &'static Ruling;

    #[inline(always)]
    fn check(self) -> Option<&'static Ruling> {
        // SAFETY: null or a live ruling of the caller's frame, which outlives the call.
        unsafe { self.as_ref() }
    }
}

impl Argument for *mut CtEntry {
    type Checked = Option<Flow>;

    #[inline(always)]
    fn check(self) -> Option<Option<Flow>> {
        Some(Flow::from_map(self))
    }
}

/// VERIFIER: the compiler passes rubbish for arguments that a function does not use, and the verifier minds. This uses one.
#[inline(always)]
fn used(context: *mut __sk_buff) -> *mut __sk_buff {
    #[cfg(target_arch = "bpf")]
    {
        let mut context = context;
        // SAFETY: a register is moved to itself. (Without an instruction, its line info would be refused.)
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) context, options(nostack, preserves_flags)) };
        context
    }
    #[cfg(not(target_arch = "bpf"))]
    context
}

macro_rules! stages {
    ($($(#[$doc:meta])* $stage:ident($($arg:ident: $ty:ty),*) = $four:ident, $six:ident: $body:path;)*) => {
        /// The stages of a family.
        pub trait Stages: Family {
            $($(#[$doc])* fn $stage(skb: Skb, p: &mut Packet<Self>, $($arg: $ty),*) -> i32;)*
        }

        impl Stages for V4 {
            $(
                #[inline(always)]
                fn $stage(skb: Skb, p: &mut Packet<V4>, $($arg: $ty),*) -> i32 {
                    $four(skb.context(), p, $($arg),*)
                }
            )*
        }

        impl Stages for V6 {
            $(
                #[inline(always)]
                fn $stage(skb: Skb, p: &mut Packet<V6>, $($arg: $ty),*) -> i32 {
                    $six(skb.context(), p, $($arg),*)
                }
            )*
        }

        $(
            stages!(@function $four, V4, $body, $($arg: $ty),*);
            stages!(@function $six, V6, $body, $($arg: $ty),*);
        )*
    };
    (@function $name:ident, $family:ty, $body:path, $($arg:ident: $ty:ty),*) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(context: *mut __sk_buff, p: *mut Packet<$family>, $($arg: $ty),*) -> i32 {
            let context = used(context);
            // SAFETY: null or the packet in the caller's frame, to which the caller holds the only reference.
            let Some(p) = (unsafe { p.as_mut() }) else { return act::DROP };
            $(let Some($arg) = $arg.check() else { return act::DROP };)*
            $body(Skb::new(context), p, $($arg),*)
        }
    };
}

stages! {
    /// Fills the packet in. 0, or the number of a drop reason.
    parse() = nx_parse4, nx_parse6: packet::parse;
    /// Finds the owners of both addresses.
    resolve() = nx_resolve4, nx_resolve6: packet::resolve_both;
    /// Leaves the ports of a first fragment for the others.
    remember() = nx_remember4, nx_remember6: packet::remember;
    /// A packet of a flow that has an entry. Answers in the constants below.
    known(entry: *mut CtEntry) = nx_known4, nx_known6: track::known;
    /// A packet of no flow we know. Answers in the constants below.
    fresh() = nx_fresh4, nx_fresh6: track::fresh;
    /// A FIN or RST of no flow we know. Answers in the constants below.
    stray() = nx_stray4, nx_stray6: track::stray;
    /// An ICMP error. Answers in the constants below.
    related() = nx_related4, nx_related6: related::related;
    /// Policy over a running flow. 0, or the number of a drop reason.
    judge_again(entry: *mut CtEntry, forward: u32) = nx_judge4, nx_judge6: track::judge_again;
    /// Hands the packet to a local endpoint. Answers in the constants below.
    to_local(number: u32) = nx_local4, nx_local6: deliver::to_local;
    /// Routes the packet off the node. Answers in the constants below.
    to_world() = nx_world4, nx_world6: deliver::to_world;
    /// Drops the packet and tells why. Answers in the constants below.
    drop_packet(reason: u32, place: u32) = nx_drop4, nx_drop6: event::drop_packet;
    /// Tells what a policy decided.
    tell_verdict(direction: u32, ruling: *const Ruling) = nx_verdict4, nx_verdict6: tell::tell_verdict;
    /// Reports a packet that goes on, and its flow.
    trace(entry: *mut CtEntry, observation: u32) = nx_trace4, nx_trace6: tell::trace;
    /// Copies the packet for captures.
    copy(what: u32, facts: u32) = nx_copy4, nx_copy6: capture::copy;
    /// Answers the sender with an ICMP error. Answers in the constants below.
    answer(what: u32, mtu: u32) = nx_answer4, nx_answer6: icmp::answer;
    /// Removes a flow with all that belongs to it.
    forget(entry: *mut CtEntry) = nx_forget4, nx_forget6: nat::forget;
    /// Finds a translation for a new flow. 0 when there is none.
    allocate(entry: *mut CtEntry, index: u32) = nx_allocate4, nx_allocate6: nat::allocate;
    /// Translates the packet's source. 0 when it cannot be written.
    masquerade(entry: *mut CtEntry) = nx_masquerade4, nx_masquerade6: nat::masquerade;
    /// Gives a reply to a translated flow its destination back.
    arrives() = nx_arrives4, nx_arrives6: from_network::arrives;
    /// An ICMP error of a workload on its way out. 0 when it must not leave.
    error_leaves() = nx_errout4, nx_errout6: related::error_leaves;
    /// An ICMP error from the network. 1 when it is about a translated flow.
    error_arrives() = nx_errin4, nx_errin6: related::error_arrives;
    /// A packet of no flow that leaves the node. Answers in the constants below.
    stranger(index: u32) = nx_stranger4, nx_stranger6: to_network::stranger;
}

// What stages answer beside a classifier's actions; one bit each, facts in the bits below.

/// Send the packet to the side with the number in the low 16 bits.
pub const DELIVER: i32 = 1 << 24;
/// The sender is owed an ICMP error; the MTU is in the low 16 bits.
pub const TOO_BIG: i32 = 1 << 25;
/// The sender is owed an ICMP error.
pub const TTL_EXCEEDED: i32 = 1 << 26;
/// An ICMP error without a flow we know: policy decides as for any ICMP.
pub const UNRELATED: i32 = 1 << 27;
/// A FIN or RST of no flow.
pub const STRAY: i32 = 1 << 28;
/// A flow was made for the node's own packet.
pub const HOST_FLOW: i32 = 1 << 29;
/// Drop the packet: see [`crate::event::refuse`].
pub const REFUSE: i32 = 1 << 30;
