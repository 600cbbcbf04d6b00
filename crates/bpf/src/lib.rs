//! The one door to the kernel's BPF: the embedded object, loading it, typed maps, links, ring buffers, test runs, probes.
//!
//! Everything here is mechanism. Which maps have which content, what is attached where and in which order is
//! `nexin-datapath`'s; this crate decides nothing, keeps no state that is not in the kernel, and never waits for a
//! packet. The only user of aya, and with `netlink` and the kernel programs the only place with `unsafe`.

pub mod bpffs;
pub mod clock;
pub mod clsact;
mod error;
mod link;
mod load;
mod map;
mod object;
pub mod probe;
mod program;
mod ring;
mod sys;

pub use error::{Error, Result};
/// errno of a device that has gone.
pub use libc::ENODEV;
pub use link::{Hook, Link, LinkStatus, attached};
pub use load::{Loaded, Loader};
pub use map::{Cursor, Map, RawMap, possible_cpus};
pub use object::object;
pub use program::{Program, SkBuff, TestOutcome, TestRun, wait_for_programs};
pub use ring::{Drained, Ring};
