//! One rtnetlink socket: batches of requests and dumps, blocking.
//!
//! Blocking is right here: the kernel works a request off inside `sendmsg`, so when that returns the answers already
//! wait in the socket's buffer. Does not interpret what it carries.

use crate::{Error, Result, wire};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
        sockopt,
    },
};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const RECEIVE: usize = 64 * 1024;
/// Requests in one `sendmsg`: bounded so that the acknowledgements fit into the default receive buffer.
const BATCH: usize = 64;
/// How often a dump is restarted because the table changed under it, before it is given up.
const DUMP_TRIES: usize = 16;

const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const EXT_ACK: libc::c_int = 11;
const CAP_ACK: libc::c_int = 10;
const GET_STRICT_CHK: libc::c_int = 12;

/// A request, ready to send, with its description for errors and the refusals that count as success.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) what: String,
    pub(crate) fine: &'static [Errno],
}

impl Request {
    pub(crate) fn new(builder: wire::Builder, what: String) -> Self {
        Self { bytes: builder.finish(), what, fine: &[] }
    }

    pub(crate) fn fine_if(mut self, errnos: &'static [Errno]) -> Self {
        self.fine = errnos;
        self
    }
}

/// A message of an answer, owned.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
}

/// A socket bound to the network namespace it was opened in. Cheap (two system calls); not shareable while in use.
#[derive(Debug)]
pub struct Netlink {
    fd: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// In the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        Ok(Self { fd: route_socket(SockFlag::SOCK_CLOEXEC, 0)?, seq: 0, buffer: vec![0; RECEIVE] })
    }

    /// Sends all requests, in order, and waits for all answers. Every request is tried; the first refusal that its
    /// request does not call fine is returned.
    pub fn run(&mut self, requests: &[Request]) -> Result<()> {
        self.ask(requests).map(drop)
    }

    /// Like [`Netlink::run`], with the answers to "get" requests, one list for each request.
    pub(crate) fn ask(&mut self, requests: &[Request]) -> Result<Vec<Vec<Answer>>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut first_error = None;
        for batch in requests.chunks(BATCH) {
            let (base, mut datagram) = (self.seq + 1, Vec::with_capacity(batch.len() * 160));
            for request in batch {
                self.seq = self.seq.wrapping_add(1);
                append(&mut datagram, &request.bytes, self.seq, libc::NLM_F_ACK as u16);
            }
            self.send(&datagram, &batch[0].what)?;
            self.collect(batch, base, &mut answers, &mut first_error)?;
        }
        first_error.map_or(Ok(answers), Err)
    }

    fn collect(
        &mut self,
        batch: &[Request],
        base: u32,
        answers: &mut Vec<Vec<Answer>>,
        first_error: &mut Option<Error>,
    ) -> Result<()> {
        let start = answers.len();
        answers.extend(batch.iter().map(|_| Vec::new()));
        let mut open = batch.len();
        while open > 0 {
            let length = self.receive(&batch[0].what)?;
            for message in wire::messages(&self.buffer[..length]) {
                let message = message?;
                let index = message.seq.wrapping_sub(base) as usize;
                let Some(request) = batch.get(index) else { continue };
                if message.kind != libc::NLMSG_ERROR as u16 {
                    answers[start + index].push(Answer { body: message.body.to_vec() });
                    continue;
                }
                open -= 1;
                if let Some(error) = refusal(&message, request)? {
                    first_error.get_or_insert(error);
                }
            }
        }
        Ok(())
    }

    /// A whole table. Restarted when it changed meanwhile, so that the result is a consistent one.
    pub(crate) fn dump(&mut self, request: &Request) -> Result<Vec<Answer>> {
        for _ in 0..DUMP_TRIES {
            if let Some(all) = self.dump_once(request)? {
                return Ok(all);
            }
        }
        Err(Error::Refused {
            what: request.what.clone(),
            errno: Errno::EINTR,
            message: Some("the table kept changing".into()),
        })
    }

    fn dump_once(&mut self, request: &Request) -> Result<Option<Vec<Answer>>> {
        self.seq = self.seq.wrapping_add(1);
        let mut datagram = Vec::with_capacity(64);
        append(&mut datagram, &request.bytes, self.seq, libc::NLM_F_DUMP as u16);
        self.send(&datagram, &request.what)?;
        let (mut all, mut consistent) = (Vec::new(), true);
        loop {
            let length = self.receive(&request.what)?;
            for message in wire::messages(&self.buffer[..length]) {
                let message = message?;
                if message.seq != self.seq {
                    continue;
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                        return refusal(&message, request)?.map_or(Ok(consistent.then_some(all)), Err);
                    }
                    _ => all.push(Answer { body: message.body.to_vec() }),
                }
            }
        }
    }

    fn send(&self, datagram: &[u8], what: &str) -> Result<()> {
        retry(|| send(self.fd.as_raw_fd(), datagram, MsgFlags::empty()))
            .map_err(|e| Error::io(format!("send: {what}"), e))
            .map(drop)
    }

    fn receive(&mut self, what: &str) -> Result<usize> {
        let (fd, buffer) = (self.fd.as_raw_fd(), &mut self.buffer);
        retry(|| recv(fd, buffer, MsgFlags::empty())).map_err(|e| Error::io(format!("receive: {what}"), e))
    }
}

fn append(datagram: &mut Vec<u8>, request: &[u8], seq: u32, flags: u16) {
    let at = datagram.len();
    datagram.extend_from_slice(request);
    let flags = flags | wire::u16_at(request, 6).unwrap_or(0);
    datagram[at + 6..at + 8].copy_from_slice(&flags.to_ne_bytes());
    datagram[at + 8..at + 12].copy_from_slice(&seq.to_ne_bytes());
}

/// What an `NLMSG_ERROR` or `NLMSG_DONE` says: nothing for an acknowledgement.
fn refusal(message: &wire::Message<'_>, request: &Request) -> Result<Option<Error>> {
    let code = match wire::u32_at(message.body, 0) {
        Some(code) => code.cast_signed(),
        None if message.kind == libc::NLMSG_DONE as u16 => 0,
        None => return Err(Error::Malformed("acknowledgement without a code")),
    };
    let errno = Errno::from_raw(-code);
    if code == 0 || request.fine.contains(&errno) {
        return Ok(None);
    }
    let message = (message.flags & NLM_F_ACK_TLVS != 0 && message.kind == libc::NLMSG_ERROR as u16)
        .then(|| {
            let echoed =
                if message.flags & NLM_F_CAPPED != 0 { wire::HEADER } else { wire::u32_at(message.body, 4)? as usize };
            let said = message.body.get(4 + echoed..)?;
            wire::attributes(said).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG).map(|(_, value)| wire::text(value))
        })
        .flatten();
    Ok(Some(Error::Refused { what: request.what.clone(), errno, message }))
}

pub(crate) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// A bound `NETLINK_ROUTE` socket; `groups` is the legacy bit mask of multicast groups.
pub(crate) fn route_socket(flags: SockFlag, groups: u32) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
        .map_err(|e| Error::io("open a netlink socket", e))?;
    for option in [EXT_ACK, CAP_ACK, GET_STRICT_CHK] {
        enable(&fd, option).map_err(|e| Error::io("set a netlink socket option", e))?;
    }
    // Without CAP_NET_ADMIN the default size stays; a watcher then resyncs more often.
    if setsockopt(&fd, sockopt::RcvBufForce, &(1 << 20)).is_err() {
        tracing::debug!("netlink receive buffer stays at its default size");
    }
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(|e| Error::io("bind a netlink socket", e))?;
    Ok(fd)
}

fn enable(fd: &OwnedFd, option: libc::c_int) -> nix::Result<()> {
    let one: libc::c_int = 1;
    let borrowed: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(fd);
    // SAFETY: the descriptor is open for the borrow's life, and the kernel reads exactly the four bytes of `one`.
    let done = unsafe {
        libc::setsockopt(
            borrowed.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const one).cast(),
            std::mem::size_of_val(&one) as libc::socklen_t,
        )
    };
    Errno::result(done).map(drop)
}
