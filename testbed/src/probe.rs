//! What the running kernel can do, and skips that prove themselves: a skip names the first kernel that has the feature
//! and is an error where the running kernel is that new.

use std::{fs, io::Write as _};

use crate::{Result, fail, tool};

/// Something that not every kernel in the test matrix has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// tcx links (BPF links on traffic control hooks).
    Tcx,
    /// SCTP sockets.
    Sctp,
    /// XDP or tc programs may redirect to a peer device from ingress.
    RedirectPeer,
}

/// Why a kernel that is new enough may still lack a feature.
enum Since {
    Kernel(u32, u32),
    Config(&'static str),
}

impl Feature {
    fn since(self) -> Since {
        match self {
            Self::Tcx => Since::Kernel(6, 6),
            Self::RedirectPeer => Since::Kernel(5, 10),
            Self::Sctp => Since::Config("CONFIG_IP_SCTP"),
        }
    }
}

/// True when the test may go on; prints the skip otherwise. An error when `works` says no on a kernel that has it.
pub fn needs(feature: Feature, works: impl FnOnce() -> bool) -> Result<bool> {
    if works() {
        return Ok(true);
    }
    let why = match feature.since() {
        Since::Kernel(major, minor) => {
            let running = kernel()?;
            if running >= (major, minor) {
                fail!("{feature:?} does not work, but this kernel ({running:?}) has it since {major}.{minor}");
            }
            format!("needs Linux {major}.{minor}, this is {}.{}", running.0, running.1)
        }
        Since::Config(option) => {
            if configured(option)? == Some(true) {
                fail!("{feature:?} does not work, but this kernel was built with {option}");
            }
            format!("needs {option}, which this kernel was built without")
        }
    };
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    say(&format!("SKIP {test}: {why}"));
    Ok(false)
}

/// Version of the running kernel.
pub fn kernel() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => fail!("cannot read a version in {release:?}"),
    }
}

/// Whether the kernel was built with an option (built in or as a module that is there); `None` when it does not tell.
fn configured(option: &str) -> Result<Option<bool>> {
    let text = match tool("zcat", ["/proc/config.gz"]) {
        Ok(text) => text,
        Err(_) => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
            fs::read_to_string(format!("/boot/config-{}", release.trim())).unwrap_or_default()
        }
    };
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(text.lines().any(|l| l == format!("{option}=y"))))
}

/// Prints past the test harness's capture, so that a run shows its skips.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints a note that no capture swallows.
pub fn note(text: &str) {
    say(&format!("NOTE {text}"));
}

pub(crate) fn is_notice(line: &str) -> bool {
    line.starts_with("SKIP ") || line.starts_with("NOTE ")
}
