//! `nexin flows record`: flows of a server as lines of a file. Interrupted or killed, it goes on where the file ends.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use nexin_api::hubble::{Code, Refusal};
use nexin_flows::recording::{self, Bounds, Extent};
use nexin_hubble::observer::GetFlowsResponse;
use nexin_observe::Selection;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::super::observe;
use crate::error::{CliError, Result};

/// How long to wait before a server that went away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Record {
    /// Where to: a new file, or a recording that is to go on; - for standard output
    file: PathBuf,
    /// Stop after so many flows
    #[arg(long, value_name = "COUNT")]
    flows: Option<u64>,
    /// Stop before the file is larger than this (such as 500k, 20M, 2G)
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<u64>,
    /// Stop after this long (such as 90s, 15m, 2h)
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
    /// No progress on standard error
    #[arg(short, long)]
    quiet: bool,
    /// Flags of `nexin observe`: which flows of which server. Without --last, --first, --all, --since or --until: those
    /// that come from now on
    #[arg(last = true, value_name = "OBSERVE FLAGS")]
    observe: Vec<OsString>,
}

#[derive(Debug, thiserror::Error)]
#[error("write a number with a unit, such as {0}")]
pub(crate) struct UnitError(&'static str);

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn size(text: &str) -> std::result::Result<u64, UnitError> {
    let units = [("", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)];
    with_unit(text, &units).ok_or(UnitError("500k, 20M or 2G"))
}

pub(crate) fn duration(text: &str) -> std::result::Result<Duration, UnitError> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    with_unit(text, &units).map(Duration::from_secs).ok_or(UnitError("90s, 15m or 2h"))
}

pub(crate) async fn record(args: &Record) -> Result<ExitCode> {
    let words: Vec<String> = args.observe.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let selection = Selection::read(&words, &observe::environment(), observe::now()?)?;
    let mut tape = Tape::open(args)?;
    let before = tape.extent.clone();
    let deadline = args.time.map(|time| Instant::now() + time);
    let mut end = pin!(end(deadline));
    let mut request = selection.request.clone();
    let follows = selection.open_ended || request.follow;
    if selection.open_ended {
        request.number = 0;
        request.follow = true;
    }
    loop {
        if let Some(next) = tape.extent.next().filter(|_| follows) {
            request.since = Some(next);
        }
        let stopped = tokio::select! {
            stopped = tape.take(selection.client.get_flows(request.clone())) => stopped?,
            () = &mut end => break,
        };
        match stopped {
            Stopped::Full | Stopped::Ended if !follows || tape.full => break,
            Stopped::Full => break,
            Stopped::Ended => tape.say("the server ended the stream; asking again"),
            Stopped::Refused(refusal) if follows && refusal.code == Code::Unavailable && tape.started => {
                tape.say(&format!("{}: {}; asking again", selection.server, refusal.message));
            }
            Stopped::Refused(refusal) => {
                tape.finish(&before)?;
                let next =
                    "is the agent running, with [hubble] enabled? Name another server with `-- --server ADDRESS`";
                return Err(CliError::input(format!("{}: {}", selection.server, refusal.message), next));
            }
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = &mut end => break,
        }
    }
    tape.finish(&before)?;
    Ok(ExitCode::SUCCESS)
}

/// Somebody interrupts, or the time is up.
async fn end(deadline: Option<Instant>) {
    let interrupted = tokio::signal::ctrl_c();
    match deadline {
        None => drop(interrupted.await),
        Some(deadline) => drop(timeout_at(deadline, interrupted).await),
    }
}

/// Why a stream is over.
enum Stopped {
    Full,
    Ended,
    Refused(Refusal),
}

/// The file that is written.
struct Tape {
    out: BufWriter<Box<dyn Write>>,
    extent: Extent,
    bounds: Bounds,
    full: bool,
    /// Something was received.
    started: bool,
    progress: bool,
    quiet: bool,
}

impl Tape {
    fn open(args: &Record) -> Result<Self> {
        let (out, extent): (Box<dyn Write>, Extent) = if args.file.as_os_str() == "-" {
            (Box::new(io::stdout()), Extent::default())
        } else {
            let (file, extent) = go_on(&args.file).map_err(|source| CliError::file(&args.file, source))?;
            (Box::new(file), extent)
        };
        if !args.quiet && extent.flows > 0 {
            eprintln!("{} holds {} flows; going on after the last", args.file.display(), extent.flows);
        }
        Ok(Self {
            out: BufWriter::new(out),
            extent,
            bounds: Bounds { flows: args.flows, bytes: args.size },
            full: false,
            started: false,
            progress: !args.quiet && io::stderr().is_terminal(),
            quiet: args.quiet,
        })
    }

    /// Writes what comes until the stream or the room ends. Once a second everything is on its way to the disk.
    async fn take(&mut self, mut responses: nexin_api::hubble::Answers<GetFlowsResponse>) -> Result<Stopped> {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                response = responses.next() => match response {
                    None => return Ok(Stopped::Ended),
                    Some(Err(refusal)) => return Ok(Stopped::Refused(refusal)),
                    Some(Ok(response)) => if !self.write(&response)? {
                        return Ok(Stopped::Full);
                    },
                },
                _ = tick.tick() => {
                    self.out.flush()?;
                    self.show();
                }
            }
        }
    }

    /// False where there is no room.
    fn write(&mut self, response: &GetFlowsResponse) -> Result<bool> {
        self.started = true;
        let line = recording::line(response);
        if !self.bounds.admit(&self.extent, line.len() as u64) {
            self.full = true;
            return Ok(false);
        }
        self.out.write_all(line.as_bytes())?;
        self.extent.add(response, line.len() as u64);
        // The last flow that fits ends it, without waiting for one that does not.
        self.full = self.bounds.flows.is_some_and(|most| self.extent.flows >= most);
        Ok(!self.full)
    }

    fn show(&self) {
        if self.progress {
            let Extent { flows, bytes, lost, .. } = &self.extent;
            eprint!("\r{flows} flows, {} KiB, {lost} lost \u{1b}[K", bytes / 1024);
        }
    }

    fn say(&self, what: &str) {
        if !self.quiet {
            let lead = if self.progress { "\r\u{1b}[K" } else { "" };
            eprintln!("{lead}{what}");
        }
    }

    fn finish(&mut self, before: &Extent) -> Result<()> {
        self.out.flush()?;
        let (flows, lost) = (self.extent.flows - before.flows, self.extent.lost - before.lost);
        self.say(&format!("recorded {flows} flows ({} in the file), {lost} events lost", self.extent.flows));
        Ok(())
    }
}

/// Opens a recording at its end. A torn last line is cut off.
fn go_on(path: &Path) -> io::Result<(File, Extent)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut extent = Extent::default();
    let mut lines = BufReader::new(&file);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 && extent.feed(&line) {
        line.clear();
    }
    if extent.flows == 0 && extent.unreadable > 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no recording; it is left alone"));
    }
    file.set_len(extent.bytes)?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, extent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(size("20M").ok(), Some(20 << 20));
        assert_eq!(size("7").ok(), Some(7));
        assert!(size("M").is_err() && size("3x").is_err());
        assert_eq!(duration("15m").ok(), Some(Duration::from_secs(900)));
        assert!(duration("15").is_err());
    }

    #[test]
    fn a_torn_line_is_cut_and_a_stranger_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("flows");
        let whole = "{\"flow\":{},\"time\":\"2026-03-04T05:06:07Z\"}\n";
        std::fs::write(&path, format!("{whole}{{\"flow\":")).expect("written");
        let (_, extent) = go_on(&path).expect("a recording");
        assert_eq!((extent.flows, extent.bytes), (1, whole.len() as u64));
        assert_eq!(std::fs::read_to_string(&path).expect("there"), whole);
        std::fs::write(&path, "a letter\nto somebody\n").expect("written");
        assert!(go_on(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "a letter\nto somebody\n");
    }
}
