//! The `bpf(2)` system call: one function a command, plain values in and out.
//!
//! This module knows argument layouts (`union bpf_attr`, include/uapi/linux/bpf.h) and nothing else: no map type, no
//! program, no policy. A struct here may be shorter than the kernel's: bytes that are not passed count as zero.

mod map;
mod program;

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

pub(crate) use map::*;
pub(crate) use program::*;

/// Commands (`enum bpf_cmd`).
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    InfoByFd = 15,
    ProgQuery = 16,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// Attribute blocks may hold addresses of buffers, which is why the call is unsafe.
///
/// # Safety
/// Every address in `attr` must point to memory that is valid for what `command` does with it, for the whole call.
unsafe fn call<A: IntoBytes + FromBytes>(command: Command, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is a live, initialised block of the given size; its addresses are the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as i32, std::ptr::from_mut(attr), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr() as u64
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct Object {
    path: u64,
    fd: u32,
    file_flags: u32,
}

pub(crate) fn pin(fd: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut attr = Object { path: path.as_ptr() as u64, fd: raw(fd), file_flags: 0 };
    // SAFETY: the path is a live, terminated string.
    unsafe { call(Command::ObjPin, &mut attr) }.map(drop)
}

pub(crate) fn open_pin(path: &CStr) -> io::Result<OwnedFd> {
    let mut attr = Object { path: path.as_ptr() as u64, ..Object::default() };
    // SAFETY: the path is a live, terminated string.
    unsafe { call(Command::ObjGet, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_map_info`, as far as it is wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    pub(crate) name: [u8; 16],
}

/// `struct bpf_prog_info`, up to `verified_insns`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
pub(crate) struct ProgInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) tag: [u8; 8],
    pub(crate) jited_len: u32,
    pub(crate) xlated_len: u32,
    instructions: [u64; 2],
    load_time: u64,
    uid: u32,
    map_count: u32,
    map_ids: u64,
    pub(crate) name: [u8; 16],
    rest: [u64; 17],
    pub(crate) verified_insns: u32,
    tail: u32,
}

const _: () = assert!(std::mem::offset_of!(ProgInfo, verified_insns) == 216);

/// `struct bpf_link_info` of a tcx link.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
pub(crate) struct LinkInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) prog_id: u32,
    pad: u32,
    /// 0 once the device is gone.
    pub(crate) ifindex: u32,
    pub(crate) attach_type: u32,
    rest: [u64; 3],
}

fn info<I: FromBytes + IntoBytes>(fd: BorrowedFd<'_>) -> io::Result<I> {
    let mut info = I::new_zeroed();
    let bytes = info.as_mut_bytes();
    let mut attr = InfoByFd { fd: raw(fd), length: bytes.len() as u32, info: address_mut(bytes) };
    // SAFETY: the block is live, exclusively borrowed and of the length given; any bytes are a valid `I`. It came
    // zeroed, so no array address in it leads anywhere.
    unsafe { call(Command::InfoByFd, &mut attr) }?;
    Ok(info)
}

pub(crate) fn map_info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    info(fd)
}

pub(crate) fn prog_info(fd: BorrowedFd<'_>) -> io::Result<ProgInfo> {
    info(fd)
}

pub(crate) fn link_info(fd: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    info(fd)
}

/// Waits until every program that was running when we asked has returned. `membarrier(2)` with `MEMBARRIER_CMD_GLOBAL`
/// waits for an RCU grace period, and programs run inside RCU read sections (kernel/sched/membarrier.c).
pub(crate) fn wait_for_programs() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: takes two integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
