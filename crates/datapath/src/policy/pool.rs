//! Array tables shared by content: equal entries have one index, however many policies use it.

use std::collections::HashMap;
use std::hash::Hash;

use nexin_abi::maps::KernelMap;
use nexin_bpf::Map;
use zerocopy::FromZeros;

use crate::error::{Error, Result};

/// One array table. Index 0 is always all-zero (default deny) and never handed out for anything else.
///
/// An index whose last reference went can be revived until [`Pool::sweep`].
pub(crate) struct Pool<M: KernelMap<Key = u32>>
where
    M::Value: Eq + Hash,
{
    map: Map<M>,
    by_content: HashMap<M::Value, u32>,
    slots: HashMap<u32, Slot<M::Value>>,
    free: Vec<u32>,
    /// Indices from here on were never used.
    next: u32,
    idle: Vec<u32>,
    unwritten: Vec<u32>,
}

struct Slot<V> {
    value: V,
    refs: u32,
}

/// What [`Pool::acquire`] did.
pub(crate) struct Acquired {
    pub(crate) index: u32,
    /// The content is new: the slot now owns the references to what it points to.
    pub(crate) new: bool,
}

impl<M: KernelMap<Key = u32>> Pool<M>
where
    M::Value: Eq + Hash,
{
    pub(crate) fn new(map: Map<M>) -> Self {
        let zero = M::Value::new_zeroed();
        Self {
            map,
            by_content: HashMap::from([(zero, 0)]),
            // One reference that is never given back.
            slots: HashMap::from([(0, Slot { value: zero, refs: 1 })]),
            free: Vec::new(),
            next: 1,
            idle: Vec::new(),
            unwritten: Vec::new(),
        }
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.map.raw().max_entries()
    }

    /// Entries in use, those that wait for the sweep included.
    pub(crate) fn used(&self) -> u32 {
        self.slots.len() as u32
    }

    /// One more reference to `value`'s index; a new one is written by [`Self::flush`].
    pub(crate) fn acquire(&mut self, value: M::Value) -> Result<Acquired> {
        if let Some(&index) = self.by_content.get(&value) {
            self.retain(index);
            return Ok(Acquired { index, new: false });
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.next < self.capacity() => {
                self.next += 1;
                self.next - 1
            }
            None => return Err(Error::TableFull { table: M::NAME, entries: self.capacity() }),
        };
        self.by_content.insert(value, index);
        self.slots.insert(index, Slot { value, refs: 1 });
        self.unwritten.push(index);
        Ok(Acquired { index, new: true })
    }

    /// Takes over what an earlier process left at `index`, with one reference. Returns the content when it is met first, so
    /// that what it points to is taken over too.
    pub(crate) fn adopt(&mut self, index: u32) -> Result<Option<M::Value>> {
        if self.slots.contains_key(&index) {
            self.retain(index);
            return Ok(None);
        }
        let value = if index < self.capacity() { self.map.get(&index)? } else { None };
        let Some(value) = value else { return Ok(None) };
        // Equal content at two indices: the first serves new users, the second only those that have it.
        self.by_content.entry(value).or_insert(index);
        self.slots.insert(index, Slot { value, refs: 1 });
        Ok(Some(value))
    }

    /// Ends adoption: gaps between adopted indices are free.
    pub(crate) fn finish_adoption(&mut self) {
        self.next = self.slots.keys().max().map_or(1, |max| max + 1);
        self.free = (1..self.next).filter(|index| !self.slots.contains_key(index)).collect();
    }

    pub(crate) fn retain(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(&index) {
            slot.refs += 1;
        }
    }

    pub(crate) fn release(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(&index) {
            slot.refs = slot.refs.saturating_sub(1);
            if slot.refs == 0 {
                self.idle.push(index);
            }
        }
    }

    /// Writes new entries. They must be in the kernel before anything that points to them.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let entries: Vec<(u32, M::Value)> =
            self.unwritten.iter().filter_map(|index| Some((*index, self.slots.get(index)?.value))).collect();
        self.map.set_many(&entries)?;
        self.unwritten.clear();
        Ok(())
    }

    /// Frees what nobody refers to and hands each freed content to `freed`, so that its own references can be given
    /// back. Only after the grace period. The kernel's copy stays until the index is used again.
    pub(crate) fn sweep(&mut self, mut freed: impl FnMut(M::Value)) {
        for index in std::mem::take(&mut self.idle) {
            // Revived since, or here twice.
            if self.slots.get(&index).is_none_or(|slot| slot.refs > 0) {
                continue;
            }
            if let Some(slot) = self.slots.remove(&index) {
                if self.by_content.get(&slot.value) == Some(&index) {
                    self.by_content.remove(&slot.value);
                }
                self.unwritten.retain(|&unwritten| unwritten != index);
                self.free.push(index);
                freed(slot.value);
            }
        }
    }

    /// Rewrites entries that the kernel does not have as they should be. Returns how many differed.
    pub(crate) fn repair(&self) -> Result<usize> {
        let mut wrong = Vec::new();
        for (index, slot) in &self.slots {
            if self.map.get(index)? != Some(slot.value) {
                wrong.push((*index, slot.value));
            }
        }
        self.map.set_many(&wrong)?;
        Ok(wrong.len())
    }
}
