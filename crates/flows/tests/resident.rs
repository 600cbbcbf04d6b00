//! What a stored flow costs, measured where it counts: resident memory of this process, in the worst case of batches of one.

use std::sync::Arc;

use nexin_abi::{Event as Kernel, EventKind, Identity};
use nexin_flows::Event;
use nexin_flows::decode::{Names, decode};
use nexin_flows::record::Node;
use nexin_flows::ring::{Capacity, Ring};
use nexin_model::{Label, LabelSet};

fn names(identities: u32) -> Names {
    let mut names = Names::new(Node { name: "n1".into(), emitter: Node::emitter(), ..Node::default() });
    for n in 0..identities {
        let labels: LabelSet =
            (0..6).map(|label| Label::k8s(format!("example.com/label-{label}"), format!("value-{n}"))).collect();
        names.set_identity(Identity(256 + n), &labels);
    }
    names
}

#[test]
fn a_stored_flow_takes_at_most_300_bytes_with_its_share_of_names() {
    const FLOWS: u64 = 65_535;
    // Bytes in pages of 4 KiB, those shared with other processes not counted.
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: Vec<u64> = statm.split_whitespace().map(|pages| pages.parse().unwrap()).collect();
        (pages[1] - pages[2]) * 4096
    };
    let before = resident();
    let names = names(1_000);
    let ring = Arc::new(Ring::new(Capacity::MAX));
    for number in 0..FLOWS {
        let event = Kernel {
            kind: EventKind::Trace as u8,
            family: 4,
            protocol: 6,
            source_identity: Identity(256 + number as u32 % 1_000),
            destination_identity: Identity(256 + number as u32 % 777),
            ..Kernel::default()
        };
        ring.append(vec![Event::Flow(decode(&event, &names, number, number).unwrap())]);
    }
    assert_eq!(ring.stored_flows(), FLOWS);
    let each = (resident() - before) / FLOWS;
    assert!(each <= 300, "{each} bytes a flow");
}
