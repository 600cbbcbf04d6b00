//! A kernel map together with what we put into it.

use std::collections::HashMap;
use std::hash::Hash;

use nexin_abi::maps::{KernelMap, MapKind};
use nexin_bpf::Map;
use nexin_reconcile::{Plan, diff};
use zerocopy::{FromZeros, IntoBytes};

use crate::error::Result;

/// A map that only we write. `known` is what it holds as far as we know: read once when it is opened, then kept with every
/// write, compared with the kernel by [`Mirror::repair`].
///
/// Entries of an array cannot be removed: removing writes zeros, and zeros count as absent.
pub(crate) struct Mirror<M: KernelMap>
where
    M::Key: Eq + Hash,
{
    map: Map<M>,
    known: HashMap<M::Key, M::Value>,
    /// Entries that found no room.
    refused: usize,
}

impl<M: KernelMap> Mirror<M>
where
    M::Key: Eq + Hash,
    M::Value: PartialEq,
{
    pub(crate) fn open(map: Map<M>) -> Result<Self> {
        let known = read(&map)?;
        Ok(Self { map, known, refused: 0 })
    }

    pub(crate) fn known(&self) -> &HashMap<M::Key, M::Value> {
        &self.known
    }

    pub(crate) fn get(&self, key: &M::Key) -> Option<&M::Value> {
        self.known.get(key)
    }

    /// Writes `value` unless it is there. Returns whether it wrote.
    pub(crate) fn set(&mut self, key: M::Key, value: M::Value) -> Result<bool> {
        if self.known.get(&key) == Some(&value) {
            return Ok(false);
        }
        self.map.set(&key, &value)?;
        self.known.insert(key, value);
        Ok(true)
    }

    /// What is to be done so that the map holds exactly `wanted`, which has each key once.
    pub(crate) fn plan(&self, wanted: impl IntoIterator<Item = (M::Key, M::Value)> + Clone) -> Plan<M::Key, M::Value> {
        diff(wanted, &self.known)
    }

    /// Carries `plan` out, removals first: they make room. What finds no room is counted in [`Self::take_refused`], and
    /// the rest goes on. Returns how many entries changed.
    pub(crate) fn carry_out(&mut self, plan: Plan<M::Key, M::Value>) -> Result<usize> {
        let Plan { insert: mut writes, update, remove, .. } = plan;
        self.erase(&remove)?;
        for key in &remove {
            self.known.remove(key);
        }
        writes.extend(update);
        Ok(remove.len() + self.write(&writes)?)
    }

    fn write(&mut self, writes: &[(M::Key, M::Value)]) -> Result<usize> {
        match self.map.set_many(writes) {
            Ok(()) => {
                self.known.extend(writes.iter().copied());
                Ok(writes.len())
            }
            // One by one, to fill the map to the brim and to know what is in.
            Err(nexin_bpf::Error::Full { .. }) => {
                let mut written = 0;
                for (key, value) in writes {
                    match self.map.set(key, value) {
                        Ok(()) => {
                            self.known.insert(*key, *value);
                            written += 1;
                        }
                        Err(nexin_bpf::Error::Full { .. }) => self.refused += 1,
                        Err(e) => return Err(e.into()),
                    }
                }
                Ok(written)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn erase(&self, keys: &[M::Key]) -> Result<()> {
        if matches!(M::KIND, MapKind::Array) {
            let zeros: Vec<(M::Key, M::Value)> = keys.iter().map(|key| (*key, M::Value::new_zeroed())).collect();
            self.map.set_many(&zeros)?;
        } else {
            self.map.remove_many(keys)?;
        }
        Ok(())
    }

    /// Entries that found no room since [`Self::take_refused`].
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Entries that found no room since this was last asked.
    pub(crate) fn take_refused(&mut self) -> usize {
        std::mem::take(&mut self.refused)
    }

    /// Makes the kernel's map what it should be. Returns how many entries were missing, changed or foreign.
    pub(crate) fn repair(&mut self) -> Result<usize> {
        let Plan { mut insert, update, remove, .. } =
            diff(self.known.iter().map(|(key, value)| (*key, *value)), &read(&self.map)?);
        insert.extend(update);
        self.erase(&remove)?;
        self.map.set_many(&insert)?;
        Ok(insert.len() + remove.len())
    }

    /// Name, entries in use, entries there is room for.
    pub(crate) fn pressure(&self) -> (&'static str, u32, u32) {
        (M::NAME, self.known.len() as u32, self.map.raw().max_entries())
    }
}

fn read<M: KernelMap>(map: &Map<M>) -> Result<HashMap<M::Key, M::Value>>
where
    M::Key: Eq + Hash,
{
    let mut found = HashMap::new();
    let array = matches!(M::KIND, MapKind::Array);
    map.visit(|keys, values| {
        for (key, value) in keys.iter().zip(values) {
            if !array || value.as_bytes().iter().any(|byte| *byte != 0) {
                found.insert(*key, *value);
            }
        }
    })?;
    Ok(found)
}
