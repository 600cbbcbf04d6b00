//! Runs the netns suite on other kernels: Debian's own, booted by QEMU without hardware help, with everything the tests
//! need in an initramfs. The test programs are the very ones that run on this machine.

mod image;
mod kernel;

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use crate::chore::{Result, fail};
pub(crate) use kernel::Version;

/// What `./x test` runs on each kernel: it must stay within minutes, emulated.
const SMOKE: [&str; 4] = ["ground::", "smoke::", "clsact::", "residue::"];
/// Tests that a guest cannot run, and why; everything else of the suite runs there.
const LEFT_OUT: [(&str, &str); 4] = [
    ("sinks::a_collector_of_others_takes_flows_and_metrics", "Python and its packages are not in the guest's image"),
    ("containerd::containerd_runs_real_containers_on_it", "containerd, runc and ctr are not in the guest's image"),
    ("runtimes::podman_runs_real_containers_on_it", "podman, runc and what they need are not in the guest's image"),
    (
        "np_cases::network_policy_cases_hold_on_the_wire",
        "its data lies outside the tree and is not in the guest's image",
    ),
];
/// The guest prints this and the exit code of the suite.
const VERDICT: &str = "NEXIN-VM-EXIT ";

/// Boots each kernel and runs the tests whose names contain one of `filters` (all without any).
pub(crate) fn run(root: &Path, which: Option<Which>, filters: &[String]) -> Result<bool> {
    let (versions, filters): (Vec<Version>, Vec<String>) = match which {
        Some(Which::Smoke) => (Version::ALL.into(), SMOKE.map(str::to_owned).into()),
        Some(Which::Version(version)) => (vec![version], filters.to_vec()),
        None => (Version::ALL.into(), filters.to_vec()),
    };
    let programs = image::Programs::build(root)?;
    let arguments = suite_arguments(&programs.tests()?, &filters)?;
    let mut clean = true;
    for version in versions {
        let kernel = kernel::fetch(&programs.target.join("vm"), version)?;
        let initramfs = image::pack(&kernel, &programs, &arguments)?;
        eprintln!("vm: Linux {} under QEMU", kernel.release);
        clean &= boot(&kernel, &initramfs)?;
    }
    Ok(clean)
}

/// Arguments of the suite in the guest: the filters, and what is left out of what they choose, which is told. A name that
/// no longer exists is an error.
fn suite_arguments(tests: &BTreeSet<String>, filters: &[String]) -> Result<Vec<String>> {
    let mut arguments = filters.to_vec();
    for (name, why) in LEFT_OUT {
        if !tests.contains(name) {
            fail!("{name} is left out of the guests, but the suite has no such test");
        }
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            println!("LEFT OUT {name}: {why}");
            arguments.extend(["--skip".to_owned(), name.to_owned()]);
        }
    }
    Ok(arguments)
}

/// The first argument of `cargo xtask vm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Smoke,
    Version(Version),
}

impl std::str::FromStr for Which {
    type Err = std::io::Error;

    fn from_str(text: &str) -> std::io::Result<Self> {
        match text {
            "smoke" => Ok(Self::Smoke),
            _ => Version::ALL
                .into_iter()
                .find(|v| v.name() == text)
                .map(Self::Version)
                .ok_or_else(|| std::io::Error::other("smoke, 6.1 or 6.12")),
        }
    }
}

/// Runs the guest, repeats what it prints, and tells whether its suite passed.
fn boot(kernel: &kernel::Kernel, initramfs: &Path) -> Result<bool> {
    let mut guest = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3G", "-nographic", "-no-reboot"])
        .args(["-net", "none", "-monitor", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let Some(console) = guest.stdout.take() else { fail!("the guest has no console") };
    let mut code = None;
    for line in BufReader::new(console).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        if let Some(found) = line.trim_start().strip_prefix(VERDICT) {
            code = found.parse::<i32>().ok();
        } else {
            println!("[{}] {line}", kernel.version.name());
            // Totals count these where they begin a line.
            if line.starts_with("test result:") || line.starts_with("SKIP ") {
                println!("{line}");
            }
        }
    }
    guest.wait()?;
    match code {
        Some(code) => Ok(code == 0),
        None => fail!("the guest ended without a verdict: Linux {} panicked or ran out of memory", kernel.release),
    }
}
