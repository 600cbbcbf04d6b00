//! How many instructions the verifier walks for each program and option, compared with the committed table: a program
//! that grows is seen before a kernel refuses it. `cargo xtask insns` writes the table anew.

use std::{collections::BTreeMap, fs, path::Path};

use nexin_bpf::{Loader, object};
use nexin_testbed::{Result, bless, fail, isolated, kernel, note};

const PROGRAMS: [&str; 4] = ["from_workload", "to_workload", "from_network", "to_network"];
/// A name, and the load-time constant that differs from its default.
const OPTIONS: [(&str, Option<(&str, u32)>); 3] =
    [("default", None), ("events limited", Some(("NX_EVENT_GAP_NS", 1000))), ("MAC check", Some(("NX_CHECK_MAC", 1)))];
/// What compilers differ in is no growth; in parts of a hundred.
const TOLERANCE: u64 = 5;

const HEAD: &str = "# Instructions that the verifier walks

Written by `cargo xtask insns`, compared by `./x test prog`: a number may not grow unasked. The kernel's limit is a million
for each program; what counts is that a loaded machine still loads them quickly.

| kernel | option | program | instructions |
|---|---|---|---|
";

type Key = (String, String, String);

/// Rows of the committed table.
fn committed(text: &str) -> BTreeMap<Key, u64> {
    let rows = text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| kernel"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [kernel, option, program, count] = cells.as_slice() else { return None };
        Some((((*kernel).into(), (*option).into(), (*program).into()), count.parse().ok()?))
    })
    .collect()
}

#[test]
fn no_program_has_grown_unasked() -> Result {
    isolated(|| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/design/verified-insns.md");
        let mut table = committed(&fs::read_to_string(&file).unwrap_or_default());
        let (major, minor) = kernel()?;
        let release = format!("{major}.{minor}");
        let mut grown = Vec::new();
        let mut compared = 0;
        for (option, constant) in OPTIONS {
            let mut loader = Loader::new();
            if let Some((name, value)) = constant {
                loader = loader.global(name, &value.to_ne_bytes());
            }
            let loaded = loader.load(object())?;
            for program in PROGRAMS {
                let now = u64::from(loaded.program(program)?.verified_insns());
                assert!((1..1_000_000).contains(&now), "{program}: {now}");
                let key = (release.clone(), option.to_owned(), program.to_owned());
                if bless() {
                    table.insert(key, now);
                } else if let Some(before) = table.get(&key) {
                    compared += 1;
                    if now * 100 > before * (100 + TOLERANCE) {
                        grown.push(format!("{program} ({option}): {before} -> {now}"));
                    }
                }
            }
        }
        if bless() {
            table.retain(|(_, option, _), _| OPTIONS.iter().any(|(known, _)| known == option));
            let rows = table
                .iter()
                .map(|((kernel, option, program), n)| format!("| {kernel} | {option} | {program} | {n} |\n"));
            return Ok(fs::write(&file, HEAD.to_owned() + &rows.collect::<String>())?);
        }
        if compared == 0 {
            note(&format!("no instruction counts are committed for Linux {release}; cargo xtask insns adds them"));
        }
        if !grown.is_empty() {
            fail!("grown; if that is meant, run cargo xtask insns and commit its table:\n{}", grown.join("\n"));
        }
        Ok(())
    })
}
