//! ARP from workloads: a question for the gateway is answered in place, everything else is dropped. Nobody behind a
//! workload's interface has any business resolving anyone but the gateway.

use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::{Be16, DropReason, SourceFile};
use nexin_packet::header::{Arp, Ethernet};

use crate::event::drop_unparsed;
use crate::maps;
use crate::packet::Hook;
use crate::skb::Skb;

const FILE: u8 = SourceFile::FromWorkload as u8;

#[inline(never)]
pub fn from_workload(skb: Skb) -> i32 {
    answer(skb).unwrap_or_else(|| {
        drop_unparsed(skb, Hook::FromWorkload, DropReason::UnknownTarget as u8, (FILE as u32) << 16 | line!())
    })
}

#[inline(always)]
fn answer(skb: Skb) -> Option<i32> {
    let question = *skb.at::<Arp>(Ethernet::LEN)?;
    if { question.operation } != Be16::new(Arp::REQUEST) {
        return None;
    }
    let gateway = maps::ADDR4.get(&{ question.target })?;
    if gateway.flags & AddrInfo::GATEWAY == 0 {
        return None;
    }
    let number = maps::ENDPOINT_BY_DEVICE.get(&skb.ifindex())?;
    let endpoint = maps::ENDPOINTS.peek(&number)?;
    let (asker, mac) = (question.sender_mac, endpoint.gateway_mac);
    let ethernet = skb.at::<Ethernet>(0)?;
    ethernet.destination = asker;
    ethernet.source = mac;
    let arp = skb.at::<Arp>(Ethernet::LEN)?;
    arp.operation = Be16::new(Arp::REPLY);
    arp.sender_mac = mac;
    arp.sender = question.target;
    arp.target_mac = asker;
    arp.target = question.sender;
    Some(skb.to_device(skb.ifindex()))
}
