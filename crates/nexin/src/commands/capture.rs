//! `nexin capture`: packets of chosen flows, each with what the datapath decided and why, as pcapng.

mod choose;
mod pcapng;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use nexin_api::v1::{CaptureRecord, CaptureRequest, CapturedPacket, FlowEvent};
use tokio::time::{Instant, sleep_until};

use self::pcapng::PcapNg;
use super::Context;
use super::flows::duration;
use super::monitor;
use crate::error::{CliError, Result};
use crate::output::Style;

#[derive(Args)]
pub(crate) struct Capture {
    /// Where to; - (the default) is standard output, for `| tshark -r -` or `| tcpdump -r -`
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    write: PathBuf,
    /// Bytes kept of each packet, at most 8192
    #[arg(short, long, value_name = "BYTES", default_value_t = CaptureRequest::default().snap)]
    snap: u32,
    /// Stop after so many packets
    #[arg(short, long, value_name = "COUNT")]
    count: Option<u64>,
    /// Stop after this long (such as 90s, 15m, 2h)
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
    /// Only packets that match as they are, not those that answer them
    #[arg(long)]
    one_way: bool,
    /// Which packets, as flags of `nexin observe`: --ip, --pod NAMESPACE/NAME, --identity, --port (each with from- and to-),
    /// --protocol, -4, -6, --verdict FORWARDED|DROPPED. Without any: every packet
    #[arg(last = true, value_name = "OBSERVE FLAGS")]
    observe: Vec<OsString>,
}

pub(crate) async fn capture(context: &Context, args: &Capture) -> Result<ExitCode> {
    let words: Vec<String> = args.observe.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (allow, deny) = nexin_observe::filters(&words)?;
    if !deny.is_empty() {
        return Err(CliError::input("the kernel cannot choose packets by what they are not", "leave --not out"));
    }
    let request = CaptureRequest { filters: choose::filters(&allow, args.one_way)?, snap: args.snap };
    let to_terminal = args.write.as_os_str() == "-" && io::stdout().is_terminal();
    if to_terminal {
        let next = "name a file with -w FILE, or read it at once: nexin capture | tshark -r -";
        return Err(CliError::input("packets are nothing for a terminal", next));
    }
    let mut records = context.client()?.capture(&request).await?;
    let out: Box<dyn Write> = if args.write.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        Box::new(File::create(&args.write).map_err(|source| CliError::file(&args.write, source))?)
    };
    let mut file = PcapNg::new(out, args.snap)?;
    let (mut packets, mut lost) = (0u64, 0u64);
    let mut end = pin!(end(args.time));
    loop {
        let record = tokio::select! {
            record = records.next() => record,
            () = &mut end => break,
        };
        match record {
            None => break,
            Some(Err(error)) => {
                say(packets, lost);
                return Err(error.into());
            }
            Some(Ok(CaptureRecord::Packet(packet))) => {
                file.packet(&packet, &comment(&packet), std::mem::take(&mut lost))?;
                packets += 1;
            }
            Some(Ok(CaptureRecord::Lost(missing))) => lost += missing.kernel + missing.client,
        }
        if args.count.is_some_and(|count| packets >= count) {
            break;
        }
    }
    say(packets, file.lost() + lost);
    Ok(ExitCode::SUCCESS)
}

async fn end(time: Option<Duration>) {
    let interrupted = tokio::signal::ctrl_c();
    match time {
        None => drop(interrupted.await),
        Some(time) => tokio::select! {
            _ = interrupted => {}
            () = sleep_until(Instant::now() + time) => {}
        },
    }
}

fn say(packets: u64, lost: u64) {
    eprintln!("{packets} packets captured, {lost} lost");
}

/// What the datapath made of the packet, in the words of `nexin monitor`.
fn comment(packet: &CapturedPacket) -> String {
    let event = &packet.event;
    // Counters are of flows, not of packets.
    let alone = FlowEvent { forward: None, reverse: None, ..event.clone() };
    let text = monitor::line(&alone, false, Style::new(false));
    // The time is the packet's own.
    let words = text.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    let (from, to) = (event.source.identity, event.destination.identity);
    let mut parts = vec![words, format!("identity {from} -> {to}")];
    parts.extend(event.reason.clone());
    // Line 0: nobody in particular.
    if !event.kernel_source.is_empty() && !event.kernel_source.ends_with(":0") {
        parts.push(event.kernel_source.clone());
    }
    parts.join("; ")
}
