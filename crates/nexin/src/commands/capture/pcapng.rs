//! Packets with comments, in the format that Wireshark and tcpdump read. Two interfaces: one for packets with an Ethernet
//! header, one for those that begin with IP.

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use nexin_api::v1::CapturedPacket;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use crate::error::{CliError, Result};

/// Times count nanoseconds (10 to the minus this).
const RESOLUTION: u8 = 9;

pub(super) struct PcapNg<W: Write> {
    writer: PcapNgWriter<W>,
    lost: u64,
}

impl<W: Write> PcapNg<W> {
    pub(super) fn new(out: W, snap: u32) -> Result<Self> {
        let program = format!("nexin {}", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(program.into())],
            ..SectionHeaderBlock::default()
        };
        let mut writer = PcapNgWriter::with_section_header(out, section).map_err(failed)?;
        for (link, name) in [(DataLink::ETHERNET, "nexin"), (DataLink::RAW, "nexin-ip")] {
            let mut interface = InterfaceDescriptionBlock::new(link, snap);
            interface.options.push(InterfaceDescriptionOption::IfName(name.into()));
            interface.options.push(InterfaceDescriptionOption::IfTsResol(RESOLUTION));
            writer.write_pcapng_block(interface).map_err(failed)?;
        }
        let mut file = Self { writer, lost: 0 };
        file.flush()?;
        Ok(file)
    }

    /// One packet. `lost`: how many are missing before it.
    pub(super) fn packet(&mut self, packet: &CapturedPacket, comment: &str, lost: u64) -> Result<()> {
        let data = base64::engine::general_purpose::STANDARD.decode(&packet.data);
        let data = data.map_err(|error| {
            CliError::input(format!("the agent sent a packet that cannot be read: {error}"), "is it of this version?")
        })?;
        let mut options = vec![EnhancedPacketOption::Comment(comment.into())];
        if lost > 0 {
            options.push(EnhancedPacketOption::DropCount(lost));
        }
        self.lost += lost;
        let block = EnhancedPacketBlock {
            interface_id: u32::from(!packet.ethernet),
            timestamp: Duration::from_nanos(packet.event.time.0),
            original_len: packet.length.max(data.len() as u32),
            data: data.into(),
            options,
        };
        self.writer.write_pcapng_block(block).map_err(failed)?;
        self.flush()
    }

    /// A reader behind a pipe sees each packet at once.
    fn flush(&mut self) -> Result<()> {
        Ok(self.writer.get_mut().flush()?)
    }

    /// Packets that are missing so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

fn failed(error: PcapError) -> CliError {
    match error {
        PcapError::IoError(error) => CliError::Output(error),
        other => CliError::system("write the packets", std::io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests;
