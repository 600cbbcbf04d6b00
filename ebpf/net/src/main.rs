//! Nexin's network programs: what a packet of a workload goes through.
//!
//! Four tc classifiers share one object. Nothing here computes policy (the tables come resolved), allocates identities
//! or knows a name; options are load-time constants ([`config`]), so one object serves every node and endpoint.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(not(target_arch = "bpf"), allow(dead_code))]
// A program has no other crate to be reached from: here `pub` means "other modules use it".
#![allow(unreachable_pub)]

mod arp;
mod atomic;
mod capture;
mod clock;
mod config;
mod ct;
mod deliver;
mod event;
mod family;
mod from_network;
mod from_workload;
mod icmp;
mod maps;
mod nat;
mod ndp;
mod packet;
mod parse;
mod policy;
mod related;
mod ring;
mod sides;
mod skb;
mod stage;
mod steady;
mod tables;
mod tcp;
mod tell;
mod to_network;
mod to_workload;
mod track;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// Most helpers used here are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

// Nothing in the kernel programs panics; the language asks for a handler all the same.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
