//! Compiles the `.proto` texts without protoc (the build needs nothing but Rust) and writes the code that knows
//! their fields: JSON, looking by name, copying by path.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

#[path = "build/json.rs"]
mod json;
#[path = "build/names.rs"]
mod names;
#[path = "build/reflect.rs"]
mod reflect;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build");
    let files = ["flow/flow.proto", "observer/observer.proto", "peer/peer.proto", "relay/relay.proto"];
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(files)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;
    let set = compiler.file_descriptor_set();
    let (messages, enums) = names::all(&set);
    fs::write(out.join("json.rs"), json::generate(&messages)?)?;
    fs::write(out.join("reflect.rs"), reflect::generate(&messages, &enums)?)?;
    prost_build::Config::new().compile_fds(set)?;
    Ok(())
}
