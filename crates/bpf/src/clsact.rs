//! Attaching where tcx is missing (Linux before 6.6) or not wanted: a filter on the device's clsact qdisc.
//!
//! Our filter always has the same priority and handle, so any process finds it again, and adding it where it exists
//! replaces it in one step. The qdisc is shared with others and is never removed: without its qdisc a device that is up stops its
//! queues for an RCU grace period and drops what is sent to it. Messages are few and fixed, which is why
//! they are written here and not through a netlink library.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::error::{Error, Result};
use crate::link::Hook;
use crate::program::Program;

/// Priority of our filter; lower numbers run before it.
pub const PRIORITY: u16 = 3;
/// Handle of our filter: "nx".
pub const HANDLE: u32 = 0x6e78;

const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const TC_H_CLSACT_HANDLE: u32 = 0xffff_0000;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
const NLA_TYPE_MASK: u16 = 0x3fff;
const NETLINK_HEADER: usize = 16;
/// Size of `struct tcmsg`.
const TC_HEADER: usize = 20;

impl Hook {
    /// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS or TC_H_MIN_EGRESS)`.
    fn parent(self) -> u32 {
        TC_H_CLSACT_HANDLE
            | match self {
                Self::Ingress => 0xfff2,
                Self::Egress => 0xfff3,
            }
    }
}

/// Puts `program` on the device, or in the place of the one that an earlier call put there.
pub fn attach(program: &Program, ifindex: u32, hook: Hook) -> Result<()> {
    let fail = |source| Error::Attach { program: program.name().to_owned(), interface: ifindex, source };
    let mut socket = Socket::open().map_err(fail)?;
    let qdisc =
        Message::new(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, ifindex, TC_H_CLSACT_HANDLE, TC_H_CLSACT, 0)
            .attribute(TCA_KIND, b"clsact\0");
    match socket.request(qdisc) {
        Err(e) if e.raw_os_error() != Some(libc::EEXIST) => return Err(fail(e)),
        _ => {}
    }
    let mut options = Vec::new();
    push(&mut options, TCA_BPF_FD, &program.as_fd().as_raw_fd().to_ne_bytes());
    push(&mut options, TCA_BPF_NAME, format!("nexin:{}\0", program.name()).as_bytes());
    push(&mut options, TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes());
    let filter = ours(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE, ifindex, hook).attribute(TCA_OPTIONS, &options);
    socket.request(filter).map_err(fail)
}

/// Takes our filter off the device; fine when it, or the device, is not there.
pub fn detach(ifindex: u32, hook: Hook) -> Result<()> {
    let gone = [libc::ENOENT, libc::ENODEV, libc::EINVAL];
    let done = Socket::open().and_then(|mut socket| socket.request(ours(RTM_DELTFILTER, NLM_F_ACK, ifindex, hook)));
    match done {
        Err(e) if !e.raw_os_error().is_some_and(|errno| gone.contains(&errno)) => {
            Err(Error::Call { call: "removing a clsact filter", source: e })
        }
        _ => Ok(()),
    }
}

/// Id of the program in our filter, `None` if there is no such filter.
pub fn attached(ifindex: u32, hook: Hook) -> Result<Option<u32>> {
    let dump = Message::new(RTM_GETTFILTER, NLM_F_DUMP, ifindex, 0, hook.parent(), 0);
    let replies = match Socket::open().and_then(|mut socket| socket.dump(dump)) {
        Ok(replies) => replies,
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENODEV)) => return Ok(None),
        Err(source) => return Err(Error::Call { call: "listing clsact filters", source }),
    };
    Ok(replies.iter().find_map(|payload| our_program(payload)))
}

/// Indices of all interfaces of the network namespace.
pub fn interfaces() -> Result<Vec<u32>> {
    // SAFETY: takes nothing; the list it returns is ours until it is freed below.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Err(Error::Call { call: "if_nameindex", source: io::Error::last_os_error() });
    }
    let mut found = Vec::new();
    let mut entry = list;
    loop {
        // SAFETY: the list is an array that ends with an index of 0, which has not been passed yet.
        let index = unsafe { (*entry).if_index };
        if index == 0 {
            break;
        }
        found.push(index);
        // SAFETY: the entry was not the last one.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: the list came from `if_nameindex` and is not used any more.
    unsafe { libc::if_freenameindex(list) };
    Ok(found)
}

/// A message about our filter.
fn ours(kind: u16, flags: u16, ifindex: u32, hook: Hook) -> Message {
    // Priority, and ETH_P_ALL in network order.
    let info = u32::from(PRIORITY) << 16 | u32::from(3u16.to_be());
    Message::new(kind, flags, ifindex, HANDLE, hook.parent(), info).attribute(TCA_KIND, b"bpf\0")
}

/// The program id in a filter's message (after the netlink header), if the filter is ours.
fn our_program(payload: &[u8]) -> Option<u32> {
    let handle = word(payload, 8)?;
    let priority = word(payload, 16)? >> 16;
    if handle != HANDLE || priority != u32::from(PRIORITY) {
        return None;
    }
    let options = attribute(payload.get(TC_HEADER..)?, TCA_OPTIONS)?;
    word(attribute(options, TCA_BPF_ID)?, 0)
}

/// Value of the first attribute of `kind` in `bytes`.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let found = u16::from_ne_bytes([bytes[2], bytes[3]]) & NLA_TYPE_MASK;
        let value = bytes.get(4..length)?;
        if found == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn push(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(((value.len() + 4) as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, ifindex: u32, handle: u32, parent: u32, info: u32) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend([0; 12]); // sequence, port, and the family with its padding
        for field in [ifindex, handle, parent, info] {
            bytes.extend(field.to_ne_bytes());
        }
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        push(&mut self.0, kind, value);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// A route netlink socket for one question.
struct Socket(OwnedFd);

impl Socket {
    fn open() -> io::Result<Self> {
        // SAFETY: integers only.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that the kernel gave to us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn request(&mut self, message: Message) -> io::Result<()> {
        self.dump(message).map(drop)
    }

    /// Sends `message` and collects the payloads that answer it, up to the acknowledgement or the end.
    fn dump(&mut self, message: Message) -> io::Result<Vec<Vec<u8>>> {
        let message = message.finish();
        // SAFETY: the buffer is live and its length is given; an unconnected netlink socket sends to the kernel.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut payloads = Vec::new();
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            // SAFETY: the buffer is live, exclusively borrowed, and its length is given.
            let got = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            if got < 0 {
                let e = io::Error::last_os_error();
                if e.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(e);
            }
            if take_replies(&buffer[..got as usize], &mut payloads)? {
                return Ok(payloads);
            }
        }
    }
}

/// Splits one datagram into messages. `true` at the end of the answer, the error when the answer is one.
fn take_replies(mut bytes: &[u8], payloads: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    while let Some(length) = word(bytes, 0) {
        let Some(message) = bytes.get(..length as usize).filter(|m| m.len() >= NETLINK_HEADER) else { break };
        let payload = &message[NETLINK_HEADER..];
        match u16::from_ne_bytes([message[4], message[5]]) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                return match word(payload, 0).map_or(0, |errno| errno as i32) {
                    0 => Ok(true),
                    errno => Err(io::Error::from_raw_os_error(-errno)),
                };
            }
            _ => payloads.push(payload.to_vec()),
        }
        bytes = bytes.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}
