//! B1 to B3: round trips, connections and a stream through every path, on one core.

use std::process::Command;

use nexin_testbed::{Result, Tool, fail};

use crate::{
    load::{Figures, Kind},
    paths::{self, Built, PORT, Path},
    report::{CONNECTION_SLACK, Line, SLACK, Table},
    rounds::{Series, Spread, order},
};

/// Load, its name, transactions (milliseconds for the stream), unit, and what a value is divided by to get there.
const LOADS: [(Kind, &str, usize, &str, f64); 4] = [
    (Kind::TcpRr, "TCP_RR", 40_000, "us", 1e3),
    (Kind::UdpRr, "UDP_RR", 40_000, "us", 1e3),
    (Kind::TcpCrr, "TCP_CRR", 5_000, "us", 1e3),
    (Kind::Stream, "stream", 500, "Gb/s", 1e9),
];

/// `wanted` begins with the baseline. `title` is added to the names of the loads.
pub(crate) fn measure(title: &str, rounds: usize, wanted: &[Path], loads: &[Kind]) -> Result<Vec<Table>> {
    let loads: Vec<_> = LOADS.into_iter().filter(|load| loads.is_empty() || loads.contains(&load.0)).collect();
    let built = wanted.iter().copied().map(paths::build).collect::<Result<Vec<_>>>()?;
    let mut p50 = vec![vec![Series::default(); built.len()]; loads.len()];
    let mut p99 = p50.clone();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for (number, (kind, _, count, _, divisor)) in loads.iter().enumerate() {
            for path in order(built.len(), round) {
                let figures = put(&built[path], *kind, *count)?;
                p50[number][path].values.push(figures.p50 / divisor);
                p99[number][path].values.push(figures.p99 / divisor);
            }
        }
    }
    built.iter().try_for_each(|path| path.followed().map(drop))?;
    Ok(loads
        .iter()
        .enumerate()
        .map(|(number, (kind, name, _, unit, _))| {
            let lines = built.iter().enumerate().map(|(path, built)| {
                let (own, base) = (&p50[number][path], &p50[number][0]);
                let mut line = Line::new(built.path.name(), own).over(own, base);
                if *kind != Kind::Stream {
                    line = line.tail(&p99[number][path], &p99[number][0]);
                }
                let router = wanted.iter().position(|path| *path == Path::Router).map(|at| &p50[number][at]);
                if let Some(router) = router.filter(|_| built.path >= Path::Router) {
                    line = line.against_router(own, router);
                }
                if built.path == Path::NexinMany
                    && let Some(few) = wanted.iter().position(|path| *path == Path::Nexin)
                    && let Some(set) = wanted.iter().position(|path| *path == Path::NftSetLarge)
                {
                    let (few, set) = (own.over(&p50[number][few]).spread(), own.over(&p50[number][set]).spread());
                    let slack = if *kind == Kind::TcpCrr { CONNECTION_SLACK } else { SLACK };
                    line = line.at_most("to few rules", 1.05, slack, few).at_most("to nft set", 1.0, slack, set);
                } else if matches!(built.path, Path::NexinConnections | Path::NexinFlows) {
                    let limit = if *kind == Kind::TcpCrr { 1.03 } else { 1.01 };
                    line = line.at_most("to nothing told", limit, SLACK, own.over(base).spread());
                } else if let Some(router) = router.filter(|_| matches!(built.path, Path::Nexin | Path::NexinV6)) {
                    let tail = p99[number][path].over(&p99[number][0]).spread();
                    line = goals(line, *kind, own.over(base).spread(), tail, own.over(router).spread());
                }
                line
            });
            Table { title: format!("{name}{title}"), unit: (*unit).to_owned(), lines: lines.collect() }
        })
        .collect())
}

/// What Nexin's line is meant to show.
fn goals(line: Line, kind: Kind, ratio: Spread, tail: Spread, to_router: Spread) -> Line {
    match kind {
        Kind::TcpRr | Kind::UdpRr => line
            .at_most("ratio", 1.12, SLACK, ratio)
            .at_most("to router", 0.97, SLACK, to_router)
            .at_most("p99", 1.15, CONNECTION_SLACK, tail),
        Kind::TcpCrr => {
            line.at_most("ratio", 1.22, CONNECTION_SLACK, ratio).at_most("p99", 1.25, CONNECTION_SLACK, tail)
        }
        Kind::Stream => line.at_least("ratio", 0.92, ratio),
    }
}

/// One load on one path, by a process in the client's namespace.
fn put(built: &Built, kind: Kind, count: usize) -> Result<Figures> {
    let mut net = std::ffi::OsString::from("--net=");
    net.push(&built.client);
    let name = clap::ValueEnum::to_possible_value(&kind).map(|v| v.get_name().to_owned()).unwrap_or_default();
    let done =
        Tool::run(Command::new("nice").args(["-n", "-20", "nsenter"]).arg(net).arg(std::env::current_exe()?).args([
            "--load",
            &name,
            "--to",
            &std::net::SocketAddr::new(built.server, PORT).to_string(),
            "--count",
            &count.to_string(),
        ]))?;
    if !done.success {
        fail!("{kind:?} over {}: {}", built.path.name(), done.stderr);
    }
    Ok(serde_json::from_str(&done.stdout)?)
}
