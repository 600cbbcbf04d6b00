//! Port intervals -> pages and blocks, each distinct one once.

use nexin_abi::maps::policy::{Decision, Page, Slot, Verdict};

use crate::hash::FastMap;
use crate::tables::PolicyTables;

/// A protocol that has a slot of its own in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableProtocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Other,
}

/// Ports `first..=last` and what is decided about them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) verdict: Verdict,
}

/// Remembers what the lists of a policy hold already.
#[derive(Clone, Debug, Default)]
pub(super) struct TableBuilder {
    verdicts: FastMap<Verdict, u32>,
    ports: FastMap<Page, u32>,
    blocks: FastMap<Page, u32>,
    decisions: FastMap<Decision, u32>,
}

impl TableBuilder {
    /// Index of the decision whose intervals `intervals` gives for each protocol.
    pub(super) fn decision(
        &mut self,
        tables: &mut PolicyTables,
        intervals: impl Fn(TableProtocol) -> Vec<Interval>,
    ) -> u32 {
        let mut slot = |protocol| self.slot(tables, &intervals(protocol));
        let decision = Decision {
            tcp: slot(TableProtocol::Tcp),
            udp: slot(TableProtocol::Udp),
            sctp: slot(TableProtocol::Sctp),
            icmp: slot(TableProtocol::Icmp),
            icmp6: slot(TableProtocol::Icmp6),
            other: slot(TableProtocol::Other),
        };
        append(&mut self.decisions, &mut tables.decisions, decision)
    }

    /// `intervals` cover all ports in rising order.
    fn slot(&mut self, tables: &mut PolicyTables, intervals: &[Interval]) -> Slot {
        let verdicts: Vec<Slot> = intervals
            .iter()
            .map(|interval| Slot::verdict(append(&mut self.verdicts, &mut tables.verdicts, interval.verdict)))
            .collect();
        if let [only] = &*verdicts {
            return *only;
        }
        let mut page = Page([Slot::default(); 256]);
        let mut block = Page([Slot::default(); 256]);
        for (interval, verdict) in intervals.iter().zip(&verdicts) {
            for high in interval.first >> 8..=interval.last >> 8 {
                let first = interval.first.max(high << 8);
                let last = interval.last.min(high << 8 | 0xff);
                if first & 0xff == 0 && last & 0xff == 0xff {
                    page.0[usize::from(high)] = *verdict;
                    continue;
                }
                block.0[usize::from(first & 0xff)..=usize::from(last & 0xff)].fill(*verdict);
                if last & 0xff == 0xff {
                    let index = append(&mut self.blocks, &mut tables.blocks, block);
                    page.0[usize::from(high)] = Slot::table(index);
                }
            }
        }
        Slot::table(append(&mut self.ports, &mut tables.ports, page))
    }
}

fn append<T: Copy + Eq + std::hash::Hash>(known: &mut FastMap<T, u32>, list: &mut Vec<T>, value: T) -> u32 {
    *known.entry(value).or_insert_with(|| {
        list.push(value);
        list.len() as u32 - 1
    })
}
