//! What this machine can do, what is missing, and what that costs. Looks and tries; changes nothing that stays.

use std::path::Path;

use nexin_api::v1::{Check, CheckArea, CheckState, DoctorReply};
use nexin_datapath::probe::{self, Presence};
use nexin_netlink::{Family, NodeSysctl};
use nexin_runtime::settings::Choice;

use crate::capabilities;
use crate::settings::Settings;

/// Every check, kernel first. Works without a running agent, too.
pub fn examine(settings: &Settings) -> DoctorReply {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    let mut checks = kernel_checks();
    checks.extend(permission_checks());
    checks.extend(filesystem_checks(settings));
    checks.extend(sysctl_checks(settings));
    DoctorReply { kernel, checks }
}

fn kernel_checks() -> Vec<Check> {
    let check = |feature: probe::Feature| Check {
        name: feature.name.to_owned(),
        area: CheckArea::Kernel,
        result: match (feature.presence, feature.required) {
            (Presence::Present, _) => CheckState::Ok,
            (Presence::Absent, true) => CheckState::Missing,
            (Presence::Absent, false) => CheckState::Degraded,
            (Presence::Unknown, _) => CheckState::Unknown,
        },
        found: match feature.presence {
            Presence::Present => "present".to_owned(),
            Presence::Absent => "absent".to_owned(),
            Presence::Unknown => "cannot be found out".to_owned(),
        },
        cost: (feature.presence != Presence::Present).then(|| feature.without.to_owned()),
        remedy: (feature.presence == Presence::Absent)
            .then(|| format!("a kernel of {} or newer has it", feature.since)),
    };
    probe::features().into_iter().map(check).collect()
}

fn permission_checks() -> Vec<Check> {
    let missing = capabilities::missing();
    let list = |missing: &[(caps::Capability, &str)]| {
        missing.iter().map(|(c, _)| c.to_string()).collect::<Vec<_>>().join(", ")
    };
    let check = Check {
        name: "capabilities".to_owned(),
        area: CheckArea::Permissions,
        result: if missing.is_empty() { CheckState::Ok } else { CheckState::Missing },
        found: if missing.is_empty() { "all that are used".to_owned() } else { format!("without {}", list(&missing)) },
        cost: (!missing.is_empty()).then(|| {
            let costs = missing.iter().map(|(capability, use_of)| format!("{capability}: {use_of}"));
            format!("does not work: {}", costs.collect::<Vec<_>>().join("; "))
        }),
        remedy: (!missing.is_empty()).then(|| "run the agent as root, or give it these capabilities".to_owned()),
    };
    vec![check]
}

fn filesystem_checks(settings: &Settings) -> Vec<Check> {
    let agent = &settings.agent;
    let mut checks: Vec<Check> = [("state directory", &agent.state_dir), ("run directory", &agent.run_dir)]
        .into_iter()
        .map(|(name, path)| directory(name, path))
        .collect();
    let cgroup = ["/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"];
    let found = cgroup.iter().find(|path| Path::new(path).exists());
    checks.push(Check {
        name: "cgroup v2".to_owned(),
        area: CheckArea::Filesystems,
        result: if found.is_some() { CheckState::Ok } else { CheckState::Degraded },
        found: found.map_or("not mounted".to_owned(), |path| path.trim_end_matches("/cgroup.controllers").to_owned()),
        cost: found.is_none().then(|| "nothing today; socket load balancing will need it".to_owned()),
        remedy: found.is_none().then(|| "mount -t cgroup2 none /sys/fs/cgroup/unified".to_owned()),
    });
    checks
}

fn directory(name: &str, path: &Path) -> Check {
    let probe = std::fs::create_dir_all(path).and_then(|()| {
        let file = path.join(".doctor");
        std::fs::write(&file, b"x").and_then(|()| std::fs::remove_file(&file))
    });
    Check {
        name: name.to_owned(),
        area: CheckArea::Filesystems,
        result: if probe.is_ok() { CheckState::Ok } else { CheckState::Missing },
        found: match &probe {
            Ok(()) => format!("{} is writable", path.display()),
            Err(error) => format!("{}: {error}", path.display()),
        },
        cost: probe.is_err().then(|| "endpoints cannot be made, since they could not be written down".to_owned()),
        remedy: probe.is_err().then(|| "make it writable, or name another one in the settings".to_owned()),
    }
}

fn sysctl_checks(settings: &Settings) -> Vec<Check> {
    let families = [
        ("IPv4 forwarding", Family::V4, matches!(settings.ipam.ipv4_pool, Choice::Value(_))),
        ("IPv6 forwarding", Family::V6, matches!(settings.ipam.ipv6_pool, Choice::Value(_))),
    ];
    let wanted = families.into_iter().filter(|(_, _, wanted)| *wanted);
    wanted
        .map(|(name, family, _)| {
            let value = NodeSysctl::ForwardAll(family).read();
            let on = matches!(value, Ok(1));
            Check {
                name: name.to_owned(),
                area: CheckArea::Sysctls,
                result: match &value {
                    Ok(1) => CheckState::Ok,
                    Ok(_) => CheckState::Degraded,
                    Err(_) => CheckState::Missing,
                },
                found: match &value {
                    Ok(value) => value.to_string(),
                    Err(error) => error.to_string(),
                },
                cost: (!on).then(|| "traffic that the datapath hands to the stack is not forwarded".to_owned()),
                remedy: (!on).then(|| {
                    "the agent switches it on at start (setting network.forwarding), where the family exists".to_owned()
                }),
            }
        })
        .collect()
}
