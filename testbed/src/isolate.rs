//! One process and one set of namespaces a test: whatever a test makes dies with it, and tests run in parallel.
//!
//! The test re-executes itself under `unshare` with its own network, mount and process namespaces. Inside, `/run` is
//! empty (so is `/run/netns`), `/sys/fs/bpf` is a file system of its own, and every process is killed when the test
//! ends. Root is needed; without it the test fails and says so.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Seek as _},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};

use crate::{Result, fail, probe, switches, tool};

/// After this a test counts as hung.
const HUNG: Duration = Duration::from_secs(600);

/// Runs `test` isolated from the machine and from other tests.
pub fn isolated(test: impl FnOnce() -> Result) -> Result {
    if switches::is_inside() {
        furnish()?;
        return test();
    }
    if !nix::unistd::geteuid().is_root() {
        fail!("this test makes namespaces and loads kernel programs: run it as root");
    }
    let thread = thread::current();
    let Some(name) = thread.name().filter(|n| *n != "main") else { fail!("isolated() must be called by a #[test]") };
    let log = tempfile::tempfile()?;
    let (variable, value) = switches::inside_variable();
    let mut child = unshare([name, "--exact", "--nocapture", "--test-threads=1"])?
        .env(variable, value)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .process_group(0)
        .spawn()?;
    let (start, hung) = (Instant::now(), HUNG * switches::patience());
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() > hung => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    // Indented, so that no result line of the inner run is taken for one of the outer.
    let said = read_all(log)?;
    let shown: String = said.lines().map(|line| format!("  | {line}\n")).collect();
    for line in said.lines().filter(|l| probe::is_notice(l)) {
        probe::say(line);
    }
    match status {
        Some(status) if status.success() && said.contains("test result: ok. 1 passed") => Ok(()),
        Some(status) => fail!("{name} inside its namespaces: {status}\n{shown}"),
        None => fail!("{name} hung for {hung:?}\n{shown}"),
    }
}

/// The same for a program that is no test: `work` runs once this program has started itself in namespaces of its own.
pub fn alone(work: impl FnOnce() -> Result) -> Result<ExitCode> {
    if switches::is_inside() {
        furnish()?;
        return work().map(|()| ExitCode::SUCCESS);
    }
    let (variable, value) = switches::inside_variable();
    let status = unshare(env::args_os().skip(1))?.env(variable, value).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// This program again, in new namespaces. A shell is their first process, since somebody must reap what tests orphan.
fn unshare(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Command> {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .args(["sh", "-c", "\"$@\" & wait $!", "first"])
        .arg(env::current_exe()?)
        .args(arguments);
    Ok(command)
}

fn read_all(mut log: File) -> Result<String> {
    let mut said = Vec::new();
    log.rewind()?;
    log.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn furnish() -> Result {
    let nothing = None::<&str>;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing)?;
    for folder in ["/run/netns", "/run/lock", "/run/test"] {
        fs::create_dir_all(folder)?;
    }
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), nothing)?;
    tool("ip", ["link", "set", "lo", "up"])?;
    Ok(())
}
