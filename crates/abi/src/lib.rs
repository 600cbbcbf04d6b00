//! Every type that crosses the kernel border.
//!
//! Kernel programs write and read these types directly, user space through `nexin-bpf`'s `Wire<T>`. Each type derives
//! zerocopy's traits, so padding is explicit and an invalid layout does not compile. This crate decides nothing and
//! does nothing: it names, sizes and numbers.
#![cfg_attr(not(test), no_std)]

mod addr;
mod be;
mod drop;
mod event;
mod identity;
pub mod maps;

pub use addr::{Addr4, Addr6};
pub use be::{Be16, Be32};
pub use drop::DropReason;
pub use event::{Action, Direction, Event, EventKind, Observation, SourceFile};
pub use identity::Identity;

/// Layout version of all pinned maps together. It is part of the pin path; the upgrade code in `nexin-datapath` knows
/// what to do with older ones. Raise it when any key or value in [`maps`] changes shape or meaning.
pub const LAYOUT: u32 = 1;
