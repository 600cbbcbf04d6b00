//! Loading the kernel object: maps made or adopted, load-time constants set, programs verified.
//!
//! Maps are made from their declarations in `nexin_abi`, never from the object, so an object can only use a map as it
//! is declared. Nothing is attached here.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::programs::ProgramError;
use aya::{EbpfLoader, VerifierLogLevel};
use nexin_abi::maps::{self, KernelMap, MapSpec};

use crate::error::{Error, Result};
use crate::map::{Map, RawMap};
use crate::program::Program;

/// Bytes of the verifier's log that an error keeps (its end, where the reason stands).
const LOG_TAIL: usize = 3000;

/// Options for loading an object.
#[derive(Debug, Default)]
pub struct Loader {
    pins: Option<PathBuf>,
    globals: Vec<(String, Vec<u8>, bool)>,
    entries: BTreeMap<&'static str, u32>,
    verbose: bool,
}

impl Loader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps maps pinned in `dir` (on bpffs, must exist): those that are there are adopted, others are made and pinned.
    pub fn pins(mut self, dir: &Path) -> Self {
        self.pins = Some(dir.to_owned());
        self
    }

    /// Sets the `.rodata` global `name` (native byte order). One that the object does not have is an error.
    pub fn global(mut self, name: &str, value: &[u8]) -> Self {
        self.globals.push((name.to_owned(), value.to_owned(), true));
        self
    }

    /// As [`Self::global`], but an object in which no program uses it (so that the compiler dropped it) is fine.
    pub fn global_if_used(mut self, name: &str, value: &[u8]) -> Self {
        self.globals.push((name.to_owned(), value.to_owned(), false));
        self
    }

    /// Room for `entries` in map `M` instead of its default. A pinned map that is adopted keeps its size.
    pub fn entries<M: KernelMap>(self, entries: u32) -> Self {
        self.entries_of(M::NAME, entries)
    }

    /// As [`Self::entries`], by name (`nexin_abi::maps::MapSpec::name`).
    pub fn entries_of(mut self, map: &'static str, entries: u32) -> Self {
        self.entries.insert(map, entries);
        self
    }

    /// Asks the verifier for every instruction's state (slow; for errors that the short log does not explain).
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Loads `object` (usually [`crate::object`]): all maps, all programs.
    pub fn load(&self, object: &[u8]) -> Result<Loaded> {
        let scratch;
        let pins = match &self.pins {
            Some(dir) => dir.as_path(),
            // aya takes maps that we made only by pin: pin them where nobody else looks, and unpin at once.
            None => {
                scratch = crate::bpffs::Scratch::new()?;
                scratch.path()
            }
        };
        let mut adopted = Vec::new();
        let mut maps = BTreeMap::new();
        for spec in maps::ALL {
            let (map, was_there) = self.open_or_make(spec, &pins.join(spec.name))?;
            if was_there {
                adopted.push(spec.name);
            }
            maps.insert(spec.name, map);
        }
        let programs = self.load_programs(object, pins)?;
        Ok(Loaded { maps, programs, adopted })
    }

    fn open_or_make(&self, spec: &MapSpec, pin: &Path) -> Result<(RawMap, bool)> {
        match RawMap::open_pin(pin) {
            Ok(map) => {
                map.check(spec, pin)?;
                Ok((map, true))
            }
            Err(Error::Pin { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
                let entries = self.entries.get(spec.name).copied().unwrap_or(spec.entries);
                let map = RawMap::create(spec, entries)?;
                map.pin(pin)?;
                Ok((map, false))
            }
            Err(e) => Err(e),
        }
    }

    fn load_programs(&self, object: &[u8], pins: &Path) -> Result<BTreeMap<String, Program>> {
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        if self.verbose {
            loader.verifier_log_level(VerifierLogLevel::VERBOSE | VerifierLogLevel::STATS);
        }
        for spec in maps::ALL {
            loader.map_pin_path(spec.name, pins.join(spec.name));
        }
        for (name, value, must_exist) in &self.globals {
            loader.override_global(name, value.as_slice(), *must_exist);
        }
        let mut ebpf = loader.load(object).map_err(|e| Error::Object(Box::new(e)))?;
        let mut programs = BTreeMap::new();
        for (name, program) in ebpf.programs_mut() {
            let loaded = match program {
                aya::programs::Program::SchedClassifier(classifier) => classifier.load().and_then(|()| classifier.fd()),
                aya::programs::Program::Xdp(xdp) => xdp.load().and_then(|()| xdp.fd()),
                _ => continue,
            };
            let fd = loaded.map_err(|e| verifier_error(name, e))?;
            let fd = fd.as_fd().try_clone_to_owned().map_err(|source| Error::Call { call: "dup", source })?;
            programs.insert(name.to_owned(), Program::from_fd(name.to_owned(), fd)?);
        }
        Ok(programs)
    }
}

/// An object in the kernel: its maps and its programs, nothing attached.
#[derive(Debug)]
pub struct Loaded {
    maps: BTreeMap<&'static str, RawMap>,
    programs: BTreeMap<String, Program>,
    adopted: Vec<&'static str>,
}

impl Loaded {
    pub fn program(&self, name: &str) -> Result<&Program> {
        self.programs.get(name).ok_or_else(|| Error::NoProgram(name.to_owned()))
    }

    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.programs.values()
    }

    /// A handle of map `M`.
    pub fn map<M: KernelMap>(&self) -> Result<Map<M>> {
        Map::new(self.raw_map(M::NAME)?.try_clone()?)
    }

    /// Map by name, for what works on any of them.
    pub fn raw_map(&self, name: &str) -> Result<&RawMap> {
        self.maps.get(name).ok_or_else(|| Error::Map {
            map: name.to_owned(),
            call: "open",
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    pub fn maps(&self) -> impl Iterator<Item = &RawMap> {
        self.maps.values()
    }

    /// Names of maps that were pinned already.
    pub fn adopted(&self) -> &[&'static str] {
        &self.adopted
    }
}

fn verifier_error(program: &str, error: ProgramError) -> Error {
    let (log, source) = match error {
        ProgramError::LoadError { io_error, verifier_log } => (tail(&verifier_log.to_string()), io_error),
        other => (String::new(), std::io::Error::other(other)),
    };
    Error::Verifier { program: program.to_owned(), log, source }
}

fn tail(log: &str) -> String {
    let start = log.len().saturating_sub(LOG_TAIL);
    let start = (start..=log.len()).find(|&i| log.is_char_boundary(i)).unwrap_or(0);
    let tail = &log[start..];
    match tail.split_once('\n') {
        Some((_, whole_lines)) if start > 0 => whole_lines.to_owned(),
        _ => tail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_begins_with_a_whole_line() {
        let log: String = (0..2000).map(|n| format!("{n}: insn\n")).collect();
        let tail = tail(&log);
        assert!(tail.len() <= LOG_TAIL && tail.ends_with("1999: insn\n"));
        assert!(log.contains(&format!("\n{tail}")));
    }
}
