//! The benchmark: baseline, peers, floor programs and Nexin in one run, interleaved, as ratios to the baseline of the
//! same round. It measures and prints; it is no test, and nothing here fails because something is slow.

mod attach;
mod control;
mod flows;
mod forward;
mod kernel;
mod load;
mod machine;
mod paths;
mod report;
mod resolve;
mod rounds;
mod scale;
mod wire;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};
use nexin_testbed::{Result, alone, fail};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Row {
    /// B1 to B3: round trips, connections and a stream through each path, on one core.
    Wire,
    /// B4: programs alone, beside the floor programs.
    Kernel,
    /// B15 in part: a container's wait for its network, beside the reference CNI plugins.
    Attach,
    /// B14 and B15 in part: changes, starts and memory with 250 workloads, and with 10,000 identities.
    Control,
    /// B5 and B6: forwarding on one core beside routers and firewalls of 10 and 10,000 rules.
    Forward,
    /// B6: round trips and connections through firewalls of 10,000 rules.
    Rules,
    /// B14 in part: the policy engine alone.
    Engine,
    /// B12: what flows cost, on the wire, in the kernel and in the agent.
    Flows,
}

#[derive(Parser)]
#[command(about = "Measures Nexin beside a baseline and its peers")]
struct Arguments {
    /// What to measure; everything without.
    rows: Vec<Row>,
    /// Rounds; each measures every path once, in another order.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Only these paths, beside veth and router.
    #[arg(long, value_delimiter = ',')]
    paths: Vec<paths::Path>,
    /// Only these loads.
    #[arg(long, value_delimiter = ',')]
    loads: Vec<load::Kind>,
    /// Object of the floor programs (`ebpf/floor`).
    #[arg(long)]
    floor: Option<PathBuf>,
    /// Where the table goes.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Where the figures go.
    #[arg(long)]
    json: Option<PathBuf>,
    /// (internal) Serve on this port.
    #[arg(long, hide = true)]
    serve: Option<u16>,
    /// (internal) Put this load on a server.
    #[arg(long, hide = true, requires = "to")]
    load: Option<load::Kind>,
    #[arg(long, hide = true)]
    to: Option<SocketAddr>,
    #[arg(long, hide = true, default_value_t = 1)]
    count: usize,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(port) = arguments.serve {
        return load::serve(port).map(|()| ExitCode::SUCCESS);
    }
    if let (Some(kind), Some(to)) = (arguments.load, arguments.to) {
        let figures = load::put(kind, to, arguments.count)?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(ExitCode::SUCCESS);
    }
    alone(|| measure(&arguments))
}

fn measure(arguments: &Arguments) -> Result {
    machine::stay_off_the_measured_core()?;
    let all = arguments.rows.is_empty();
    let wants = |row| all || arguments.rows.contains(&row);
    let mut report = report::Report::new(machine::describe()?);
    if wants(Row::Wire) {
        let wants = |path: &paths::Path| {
            let asked = &arguments.paths;
            asked.is_empty() || *path <= paths::Path::Router || asked.contains(path)
        };
        let paths: Vec<_> = paths::Path::WIRE.into_iter().filter(wants).collect();
        report.add(wire::measure("", arguments.rounds, &paths, &arguments.loads)?);
    }
    if wants(Row::Rules) {
        let loads = [load::Kind::TcpRr, load::Kind::TcpCrr];
        report.add(wire::measure(" through large firewalls", arguments.rounds, &paths::Path::RULES, &loads)?);
    }
    if wants(Row::Kernel) {
        report.add(kernel::measure(floor(arguments)?, arguments.rounds)?);
    }
    if wants(Row::Forward) {
        report.add(forward::measure(floor(arguments)?, arguments.rounds, &arguments.paths)?);
    }
    if wants(Row::Flows) {
        report.add(flows::measure(floor(arguments)?, arguments.rounds)?);
    }
    if wants(Row::Engine) {
        report.add(resolve::measure()?);
    }
    if wants(Row::Control) {
        report.add(control::measure()?);
    }
    if wants(Row::Attach) {
        report.add(attach::measure(arguments.rounds)?);
    }
    println!("{}", report.markdown());
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, report.markdown())?;
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(())
}

fn floor(arguments: &Arguments) -> Result<&std::path::Path> {
    match &arguments.floor {
        Some(floor) => Ok(floor),
        None => fail!("this row needs --floor OBJECT; ./x bench builds it"),
    }
}
