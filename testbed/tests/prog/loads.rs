//! Every program passes the verifier with every option that changes what it walks.

use nexin_bpf::{Loader, object};
use nexin_testbed::{Result, isolated};

const PROGRAMS: [&str; 4] = ["from_workload", "to_workload", "from_network", "to_network"];

/// Load-time constants by the name of the option; the first are the defaults.
const OPTIONS: [(&str, &[(&str, u32)]); 5] = [
    ("default", &[]),
    ("events limited", &[("NX_EVENT_GAP_NS", 1000), ("NX_EVENT_BURST_NS", 100_000)]),
    ("check MAC", &[("NX_CHECK_MAC", 1)]),
    ("no limits", &[("NX_HALF_OPEN_LIMIT", 0), ("NX_TUNNEL_PORT1", 0), ("NX_TUNNEL_PORT2", 0)]),
    ("gateway known", &[("NX_GATEWAY4", 0x0100_000a)]),
];

#[test]
fn programs_load_with_every_option() -> Result {
    isolated(|| {
        for (option, globals) in OPTIONS {
            let loader = globals.iter().fold(Loader::new(), |l, (name, value)| l.global(name, &value.to_ne_bytes()));
            let loaded = loader.load(object())?;
            for name in PROGRAMS {
                assert!(loaded.program(name)?.verified_insns() > 0, "{name} with {option}");
            }
        }
        Ok(())
    })
}
