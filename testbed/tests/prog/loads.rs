//! Every program passes the verifier.

use nexin_bpf::{Loader, object};
use nexin_testbed::{Result, isolated};

const PROGRAMS: [&str; 4] = ["from_workload", "to_workload", "from_network", "to_network"];

#[test]
fn programs_load() -> Result {
    isolated(|| {
        let loaded = Loader::new().load(object())?;
        for name in PROGRAMS {
            let insns = loaded.program(name)?.verified_insns();
            println!("{name}: {insns}");
            assert!(insns > 0);
        }
        Ok(())
    })
}
