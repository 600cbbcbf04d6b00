//! Packets the host's stack sends to a workload (egress of the host side of its veth pair): from the node itself, and
//! what the stack routed because the fast ways did not apply.

use aya_ebpf::bindings::__sk_buff;
use nexin_abi::Be16;
use nexin_packet::ether;

use crate::family::{V4, V6};
use crate::packet::Hook;
use crate::skb::{Skb, act};
use crate::track::track;

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
pub extern "C" fn to_workload(context: *mut __sk_buff) -> i32 {
    let skb = Skb::new(context);
    const IPV4: u32 = Be16::new(ether::IPV4).raw() as u32;
    const IPV6: u32 = Be16::new(ether::IPV6).raw() as u32;
    match skb.ethertype() {
        IPV4 => nx_host4(context),
        IPV6 => nx_host6(context),
        // ARP of the host; nothing else leaves a stack.
        _ => act::OK,
    }
}

/// Stage (see [`crate::stage`]).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_host4(context: *mut __sk_buff) -> i32 {
    track::<V4>(Skb::new(context), Hook::ToWorkload, 14, false, core::ptr::null_mut())
}

/// Stage (see [`crate::stage`]).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_host6(context: *mut __sk_buff) -> i32 {
    track::<V6>(Skb::new(context), Hook::ToWorkload, 14, false, core::ptr::null_mut())
}
