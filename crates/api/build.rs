//! Generates the gRPC services of Hubble; their messages are those of `nexin-hubble`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../hubble/proto");
    let services = protox::compile(["observer/observer.proto", "peer/peer.proto"], ["../hubble/proto"])?;
    let mut builder = tonic_prost_build::configure();
    for package in ["flow", "observer", "peer", "relay"] {
        builder = builder.extern_path(format!(".{package}"), format!("::nexin_hubble::{package}"));
    }
    builder.compile_fds(services)?;
    Ok(())
}
