//! TCP: what the flags of a packet do to a flow. Sequence numbers are not followed; the end hosts do that.

use nexin_abi::maps::ct::{CtEntry, CtState};
use nexin_packet::tcp::{ACK, FIN, RST, SYN};

use crate::ct::{Flow, half_open_closed};

/// What is to be done with the flow after the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Keep,
    /// The packet ends it.
    Close,
}

/// A SYN without ACK: opens a flow.
#[inline(always)]
pub const fn opens(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// A SYN-ACK: answers a flow.
#[inline(always)]
pub const fn answers(flags: u8) -> bool {
    flags & (SYN | ACK) == SYN | ACK
}

/// FIN or RST: ends a flow.
#[inline(always)]
pub const fn ends(flags: u8) -> bool {
    flags & (FIN | RST) != 0
}

/// A SYN that finds a closing flow is a new flow on old ports.
#[inline(always)]
pub fn reopens(flow: Flow, flags: u8) -> bool {
    let life = flow.life();
    opens(flags) && (life == CtState::Closing as u8 || life == CtState::LastAck as u8)
}

/// Moves the flow on.
#[inline(always)]
pub fn advance(flow: Flow, flags: u8, forward: bool) -> Step {
    if flags & RST != 0 {
        return Step::Close;
    }
    let life = flow.life();
    if flags & FIN != 0 {
        if life == CtState::New as u8 || life == CtState::Established as u8 {
            established(flow);
            let bit = if forward { CtEntry::FIN_FORWARD } else { 0 };
            flow.set_state(flow.state() & !(CtEntry::STATE_MASK | CtEntry::FIN_FORWARD) | CtState::Closing as u8 | bit);
        } else if life == CtState::Closing as u8 && forward != flow.has(CtEntry::FIN_FORWARD) {
            flow.set_life(CtState::LastAck);
        }
        return Step::Keep;
    }
    if flags & (SYN | ACK) != ACK {
        return Step::Keep;
    }
    if life == CtState::New as u8 {
        // The originator's acknowledgement of an answer completes the handshake: an answer alone may be one to a forged SYN.
        let (_, answered) = flow.counters();
        if forward && answered != 0 {
            established(flow);
            flow.set_life(CtState::Established);
        }
    } else if life == CtState::LastAck as u8 && forward == flow.has(CtEntry::FIN_FORWARD) {
        // The last FIN came from the other side; this acknowledges it.
        return Step::Close;
    }
    Step::Keep
}

/// Leaves the half-open quota.
#[inline(always)]
fn established(flow: Flow) {
    if flow.take_half_open() {
        half_open_closed(flow.source());
    }
}

/// Remembers flags; true when one of those `watched` is new in the flow.
#[inline(always)]
pub fn note(flow: Flow, flags: u8, watched: u8) -> bool {
    let seen = flow.seen();
    if seen | flags == seen {
        return false;
    }
    flow.set_seen(seen | flags);
    flags & !seen & watched != 0
}
