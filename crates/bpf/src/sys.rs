//! The `bpf(2)` system call: one function a command, plain values in and out.
//!
//! This module knows argument layouts (`union bpf_attr`, include/uapi/linux/bpf.h) and nothing else: no map type, no
//! program, no policy. A struct here may be shorter than the kernel's: bytes that are not passed count as zero.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

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

// === maps ===

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

/// Kernel-side numbers a map is created with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapShape {
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

pub(crate) fn map_create(name: &str, shape: MapShape) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        kind: shape.kind,
        key_size: shape.key_size,
        value_size: shape.value_size,
        max_entries: shape.max_entries,
        flags: shape.flags,
        ..MapCreate::default()
    };
    let length = name.len().min(15);
    attr.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: no addresses in this block.
    unsafe { call(Command::MapCreate, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `value` must have the size that the kernel writes for this map (per-CPU maps: one value a possible CPU).
pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut attr = Element { map_fd: raw(map), key: address(key), value: address_mut(value), ..Element::default() };
    // SAFETY: key and value are live; `RawMap` made both as long as the map's key and value sizes.
    unsafe { call(Command::MapLookup, &mut attr) }.map(drop)
}

pub(crate) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    let mut attr = Element { map_fd: raw(map), pad: 0, key: address(key), value: address(value), flags };
    // SAFETY: as in `map_lookup`; the kernel only reads both.
    unsafe { call(Command::MapUpdate, &mut attr) }.map(drop)
}

pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attr = Element { map_fd: raw(map), key: address(key), ..Element::default() };
    // SAFETY: the key is live and of the map's key size.
    unsafe { call(Command::MapDelete, &mut attr) }.map(drop)
}

/// The key after `previous` (the first for `None`); `false` when there is none.
pub(crate) fn map_next_key(map: BorrowedFd<'_>, previous: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attr =
        Element { map_fd: raw(map), key: previous.map_or(0, address), value: address_mut(next), ..Element::default() };
    // SAFETY: both buffers are live and of the map's key size; a null key is allowed.
    match unsafe { call(Command::MapNextKey, &mut attr) } {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads up to `count` entries from `cursor` on. Returns how many came and whether the map is exhausted. Buffers must
/// hold `count` keys and values; the cursor must be as long as a key and at least 4 bytes.
pub(crate) fn map_lookup_batch(
    map: BorrowedFd<'_>,
    first: bool,
    cursor: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let cursor = address_mut(cursor);
    let mut attr = Batch {
        in_batch: if first { 0 } else { cursor },
        out_batch: cursor,
        keys: address_mut(keys),
        values: address_mut(values),
        count,
        map_fd: raw(map),
        ..Batch::default()
    };
    // SAFETY: all buffers are live, exclusively borrowed and sized for `count` entries by `RawMap`. The kernel reads
    // the cursor before it writes it, so that one buffer may serve as both.
    match unsafe { call(Command::MapLookupBatch, &mut attr) } {
        Ok(_) => Ok((attr.count, false)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count, true)),
        Err(e) => Err(e),
    }
}

/// Writes `count` entries; on error, how many went in before it.
pub(crate) fn map_update_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    count: u32,
) -> Result<(), (u32, io::Error)> {
    let mut attr = Batch { keys: address(keys), values: address(values), count, map_fd: raw(map), ..Batch::default() };
    // SAFETY: both buffers are live and hold `count` entries; the kernel only reads them.
    unsafe { call(Command::MapUpdateBatch, &mut attr) }.map(drop).map_err(|e| (attr.count.min(count), e))
}

/// Deletes `count` keys; on error (also: one is missing) how many were deleted before it.
pub(crate) fn map_delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> Result<(), (u32, io::Error)> {
    let mut attr = Batch { keys: address(keys), count, map_fd: raw(map), ..Batch::default() };
    // SAFETY: the keys are live and `count` of them.
    unsafe { call(Command::MapDeleteBatch, &mut attr) }.map(drop).map_err(|e| (attr.count.min(count), e))
}

// === pins and information ===

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

// === programs and links ===

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct ProgLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

const PROG_TYPE_SCHED_CLS: u32 = 3;
/// `exit`.
const EXIT: u64 = 0x95;
/// `call` of a helper.
const CALL: u64 = 0x85;
/// `r0 = 0`.
const RETURN_ZERO: u64 = 0xb7;

/// Loads a classifier of a few instructions; the verifier's log goes to `log` when it is not empty.
fn load_small(instructions: &[u64], log: &mut [u8]) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = ProgLoad {
        kind: PROG_TYPE_SCHED_CLS,
        instruction_count: instructions.len() as u32,
        instructions: address(instructions.as_bytes()),
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log: if log.is_empty() { 0 } else { address_mut(log) },
        ..ProgLoad::default()
    };
    // SAFETY: instructions, license and log are live, with their lengths beside them.
    unsafe { call(Command::ProgLoad, &mut attr) }.map(owned)
}

/// The least program there is.
pub(crate) fn load_return_zero() -> io::Result<OwnedFd> {
    load_small(&[RETURN_ZERO, EXIT], &mut [])
}

/// `return bpf_jiffies64()`.
pub(crate) fn load_jiffies() -> io::Result<OwnedFd> {
    const BPF_FUNC_JIFFIES64: u64 = 118;
    load_small(&[CALL | BPF_FUNC_JIFFIES64 << 32, EXIT], &mut [])
}

/// Whether classifiers may call helper `id`. The verifier names a helper it does not know, and complains of the arguments
/// of one it does.
pub(crate) fn helper_known(id: i32) -> io::Result<bool> {
    load_return_zero()?;
    let mut log = vec![0; 4096];
    match load_small(&[CALL | (id as u64) << 32, EXIT], &mut log) {
        Ok(_) => Ok(true),
        Err(_) => {
            let log = String::from_utf8_lossy(&log);
            Ok(!["invalid func", "unknown func", "program of this type cannot use helper"]
                .iter()
                .any(|no| log.contains(no)))
        }
    }
}

/// `struct bpf_attr.test`.
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// What one test run returned: return value, length of the data, mean nanoseconds.
pub(crate) struct Ran {
    pub(crate) retval: u32,
    pub(crate) data_len: u32,
    pub(crate) duration: u32,
}

/// Runs `program` `repeat` times on `data_in`; an empty `data_out` asks for no data back. `ctx` is read and written.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    data_in: &[u8],
    data_out: &mut [u8],
    ctx: &mut [u8],
    repeat: u32,
) -> io::Result<Ran> {
    let ctx_size = ctx.len() as u32;
    // The kernel refuses an address without a size.
    let ctx = if ctx.is_empty() { 0 } else { address_mut(ctx) };
    let mut attr = TestRun {
        prog_fd: raw(program),
        data_size_in: data_in.len() as u32,
        data_size_out: data_out.len() as u32,
        data_in: address(data_in),
        data_out: if data_out.is_empty() { 0 } else { address_mut(data_out) },
        repeat,
        ctx_size_in: ctx_size,
        ctx_size_out: ctx_size,
        ctx_in: ctx,
        ctx_out: ctx,
        ..TestRun::default()
    };
    loop {
        // SAFETY: all buffers are live, the written ones exclusively borrowed, each with its own length beside it.
        match unsafe { call(Command::ProgTestRun, &mut attr) } {
            Ok(_) => return Ok(Ran { retval: attr.retval, data_len: attr.data_size_out, duration: attr.duration }),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {}
            Err(e) => return Err(e),
        }
    }
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct LinkCreate {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    revision: u64,
}

/// Puts `program` on `ifindex`, before all others (`first`) or after them.
pub(crate) fn link_create(program: BorrowedFd<'_>, ifindex: u32, attach_type: u32, first: bool) -> io::Result<OwnedFd> {
    const BPF_F_BEFORE: u32 = 1 << 3;
    let flags = if first { BPF_F_BEFORE } else { 0 };
    let mut attr = LinkCreate { prog_fd: raw(program), target: ifindex, attach_type, flags, ..LinkCreate::default() };
    // SAFETY: no addresses in this block.
    unsafe { call(Command::LinkCreate, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct LinkChange {
    link_fd: u32,
    prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Atomically replaces the program of a link.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkChange { link_fd: raw(link), prog_fd: raw(program), ..LinkChange::default() };
    // SAFETY: no addresses in this block.
    unsafe { call(Command::LinkUpdate, &mut attr) }.map(drop)
}

pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkChange { link_fd: raw(link), ..LinkChange::default() };
    // SAFETY: no addresses in this block.
    unsafe { call(Command::LinkDetach, &mut attr) }.map(drop)
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct ProgQuery {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Ids of the programs attached to `ifindex` in the order they run, at most 64 (the kernel's limit of a device).
pub(crate) fn prog_query(ifindex: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; 64];
    let mut attr = ProgQuery {
        target: ifindex,
        attach_type,
        prog_ids: address_mut(ids.as_mut_bytes()),
        count: ids.len() as u32,
        ..ProgQuery::default()
    };
    // SAFETY: `ids` is live and `count` long; the other arrays are not asked for.
    unsafe { call(Command::ProgQuery, &mut attr) }?;
    Ok(ids[..(attr.count as usize).min(ids.len())].to_vec())
}

/// Waits until every program that was running when we asked has returned. `membarrier(2)` with `MEMBARRIER_CMD_GLOBAL`
/// waits for an RCU grace period, and programs run inside RCU read sections (kernel/sched/membarrier.c).
pub(crate) fn wait_for_programs() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: takes two integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
