//! `nexin run`: a command as a workload of its own.
//!
//! The command gets a network namespace, an endpoint with its labels, a hosts file and a resolv.conf that make sense in
//! there. When it ends, or when this program ends for whatever reason, the endpoint and the namespace go: a second
//! process ([`reaper`]) watches this one.

mod files;
pub(crate) mod reaper;

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use clap::Args;
use nexin_api::Client;
use nexin_api::v1::Endpoint;
use nexin_netlink::{IfName, Netns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use super::endpoint::Workload;
use crate::error::{CliError, Result};
use reaper::Reaper;

#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    workload: Workload,
    /// A name server for the command's resolv.conf; the machine's when left out
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// A line for the command's hosts file
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = files::host)]
    add_host: Vec<(String, IpAddr)>,
    /// Say which endpoint it became
    #[arg(short, long)]
    verbose: bool,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What a shell says of a command that cannot be found or run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// Time that what the command left running gets to end.
const GRACE: Duration = Duration::from_secs(2);

/// A namespace and the endpoint in it; [`Place::leave`] removes both.
struct Place {
    netns: Netns,
    name: String,
    endpoint: Endpoint,
    client: Client,
}

pub(crate) async fn run(context: &Context, args: &Run) -> Result<ExitCode> {
    let client = context.client()?;
    // Asked first: without an agent nothing should be made.
    client.status().await?;
    let id = identifier();
    // From here on, what would end this process is the command's; it waits until there is one.
    let mut signals = Signals::listen()?;
    let reaper = Reaper::start(&context.socket, &id)?;
    let place = match enter(client, args, &id).await {
        Ok(place) => place,
        Err(error) => {
            Netns::delete_named(&id)?;
            reaper.dismiss().await?;
            return Err(error);
        }
    };
    if args.verbose {
        let endpoint = &place.endpoint;
        let addresses: Vec<String> = [endpoint.ipv4.map(IpAddr::from), endpoint.ipv6.map(IpAddr::from)]
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        eprintln!("endpoint {} identity {} {}", endpoint.id, endpoint.identity, addresses.join(" "));
    }
    let outcome = work(&place, args, &mut signals).await;
    match place.leave().await {
        Ok(()) => reaper.dismiss().await?,
        // Undismissed, the watcher takes over when this process ends.
        Err(error) => eprintln!("nexin: the workload is not removed yet, its watcher keeps trying: {error}"),
    }
    outcome
}

/// Unique on this machine while this process lives, and recognisable as a `run`'s.
fn identifier() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("nexin-run-{}-{:x}", std::process::id(), since.subsec_nanos())
}

async fn enter(client: Client, args: &Run, id: &str) -> Result<Place> {
    let netns = Netns::create_named(id)?;
    netns.netlink()?.set_up(&IfName::new("lo")?, true)?;
    let name = args.workload.name.clone().unwrap_or_else(|| command_name(&args.command[0]));
    let mut request = args.workload.request(name, Netns::path_of(id));
    request.container_id = Some(id.to_owned());
    // Whoever starts it knows its labels: without any it has none, rather than unknown ones (reserved:init).
    request.labels.get_or_insert_default();
    let endpoint = client.create_endpoint(&request).await?;
    Ok(Place { netns, name: id.to_owned(), endpoint, client })
}

fn command_name(program: &OsString) -> String {
    let path = std::path::Path::new(program);
    path.file_name().unwrap_or(program).to_string_lossy().to_ascii_lowercase()
}

impl Place {
    /// Ends what the command left running, and removes the endpoint and the namespace.
    async fn leave(self) -> Result<()> {
        nexin_lab::stop_all_in(&self.netns, GRACE)?;
        self.client.delete_endpoint(self.endpoint.id).await?;
        drop(self.netns);
        Ok(Netns::delete_named(&self.name)?)
    }
}

/// Runs the command to its end, with signals passed on.
async fn work(place: &Place, args: &Run, signals: &mut Signals) -> Result<ExitCode> {
    let overlay = files::Overlay::make(&place.endpoint, &args.dns, &args.add_host)?;
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]);
    let runtime = tokio::runtime::Handle::current();
    let started = place.netns.run_with_files(&overlay.mounts(), || {
        let _inside = runtime.enter();
        command.spawn()
    })?;
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            eprintln!("nexin: {}: {error}", args.command[0].to_string_lossy());
            let missing = error.kind() == io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if missing { NOT_FOUND } else { NOT_EXECUTABLE }));
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|source| CliError::system("wait for the command", source))?;
                return Ok(exit_code(status));
            }
            signal = signals.next() => pass_on(&child, signal)?,
        }
    }
}

fn pass_on(child: &Child, signal: Signal) -> Result<()> {
    // None: it has ended, which the loop sees next.
    let Some(pid) = child.id() else { return Ok(()) };
    match kill(Pid::from_raw(pid.cast_signed()), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(CliError::system(format!("pass {signal} on to the command"), errno)),
    }
}

/// As a shell gives it: the code, or 128 and the signal.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Signals that are the command's, not ours. A terminal sends interrupt and quit to both of us; there they are only
/// kept from ending this process before the command.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
    user2: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    terminal: bool,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|source| CliError::system("listen for signals", source));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            terminal: io::IsTerminal::is_terminal(&io::stdin()),
        })
    }

    async fn next(&mut self) -> Signal {
        loop {
            let (signal, sent_to_both) = tokio::select! {
                _ = self.terminate.recv() => (Signal::SIGTERM, false),
                _ = self.hangup.recv() => (Signal::SIGHUP, false),
                _ = self.user1.recv() => (Signal::SIGUSR1, false),
                _ = self.user2.recv() => (Signal::SIGUSR2, false),
                _ = self.interrupt.recv() => (Signal::SIGINT, self.terminal),
                _ = self.quit.recv() => (Signal::SIGQUIT, self.terminal),
            };
            if !sent_to_both {
                return signal;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_a_shells() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), ExitCode::from(3));
        assert_eq!(exit_code(ExitStatus::from_raw(15)), ExitCode::from(143));
        assert_eq!(exit_code(ExitStatus::from_raw(0)), ExitCode::SUCCESS);
    }

    #[test]
    fn a_workload_is_named_after_its_command() {
        assert_eq!(command_name(&"/usr/bin/Python3".into()), "python3");
        assert_eq!(command_name(&"curl".into()), "curl");
    }
}
