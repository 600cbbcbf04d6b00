//! Compiles the kernel programs (`ebpf/net`) and leaves the object where `src/object.rs` embeds it.
//!
//! Two toolchains will do: a rustc that ships a `core` for `bpfel-unknown-none` (Debian's), or a nightly of rustup that
//! builds `core` itself. Packagers who compile the object apart point `NEXIN_BPF_OBJECT` at it.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "nexin-ebpf-net";
const BINARY: &str = "nexin-net";
/// What the object is made of, from the root of the workspace.
const SOURCES: [&str; 5] = ["ebpf/net", "crates/abi", "crates/packet", "crates/verdict", "rust-toolchain.toml"];

/// Why there is no kernel object.
#[derive(Debug)]
enum Trouble {
    NotCargo(&'static str),
    Copy(PathBuf, io::Error),
    NoLinker,
    NoCompiler,
    Start(io::Error),
    Compile,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCargo(variable) => write!(f, "{variable} is not set; run this through cargo"),
            Self::Copy(from, e) => write!(f, "cannot copy the kernel object {}: {e}", from.display()),
            Self::NoLinker => {
                f.write_str("bpf-linker is missing, so the kernel programs cannot be linked. `./x setup` installs it.")
            }
            Self::NoCompiler => f.write_str(
                "no Rust compiler for BPF: neither a rustc that has `core` for bpfel-unknown-none (Debian: rustc-web and \
                 libstd-rust-web-dev-bpf) nor a rustup nightly was found. `./x setup` installs one.",
            ),
            Self::Start(e) => write!(f, "cannot start cargo for the kernel programs: {e}"),
            Self::Compile => write!(
                f,
                "the kernel programs ({PACKAGE}) do not build; the compiler's message is above. If it speaks of LLVM \
                 versions, bpf-linker belongs to another compiler: `./x setup` builds the one that fits."
            ),
        }
    }
}

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("error: {trouble}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Trouble> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(Trouble::NotCargo("OUT_DIR"))?);
    let manifest = env::var_os("CARGO_MANIFEST_DIR").ok_or(Trouble::NotCargo("CARGO_MANIFEST_DIR"))?;
    let root = Path::new(&manifest).join("../..");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=NEXIN_BPF_OBJECT");
    println!("cargo:rerun-if-env-changed=NEXIN_BPF_RUSTC");
    for source in SOURCES {
        let path = root.join(source);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    let embedded = out.join(BINARY);
    if let Some(given) = env::var_os("NEXIN_BPF_OBJECT") {
        println!("cargo:rerun-if-changed={}", Path::new(&given).display());
        return copy(Path::new(&given), &embedded);
    }
    let built = compile(&root, &out.join("kernel"))?;
    copy(&built, &embedded)
}

fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    fs::copy(from, to).map(drop).map_err(|e| Trouble::Copy(from.into(), e))
}

/// Builds the object in a target directory of its own (cargo holds a lock on the outer one) and returns its path.
fn compile(root: &Path, target_dir: &Path) -> Result<PathBuf, Trouble> {
    if !runs(Command::new("bpf-linker").arg("--version")) {
        return Err(Trouble::NoLinker);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = match system_rustc() {
        Some(rustc) => {
            let mut command = Command::new(cargo);
            command.env("RUSTC", rustc);
            command
        }
        None if runs(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo", "-Z", "build-std=core"]).env_remove("RUSTC");
            command
        }
        None => return Err(Trouble::NoCompiler),
    };
    for inherited in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "CARGO_MAKEFLAGS",
        "MAKEFLAGS",
        "RUSTUP_TOOLCHAIN",
    ] {
        command.env_remove(inherited);
    }
    let status = command
        .current_dir(root)
        .args(["build", "--release", "--quiet", "--target", TARGET, "-p", PACKAGE, "--bin", BINARY, "--target-dir"])
        .arg(target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags())
        .status()
        .map_err(Trouble::Start)?;
    if !status.success() {
        return Err(Trouble::Compile);
    }
    Ok(target_dir.join(TARGET).join("release").join(BINARY))
}

/// Architecture for register layouts, BTF for the maps and line tables, debug info for both. The linker's default of
/// expanding copies in order makes a call of every memset, however small, and each call costs stack and time.
fn rustflags() -> String {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| "x86_64".into());
    [
        &format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ]
    .join("\u{1f}")
}

/// A compiler outside rustup that carries a `core` for BPF.
fn system_rustc() -> Option<PathBuf> {
    let rustc = PathBuf::from(env::var_os("NEXIN_BPF_RUSTC").unwrap_or_else(|| "/usr/bin/rustc".into()));
    let output = Command::new(&rustc).args(["--print", "sysroot"]).output().ok().filter(|o| o.status.success())?;
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir().then_some(rustc)
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
