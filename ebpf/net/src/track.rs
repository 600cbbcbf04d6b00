//! The long way of a packet: everything the fast path of [`crate::from_workload`] leaves over. Decides whether the packet
//! belongs to a flow, whether policy lets it pass, and keeps the flow's entry; [`crate::deliver`] sends it on.

use nexin_abi::maps::config::Config;
use nexin_abi::maps::ct::{CtEntry, CtState};
use nexin_abi::{Direction, DropReason, Event, SourceFile};
use nexin_packet::protocol;
use nexin_packet::tcp::FIN;

use crate::ct::{self, Flow};
use crate::deliver::{Deliver, deliver};
use crate::event::{refuse, refused};
use crate::family::Family;
use crate::nat::Translate;
use crate::ndp;
use crate::packet::{Hook, Packet, device_of};
use crate::parse::Parsed;
use crate::policy::{self, Question, Ruling};
use crate::sides::{
    is_foreign, is_tunnel, number, own, owns_mac, owns_source, receiver_number, router, sender_number, settle_receiver,
};
use crate::skb::{Skb, act};
use crate::stage::{DELIVER, STRAY, Stages, UNRELATED};
use crate::tcp::{self, Step};
use crate::tell::{self, news};

const FILE: u8 = SourceFile::Ct as u8;

/// Takes the packet all the way. `entry` is what the caller's conntrack look-up found, if it made one; `l3` is where the
/// network header begins.
#[inline(always)]
pub fn track<F: Translate + Stages>(skb: Skb, hook: Hook, l3: u8, looked_up: bool, entry: *mut CtEntry) -> i32 {
    let mut packet = Packet::<F>::blank(hook);
    let p = &mut packet;
    p.l3 = l3;
    let reason = F::parse(skb, p);
    if reason != 0 {
        // Packets from the network that are not for workloads are the stack's business, whatever they are.
        let ours =
            hook != Hook::FromNetwork || F::owner(&p.tuple().destination).is_some_and(|owner| owner.endpoint != 0);
        if !ours {
            return act::OK;
        }
        let answer = refuse!(code reason);
        return refused(skb, p, answer).unwrap_or(act::DROP);
    }
    if !looked_up && F::VERSION == 6 && ndp::concerns(p) {
        return ndp::handle(skb, hook, p.l4);
    }
    // What a workload sends is remembered below, once it is known that it may.
    if hook != Hook::FromWorkload && p.is(Parsed::<F>::FIRST_FRAGMENT) {
        F::remember(skb, p);
    }
    let mut translated = false;
    if hook == Hook::FromNetwork {
        let answer = F::arrives(skb, p);
        if answer & DELIVER == 0 {
            return refused(skb, p, answer).unwrap_or(answer);
        }
        translated = answer != DELIVER;
    }
    let mut entry = if looked_up { entry } else { F::ct().find(&p.key) };
    if let Some(flow) = Flow::from_map(entry)
        && (flow.expired(p.now) || tcp::reopens(flow, p.tcp_flags))
    {
        F::forget(skb, p, entry);
        entry = core::ptr::null_mut();
    }
    // VERIFIER: stages return here instead of calling on, since the stack of nested calls adds up.
    let mut step = UNRELATED;
    if p.is(Parsed::<F>::ERROR) {
        step = F::related(skb, p);
    }
    if step == UNRELATED {
        if !entry.is_null() {
            step = F::known(skb, p, entry);
        } else if translated {
            // The translation outlived its flow.
            step = refuse!(CtNoFlow);
        } else {
            step = F::fresh(skb, p);
        }
    }
    if step == STRAY {
        step = F::stray(skb, p);
    }
    if step > 0 && step & DELIVER != 0 {
        if hook == Hook::FromWorkload && p.is(Parsed::<F>::FIRST_FRAGMENT) {
            F::remember(skb, p);
        }
        p.number = step as u16;
        step = deliver(skb, p);
        tell::passed(skb, p, entry, step);
    }
    refused(skb, p, step).unwrap_or(step)
}

/// Stage: a packet of a flow that has an entry.
#[inline(always)]
pub fn known<F: Deliver + Stages>(skb: Skb, p: &mut Packet<F>, flow: Option<Flow>) -> i32 {
    let Some(flow) = flow else {
        return refuse!(CtNoFlow);
    };
    let forward = p.is_forward(flow.state());
    let config = policy::config();
    p.flags |= Event::REPLY_KNOWN | Event::ESTABLISHED | if forward { 0 } else { Event::REPLY };
    if p.hook == Hook::FromWorkload && device_of(sender_number(flow, forward)) != skb.ifindex() {
        return refuse!(InvalidSourceIp);
    }
    if p.hook == Hook::FromNetwork && !is_foreign(sender_number(flow, forward)) {
        // A flow whose first packet came by the stack names the node, whoever was behind it: see `origin`.
        p.resolve(skb);
        if number(p.sender) != 0 {
            return refuse!(InvalidSourceIp);
        }
    }
    if p.hook == Hook::FromWorkload && !owns_mac(skb, sender_number(flow, forward)) {
        return refuse!(InvalidSourceMac);
    }
    // A refused flow is asked about at every packet, so that each drop names its rule.
    if flow.life() == CtState::Denied as u8 || flow.epoch() != config.epoch {
        // Here and not there, since frames add up.
        p.resolve(skb);
        let reason = F::judge_again(skb, p, flow.as_ptr(), u32::from(forward));
        if reason != 0 {
            return refuse!(code reason);
        }
    }
    let answered = flow.counters().1 != 0;
    let mut told = config.flags & Config::PACKETS != 0
        || config.flags & Config::REPLIES != 0 && !forward && !answered
        || Config::is_due(config.flags, ct::report_time(p.now).wrapping_sub(flow.reported()));
    let mut step = Step::Keep;
    let proto = p.protocol;
    if proto == protocol::TCP {
        if !p.is(Parsed::<F>::LATER_FRAGMENT) {
            let watched = Config::tcp_flags(config.flags);
            let life = flow.life();
            told |= tcp::note(flow, p.tcp_flags, watched);
            step = tcp::advance(flow, p.tcp_flags, forward);
            // The other side's FIN is no new flag, but new all the same.
            told |= watched & FIN != 0 && flow.life() == CtState::LastAck as u8 && life != CtState::LastAck as u8;
        }
    } else if !forward && flow.life() == CtState::New as u8 {
        flow.set_life(CtState::Established);
    }
    flow.count(forward, skb.len());
    flow.extend(p.now, ct::lifetime(proto, flow.life()));
    let number = receiver_number(flow, forward);
    if step == Step::Close {
        p.flags |= Event::CLOSED;
        told |= config.flags & Config::FLOWS != 0;
        close(p, flow, number);
    }
    if told {
        flow.set_reported(ct::report_time(p.now));
        p.news |= news::TOLD;
    }
    if config.flags & Config::CAPTURE != 0 {
        p.news |= news::CAPTURED;
    }
    DELIVER | i32::from(number)
}

/// Has a flow removed whose last packet this is. When the packet still has to pass `to_network`, which needs the entry, that
/// program removes it; here it is only marked dead.
#[inline(always)]
fn close<F: Family>(p: &mut Packet<F>, flow: Flow, receiver: u16) {
    if p.hook == Hook::FromWorkload && receiver == 0 {
        flow.set_expires(p.now.wrapping_sub(1));
    } else {
        p.news |= news::CLOSES;
    }
}

/// Stage: judges a running flow anew, in its original direction. 0, or the reason to refuse. The packet is resolved.
#[inline(always)]
pub fn judge_again<F: Stages>(skb: Skb, p: &mut Packet<F>, flow: Option<Flow>, forward: u32) -> i32 {
    let Some(flow) = flow else { return 0 };
    let forward = forward != 0;
    let config = policy::config();
    let (mut source, mut target) = if forward { (p.sender, p.receiver) } else { (p.receiver, p.sender) };
    if source.endpoint == 0 {
        router(flow.source(), &mut source);
        if device_of(flow.source()) != 0 && source.endpoint == 0 {
            // The endpoint has lost the address.
            return DropReason::InvalidSourceIp as i32;
        }
    }
    if target.endpoint == 0 && target.flags == 0 && !flow.has(CtEntry::MASQUERADED) {
        own(flow.target(), &mut target);
    }
    let (source_port, destination_port) = F::ports(&p.key, p.sender_is_low);
    let service = if p.protocol == F::ICMP {
        u16::from(F::ECHO) << 8
    } else if forward {
        destination_port.get()
    } else {
        source_port.get()
    };
    let question = Question::new(source, target, p.protocol, service, config.flags);
    let (mut egress, mut ingress) = (Ruling::default(), Ruling::default());
    let reason = judge(p, &question, &mut egress, &mut ingress);
    let denied = flow.life() == CtState::Denied as u8;
    if (reason != 0) != denied {
        tell::verdicts(skb, p, config.flags, &egress, &ingress);
        flow.set_life(if reason != 0 { CtState::Denied } else { CtState::Established });
        if reason == 0 && flow.take_half_open() {
            ct::half_open_closed(flow.source());
        }
    }
    // What came by the stack goes back by it, whatever its address.
    if flow.source() != CtEntry::HOST || source.endpoint != 0 {
        flow.set_source(number(source));
    }
    if !flow.has(CtEntry::MASQUERADED) && flow.target() != CtEntry::UNTRANSLATED {
        flow.set_target(number(target));
    }
    flow.set_epoch(config.epoch);
    reason
}

/// How the entry of a new flow names its originator. Replies to what the stack sent go back by the stack, also when the
/// originator lies beyond it: the stack may have translated the destination (published ports) and must undo it.
#[inline(always)]
fn origin<F: Family>(p: &Packet<F>) -> u16 {
    let source = number(p.sender);
    if source == 0 && p.hook == Hook::ToWorkload { CtEntry::HOST } else { source }
}

/// Both sides' policies: the originator's egress, then the target's ingress. 0, or the reason to refuse.
#[inline(always)]
fn judge<F: Family>(p: &mut Packet<F>, q: &Question, egress: &mut Ruling, ingress: &mut Ruling) -> i32 {
    let reason = policy::rule(q, Direction::Egress, egress);
    if reason != 0 {
        note_refusal(p, Direction::Egress, egress);
        return reason;
    }
    let reason = policy::rule(q, Direction::Ingress, ingress);
    if reason != 0 {
        note_refusal(p, Direction::Ingress, ingress);
    }
    reason
}

/// For the drop's event.
#[inline(always)]
fn note_refusal<F: Family>(p: &mut Packet<F>, direction: Direction, by: &Ruling) {
    p.refused_by = direction as u8 + 1;
    p.rule = by.rule;
    p.policy = by.policy;
}

/// Stage: a packet that belongs to no flow we know.
#[inline(always)]
pub fn fresh<F: Deliver + Stages>(skb: Skb, p: &mut Packet<F>) -> i32 {
    p.resolve(skb);
    if p.hook == Hook::FromWorkload {
        if !owns_source(skb, p) {
            return refuse!(InvalidSourceIp);
        }
        if !owns_mac(skb, p.sender.endpoint) {
            return refuse!(InvalidSourceMac);
        }
        if is_tunnel(p) {
            return refuse!(EncapsulationProhibited);
        }
    }
    if p.hook == Hook::FromNetwork && number(p.sender) != 0 {
        return refuse!(InvalidSourceIp);
    }
    if p.hook == Hook::ToWorkload && !settle_receiver(skb, p) {
        return refuse!(EndpointNotReady);
    }
    let proto = p.protocol;
    if proto == protocol::TCP {
        if tcp::answers(p.tcp_flags) {
            return refuse!(CtNoFlow);
        }
        if tcp::ends(p.tcp_flags) {
            return STRAY;
        }
    }
    let config = policy::config();
    let question = Question::new(p.sender, p.receiver, proto, p.service, config.flags);
    let (mut egress, mut ingress) = (Ruling::default(), Ruling::default());
    let reason = judge(p, &question, &mut egress, &mut ingress);
    tell::verdicts(skb, p, config.flags, &egress, &ingress);
    if reason != 0 {
        return refuse!(code reason);
    }
    let receiver = number(p.receiver);
    tell::single(p);
    if p.is(Parsed::<F>::UNTRACKED | Parsed::<F>::ECHO_REPLY) {
        return DELIVER | i32::from(receiver);
    }
    let source = origin(p);
    let half_open = proto == protocol::TCP && tcp::opens(p.tcp_flags);
    if half_open && !ct::half_open_opened(source) {
        return refuse!(HalfOpenLimit);
    }
    if !ct::create(skb, p, config.epoch, source, receiver, half_open) {
        if half_open {
            ct::half_open_closed(source);
        }
        return refuse!(CtInsertFailed);
    }
    p.flags |= Event::REPLY_KNOWN;
    DELIVER | i32::from(receiver)
}

/// Stage: a FIN or RST of a flow we know nothing of (any more): passes if a flow of either direction would, and opens nothing.
#[inline(always)]
pub fn stray<F: Deliver + Stages>(_skb: Skb, p: &mut Packet<F>) -> i32 {
    let config = policy::config();
    let (mut egress, mut ingress) = (Ruling::default(), Ruling::default());
    let answer =
        Question::new(p.receiver, p.sender, p.protocol, F::ports(&p.key, p.sender_is_low).0.get(), config.flags);
    if judge(p, &answer, &mut egress, &mut ingress) != 0 {
        let ahead = Question::new(p.sender, p.receiver, p.protocol, p.service, config.flags);
        let reason = judge(p, &ahead, &mut egress, &mut ingress);
        if reason != 0 {
            return refuse!(code reason);
        }
    }
    tell::single(p);
    DELIVER | i32::from(number(p.receiver))
}
