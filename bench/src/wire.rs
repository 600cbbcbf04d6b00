//! B1 to B3: round trips, connections and a stream through every path, on one core.

use std::process::Command;

use nexin_testbed::{Result, Tool, fail};

use crate::{
    load::{Figures, Kind},
    paths::{self, Built, PORT, Path},
    report::{Line, Table},
    rounds::{Series, order},
};

/// Load, its name, transactions (milliseconds for the stream), unit, and what a value is divided by to get there.
const LOADS: [(Kind, &str, usize, &str, f64); 4] = [
    (Kind::TcpRr, "TCP_RR", 40_000, "us", 1e3),
    (Kind::UdpRr, "UDP_RR", 40_000, "us", 1e3),
    (Kind::TcpCrr, "TCP_CRR", 5_000, "us", 1e3),
    (Kind::Stream, "stream", 500, "Gb/s", 1e9),
];

/// The baseline comes first, whatever is asked for.
pub(crate) fn measure(rounds: usize, wanted: &[Path], loads: &[Kind]) -> Result<Vec<Table>> {
    let loads: Vec<_> = LOADS.into_iter().filter(|load| loads.is_empty() || loads.contains(&load.0)).collect();
    let wants = |path: &Path| wanted.is_empty() || *path <= Path::Router || wanted.contains(path);
    let built = Path::ALL.into_iter().filter(wants).map(paths::build).collect::<Result<Vec<_>>>()?;
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
    Ok(loads
        .iter()
        .enumerate()
        .map(|(number, (kind, name, _, unit, _))| {
            let lines = built.iter().enumerate().map(|(path, built)| {
                let ratio = p50[number][path].over(&p50[number][0]);
                let tail = p99[number][path].over(&p99[number][0]);
                Line {
                    name: built.path.name().to_owned(),
                    value: p50[number][path].spread(),
                    ratio: Some(ratio.spread()),
                    tail: (*kind != Kind::Stream).then(|| tail.spread()),
                    over_router: (built.path >= Path::Router).then(|| p50[number][path].over(&p50[number][1]).spread()),
                }
            });
            Table { title: (*name).to_owned(), unit: (*unit).to_owned(), lines: lines.collect() }
        })
        .collect())
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
