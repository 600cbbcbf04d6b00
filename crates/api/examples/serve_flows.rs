//! A Hubble server to try clients on: `serve_flows NAME ADDRESS FLOWS.jsonl [CERTIFICATE KEY [CLIENT_CA]]`. Serves the flows of a file (JSON
//! lines, as `hubble observe -o jsonpb` prints them) at `unix:/path` or `127.0.0.1:port`, the latter with TLS where a certificate is
//! given, and announces itself as the only node. docs/design/hubble-api.md tells how the official command is run against it.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with a message and a line")]

#[path = "../tests/hubble_node/mod.rs"]
mod hubble_node;

use std::error::Error;
use std::path::{Path, PathBuf};

use hubble_node::{Log, Node};
use nexin_api::hubble::Peer;
use nexin_http::{Protocol, ServerTls, Target};
use nexin_hubble::json::{Unknown, read};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, address, file, tls @ ..] = arguments.as_slice() else {
        return Err("usage: serve_flows NAME ADDRESS FLOWS.jsonl [CERTIFICATE KEY [CLIENT_CA]]".into());
    };
    let log = Log::new(name);
    let text = std::fs::read_to_string(file)?;
    let responses: Result<Vec<_>, _> = text.lines().map(|line| read(line.as_bytes(), Unknown::Refuse)).collect();
    log.see(responses?);
    let tls = match tls {
        [certificate, key, clients @ ..] => {
            let clients: Vec<PathBuf> = clients.iter().map(PathBuf::from).collect();
            Some(ServerTls::from_files(Path::new(certificate), Path::new(key), &clients, Protocol::Grpc)?)
        }
        _ => None,
    };
    let secure = tls.is_some();
    let node = match address.parse()? {
        Target::Unix(path) => Node::on_socket(log, &path).await,
        Target::Tcp { port, .. } => Node::on_tcp(log, port, tls).await,
    };
    let reached = match node.target() {
        Target::Unix(path) => format!("unix://{}", path.display()),
        tcp => tcp.to_string(),
    };
    node.peers.replace([Peer::of_node("default", name, reached, secure)]);
    println!("serving {name} at {}; end with Ctrl-C", node.target());
    tokio::signal::ctrl_c().await?;
    node.stop().await;
    Ok(())
}
