use std::process::Command;

use nexin_api::v1::{Direction, EventType, FlowEvent, Labels, Party, Protocol, Timestamp};
use pcap_file::pcapng::{Block, PcapNgReader};

use super::*;

/// An IPv4 header with a UDP datagram, behind an Ethernet header where asked.
fn packet(ethernet: bool) -> CapturedPacket {
    let mut bytes = vec![0u8; if ethernet { 12 } else { 0 }];
    if ethernet {
        bytes.extend([8, 0]);
    }
    bytes.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 7, 0, 53, 0, 8, 0, 0]);
    let party = |address: &str, port| Party {
        address: address.parse().expect("an address"),
        port,
        identity: 100,
        labels: Labels::default(),
        endpoint: None,
        workload: None,
    };
    let ends = [party("10.0.0.1", 7), party("10.0.0.2", 53)];
    let time = Timestamp(1_772_600_767_089_012_345);
    CapturedPacket {
        event: FlowEvent::new(time, EventType::Drop, ends, Protocol::Udp, Direction::Ingress),
        length: bytes.len() as u32 + 100,
        ethernet,
        data: base64::engine::general_purpose::STANDARD.encode(&bytes),
    }
}

fn written() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = PcapNg::new(&mut bytes, 256).expect("a writer of bytes");
    file.packet(&packet(true), "drop: Policy denied", 0).expect("written");
    file.packet(&packet(false), "to-endpoint", 3).expect("written");
    assert_eq!(file.lost(), 3);
    bytes
}

#[test]
fn comments_times_and_links_read_back() {
    let bytes = written();
    let mut reader = PcapNgReader::new(bytes.as_slice()).expect("a section");
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.expect("a block") {
            packets.push(packet.into_owned());
        }
    }
    let [first, second] = packets.as_slice() else { panic!("two packets: {packets:?}") };
    assert_eq!((first.interface_id, second.interface_id), (0, 1));
    assert_eq!(first.timestamp, Duration::from_nanos(1_772_600_767_089_012_345));
    assert_eq!((first.data.len(), first.original_len), (42, 142));
    assert_eq!(first.options, [EnhancedPacketOption::Comment("drop: Policy denied".into())]);
    assert_eq!(second.options.last(), Some(&EnhancedPacketOption::DropCount(3)));
}

/// The reader that people use, where it is installed.
#[test]
fn tshark_reads_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.pcapng");
    std::fs::write(&path, written()).expect("written");
    let fields = ["-T", "fields", "-e", "frame.comment", "-e", "ip.dst", "-e", "udp.dstport", "-e", "frame.time_epoch"];
    let Ok(output) = Command::new("tshark").arg("-r").arg(&path).args(fields).output() else {
        println!("note: no tshark here; its reading is not compared");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        ["drop: Policy denied\t10.0.0.2\t53\t1772600767.089012345", "to-endpoint\t10.0.0.2\t53\t1772600767.089012345"],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
