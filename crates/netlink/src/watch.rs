//! Changes of links, addresses and routes as a stream, so that host addresses are followed and drift is seen early.
//!
//! Keeps no table: it says what changed, and when the kernel had to drop notifications it says [`Change::Resync`], after
//! which the reader dumps what it cares about.

use crate::{Address, Error, Link, Netns, Result, Route, socket, wire};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, SockFlag, recv},
};
use std::{
    collections::VecDeque,
    os::fd::{AsRawFd, OwnedFd},
};
use tokio::io::unix::AsyncFd;

const GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_ROUTE) as u32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// New or changed.
    Link(Link),
    LinkGone(Link),
    Address(Address),
    AddressGone(Address),
    Route(Route),
    RouteGone(Route),
    /// Notifications were lost: read the tables again.
    Resync,
}

/// A subscription to one namespace's changes.
#[derive(Debug)]
pub struct Watcher {
    socket: AsyncFd<OwnedFd>,
    ready: VecDeque<Change>,
    /// Notifications were lost, and the queue is not empty yet. Until it is, the kernel drops more without a word
    /// (`NETLINK_S_CONGESTED` in `net/netlink/af_netlink.c`), so a resync told earlier would miss those.
    overrun: bool,
    buffer: Vec<u8>,
}

impl Watcher {
    /// Must be called inside a tokio runtime. Changes from now on are seen: open first, then read the tables.
    pub fn open(netns: &Netns) -> Result<Self> {
        let open = || socket::route_socket(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, GROUPS);
        let fd = if netns.is_current()? { open()? } else { netns.run(open)?? };
        // SAFETY: the value owns the descriptor, never hands it out and closes it only after it is deregistered.
        let socket = unsafe { AsyncFd::register(fd) }.map_err(|e| Error::io("watch a netlink socket", e))?;
        Ok(Self { socket, ready: VecDeque::new(), overrun: false, buffer: vec![0; 64 * 1024] })
    }

    /// The next change. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Change> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            let mut guard = self.socket.readable().await.map_err(|e| Error::io("wait for netlink notifications", e))?;
            let fd = self.socket.get_ref().as_raw_fd();
            match recv(fd, &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => self.ready.extend(
                    wire::messages(&self.buffer[..length]).filter_map(|m| m.map_or(Some(Change::Resync), read)),
                ),
                Err(Errno::EAGAIN) => {
                    guard.clear_ready();
                    if std::mem::take(&mut self.overrun) {
                        self.ready.push_back(Change::Resync);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => self.overrun = true,
                Err(e) => return Err(Error::io("receive netlink notifications", e)),
            }
        }
    }
}

fn read(message: wire::Message<'_>) -> Option<Change> {
    // A port that leaves a bridge is reported as a link deleted, in the bridge's family.
    let bridge = message.body.first() == Some(&(libc::AF_BRIDGE as u8));
    match message.kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK if bridge => None,
        libc::RTM_NEWLINK => Link::read(message.body).map(Change::Link),
        libc::RTM_DELLINK => Link::read(message.body).map(Change::LinkGone),
        libc::RTM_NEWADDR => Address::read(message.body).map(Change::Address),
        libc::RTM_DELADDR => Address::read(message.body).map(Change::AddressGone),
        libc::RTM_NEWROUTE => Route::read(message.body).map(Change::Route),
        libc::RTM_DELROUTE => Route::read(message.body).map(Change::RouteGone),
        _ => None,
    }
}
