//! Commands on programs and links.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Command, address, address_mut, call, owned, raw};

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

/// `struct xdp_md`.
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// Runs an XDP program on `count` frames that seem to come in on `ifindex`, and does with them what it says. Returns the mean
/// nanoseconds a frame.
pub(crate) fn live_frames(program: BorrowedFd<'_>, frame: &[u8], ifindex: u32, count: u32) -> io::Result<u32> {
    const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
    let mut context = XdpContext { data_end: frame.len() as u32, ingress_ifindex: ifindex, ..XdpContext::default() };
    let mut attr = TestRun {
        prog_fd: raw(program),
        data_size_in: frame.len() as u32,
        data_in: address(frame),
        repeat: count,
        ctx_size_in: size_of::<XdpContext>() as u32,
        ctx_in: address_mut(context.as_mut_bytes()),
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        ..TestRun::default()
    };
    // SAFETY: frame and context are live, each with its own length beside it; nothing is asked back.
    unsafe { call(Command::ProgTestRun, &mut attr) }.map(|_| attr.duration)
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

/// Puts an XDP program on `ifindex`, in the driver.
pub(crate) fn link_create_xdp(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    const BPF_XDP: u32 = 37;
    const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
    let mut attr = LinkCreate {
        prog_fd: raw(program),
        target: ifindex,
        attach_type: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
        ..LinkCreate::default()
    };
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
