//! Floor programs for the bench: the least that any program must do to track flows (`floor_ct`), and the look-ups that a
//! design without admission epochs makes for each packet (`floor_full`). They read the maps of the shipped programs and
//! share their parsing, so the bench compares designs and not compilers. Nothing is decided, written or sent on. Beside them
//! the generator of frames for the forwarding rows.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![allow(dead_code)] // The shared modules hold more than is used here.
#![allow(unreachable_pub)] // A program has no other crate to be reached from.

#[path = "../../net/src/family.rs"]
mod family;
#[path = "../../net/src/maps.rs"]
mod maps;
#[path = "../../net/src/parse.rs"]
mod parse;
#[path = "../../net/src/skb.rs"]
mod skb;
#[path = "../../net/src/tables.rs"]
mod tables;

use aya_ebpf::bindings::{__sk_buff, xdp_action, xdp_md};
use nexin_abi::{Action, Be16};
use nexin_packet::ether;

use family::{V4, V6};
use parse::Parse;
use skb::{Skb, act};
use tables::Kernel;

/// Parse and one conntrack look-up.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
pub extern "C" fn floor_ct(context: *mut __sk_buff) -> i32 {
    let skb = Skb::new(context);
    if is_ipv4(skb) { tracked::<V4>(skb) } else { tracked::<V6>(skb) }
}

/// Parse, prefix of the destination, conntrack, policy: every time.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
pub extern "C" fn floor_full(context: *mut __sk_buff) -> i32 {
    let skb = Skb::new(context);
    if is_ipv4(skb) { judged::<V4>(skb) } else { judged::<V6>(skb) }
}

/// Makes a frame of the bench's generator what it was when it was made: the kernel uses frames again, and whoever forwards
/// one changes it. What may change stands at the beginning of its payload: both MACs, TTL and header checksum.
#[inline(always)]
fn restore(context: *mut xdp_md) -> bool {
    /// Where the payload of a UDP packet begins.
    const PAYLOAD4: usize = 42;
    const PAYLOAD6: usize = 62;
    // SAFETY: the kernel hands a live context to each run.
    let (data, end) = unsafe { ((*context).data as usize, (*context).data_end as usize) };
    if data + PAYLOAD4 + 16 > end {
        return false;
    }
    // SAFETY: below `end`; frames lie at even addresses.
    let copy = |to: usize, from: usize| unsafe { *((data + to) as *mut u16) = *((data + from) as *const u16) };
    // SAFETY: as above.
    let ipv4 = unsafe { *((data + 12) as *const u16) } == Be16::new(ether::IPV4).raw();
    let payload = if ipv4 { PAYLOAD4 } else { PAYLOAD6 };
    if data + payload + 16 > end {
        return false;
    }
    copy(0, payload);
    copy(2, payload + 2);
    copy(4, payload + 4);
    copy(6, payload + 6);
    copy(8, payload + 8);
    copy(10, payload + 10);
    if ipv4 {
        // TTL with the protocol beside it, header checksum.
        copy(22, payload + 12);
        copy(24, payload + 14);
    } else {
        // Next header and hop limit.
        copy(20, payload + 12);
    }
    true
}

/// The bench's generator: the frame goes to the device's stack as if it had come in there.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
pub extern "C" fn generate(context: *mut xdp_md) -> u32 {
    if restore(context) { xdp_action::XDP_PASS } else { xdp_action::XDP_ABORTED }
}

/// The generator alone.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
pub extern "C" fn generate_only(context: *mut xdp_md) -> u32 {
    if restore(context) { xdp_action::XDP_DROP } else { xdp_action::XDP_ABORTED }
}

/// The end of the generator's packets: UDP is counted (in `nx_metrics`, as forwarded) and dropped, other packets pass.
#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
pub extern "C" fn sink(context: *mut __sk_buff) -> i32 {
    let skb = Skb::new(context);
    let protocol = skb.load::<u8>(if is_ipv4(skb) { 23 } else { 20 });
    if protocol != Some(nexin_verdict::protocol::UDP) {
        return act::OK;
    }
    let traffic = maps::METRICS.find(&0);
    if !traffic.is_null() {
        // SAFETY: this CPU's counter, which nothing else writes.
        unsafe { (*traffic).packets += 1 };
    }
    act::DROP
}

/// Sits on a device so that it has what frames need that seem to come from it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
pub extern "C" fn let_pass(_: *mut xdp_md) -> u32 {
    xdp_action::XDP_PASS
}

#[inline(always)]
fn is_ipv4(skb: Skb) -> bool {
    const IPV4: u32 = Be16::new(ether::IPV4).raw() as u32;
    skb.ethertype() == IPV4
}

#[inline(always)]
fn tracked<F: Parse>(skb: Skb) -> i32 {
    let Some(parsed) = F::hot(skb, 14) else { return act::DROP };
    let (key, _) = F::key(&parsed.tuple);
    if F::ct().find(&key).is_null() { act::DROP } else { act::OK }
}

#[inline(always)]
fn judged<F: Parse>(skb: Skb) -> i32 {
    /// The policy that the bench loads.
    const POLICY: u32 = 1;
    let Some(parsed) = F::hot(skb, 14) else { return act::DROP };
    let Some(identity) = F::prefix(&parsed.tuple.destination) else { return act::DROP };
    let (key, _) = F::key(&parsed.tuple);
    if F::ct().find(&key).is_null() {
        return act::DROP;
    }
    match nexin_verdict::decide(&Kernel, POLICY, identity, parsed.tuple.protocol, parsed.service) {
        Some(verdict) if verdict.action == Action::Allow as u8 => act::OK,
        _ => act::DROP,
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// Most helpers are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
