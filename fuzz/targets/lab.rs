//! Any text as a lab file: a plan that survives being written and read again, or an error that names the file.
#![no_main]

mod host {
    pub(crate) mod file;
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match nexin_lab::read_spec(&host::file::holding("lab", text)) {
        Ok(spec) => {
            let written = serde_json::to_string(&spec).expect("plans are plain data");
            let again = nexin_lab::read_spec(&host::file::holding("lab", &written)).expect("a plan is a lab file");
            assert_eq!(again, spec, "{written}");
        }
        Err(error) => assert!(error.to_string().contains("nexin-fuzz-lab"), "{error}"),
    }
});
