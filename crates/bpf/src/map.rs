//! Typed kernel maps: `Map<M>` for a declaration `M` of `nexin_abi::maps`.
//!
//! Values cross as the bytes zerocopy vouches for, so no type here needs `unsafe`. Nothing here knows what a map is
//! for, and nothing is cached: every call is a system call (many entries at once where the kernel has batches).

use std::ffi::CString;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nexin_abi::maps::{KernelMap, MapKind, MapSpec};
use zerocopy::{FromZeros, IntoBytes};

use crate::error::{Error, Result};
use crate::sys;

/// Entries a batch call moves at once.
const BATCH: u32 = 4096;
/// `ENOTSUPP`, kernel-internal but returned by `bpf(2)` for map types without batches.
const ENOTSUPP: i32 = 524;

/// A map of the kernel with its name and numbers.
#[derive(Debug)]
pub struct RawMap {
    fd: OwnedFd,
    name: String,
    info: sys::MapInfo,
}

impl RawMap {
    /// Makes a new map after `spec` with room for `entries`.
    pub fn create(spec: &MapSpec, entries: u32) -> Result<Self> {
        let shape = sys::MapShape {
            kind: kernel_type(spec.kind),
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: entries,
            flags: spec.flags,
        };
        let fd = sys::map_create(spec.name, shape).map_err(|source| map_error(spec.name, "create", source))?;
        Self::from_fd(fd, spec.name)
    }

    /// Opens a pinned map.
    pub fn open_pin(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let fd = sys::open_pin(&c_path(path)?).map_err(|source| Error::Pin { path: path.into(), source })?;
        Self::from_fd(fd, &name)
    }

    pub(crate) fn from_fd(fd: OwnedFd, name: &str) -> Result<Self> {
        let info = sys::map_info(fd.as_fd()).map_err(|source| map_error(name, "info", source))?;
        Ok(Self { fd, name: name.to_owned(), info })
    }

    /// Another handle of the same kernel map.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|source| map_error(&self.name, "dup", source))?;
        Ok(Self { fd, name: self.name.clone(), info: self.info })
    }

    pub fn pin(&self, path: &Path) -> Result<()> {
        sys::pin(self.fd.as_fd(), &c_path(path)?).map_err(|source| Error::Pin { path: path.into(), source })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kernel id.
    pub fn id(&self) -> u32 {
        self.info.id
    }

    pub fn max_entries(&self) -> u32 {
        self.info.max_entries
    }

    /// Checks that this map is what `spec` describes, apart from the number of entries. `pin` is for the message.
    pub fn check(&self, spec: &MapSpec, pin: &Path) -> Result<()> {
        let pairs = [
            ("type", self.info.kind, kernel_type(spec.kind)),
            ("key size", self.info.key_size, spec.key_size),
            ("value size", self.info.value_size, spec.value_size),
            ("flags", self.info.flags, spec.flags),
        ];
        match pairs.into_iter().find(|(_, found, wanted)| found != wanted) {
            None => Ok(()),
            Some((what, found, wanted)) => Err(Error::Layout { pin: pin.into(), what, found, wanted }),
        }
    }

    /// Kernel memory of the map in bytes, as its fdinfo says (since 6.4 the memory in use, before that an estimate).
    pub fn memory(&self) -> Result<u64> {
        use std::os::fd::AsRawFd;
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))
            .map_err(|source| map_error(&self.name, "fdinfo", source))?;
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        Ok(line.and_then(|value| value.trim().parse().ok()).unwrap_or(0))
    }

    fn fail(&self, call: &'static str, source: io::Error) -> Error {
        match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOSPC) if call == "update" => {
                Error::Full { map: self.name.clone(), entries: self.info.max_entries }
            }
            _ => map_error(&self.name, call, source),
        }
    }
}

impl AsFd for RawMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A kernel map with the types of its declaration.
#[derive(Debug)]
pub struct Map<M: KernelMap> {
    raw: RawMap,
    declared: PhantomData<fn() -> M>,
}

impl<M: KernelMap> Map<M> {
    /// Gives `raw` its types, after checking that they fit.
    pub fn new(raw: RawMap) -> Result<Self> {
        raw.check(&MapSpec::of::<M>(), Path::new(M::NAME))?;
        Ok(Self { raw, declared: PhantomData })
    }

    pub fn raw(&self) -> &RawMap {
        &self.raw
    }

    /// The value at `key`; for per-CPU maps use [`Self::per_cpu`].
    pub fn get(&self, key: &M::Key) -> Result<Option<M::Value>> {
        let mut value = M::Value::new_zeroed();
        match sys::map_lookup(self.raw.as_fd(), key.as_bytes(), value.as_mut_bytes()) {
            Ok(()) => Ok(Some(value)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(self.raw.fail("lookup", e)),
        }
    }

    /// Inserts or overwrites.
    pub fn set(&self, key: &M::Key, value: &M::Value) -> Result<()> {
        sys::map_update(self.raw.as_fd(), key.as_bytes(), value.as_bytes(), 0).map_err(|e| self.raw.fail("update", e))
    }

    /// Removes; `false` if there was nothing.
    pub fn remove(&self, key: &M::Key) -> Result<bool> {
        match sys::map_delete(self.raw.as_fd(), key.as_bytes()) {
            Ok(()) => Ok(true),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(e) => Err(self.raw.fail("delete", e)),
        }
    }

    /// All entries at one moment each (the map may change while it is read).
    pub fn entries(&self) -> Result<Vec<(M::Key, M::Value)>> {
        let mut all = Vec::new();
        self.visit(|keys, values| all.extend(keys.iter().copied().zip(values.iter().copied())))?;
        Ok(all)
    }

    /// Reads the map piece by piece. An entry that changes meanwhile may be seen twice or not at all.
    pub fn visit(&self, mut piece: impl FnMut(&[M::Key], &[M::Value])) -> Result<()> {
        let mut cursor = Cursor::default();
        while !self.visit_more(&mut cursor, &mut piece)? {}
        Ok(())
    }

    /// Reads the next piece, from where `cursor` stands. `true` at the end, where the cursor is at the beginning again.
    pub fn visit_more(&self, cursor: &mut Cursor, mut piece: impl FnMut(&[M::Key], &[M::Value])) -> Result<bool> {
        cursor.position.resize(size_of::<M::Key>().max(4), 0);
        // At the end of a hash, up to a bucket's worth more may come than fits: then the kernel says ENOSPC.
        let mut room = BATCH.min(self.raw.max_entries().max(16));
        loop {
            let mut keys = vec![M::Key::new_zeroed(); room as usize];
            let mut values = vec![M::Value::new_zeroed(); room as usize];
            let position = &mut cursor.position;
            let batch = sys::map_lookup_batch(
                self.raw.as_fd(),
                !cursor.started,
                position,
                keys.as_mut_bytes(),
                values.as_mut_bytes(),
                room,
            );
            match batch {
                Ok((count, end)) => {
                    let count = (count as usize).min(keys.len());
                    cursor.started = !end;
                    piece(&keys[..count], &values[..count]);
                    return Ok(end);
                }
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => room *= 2,
                Err(e) if !cursor.started && no_batches(&e) => return self.visit_singly(piece).map(|()| true),
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => return Err(self.raw.fail("batch lookup", e)),
            }
        }
    }

    fn visit_singly(&self, mut piece: impl FnMut(&[M::Key], &[M::Value])) -> Result<()> {
        let mut previous: Option<M::Key> = None;
        loop {
            let mut next = M::Key::new_zeroed();
            let more =
                sys::map_next_key(self.raw.as_fd(), previous.as_ref().map(|k| k.as_bytes()), next.as_mut_bytes())
                    .map_err(|e| self.raw.fail("next key", e))?;
            if !more {
                return Ok(());
            }
            if let Some(value) = self.get(&next)? {
                piece(&[next], &[value]);
            }
            previous = Some(next);
        }
    }

    /// Inserts or overwrites all of `entries`, in order. On error the first entries may be in.
    pub fn set_many(&self, entries: &[(M::Key, M::Value)]) -> Result<()> {
        for part in entries.chunks(BATCH as usize) {
            if let [(key, value)] = part {
                self.set(key, value)?;
                continue;
            }
            let keys: Vec<M::Key> = part.iter().map(|e| e.0).collect();
            let values: Vec<M::Value> = part.iter().map(|e| e.1).collect();
            let count = part.len() as u32;
            match sys::map_update_batch(self.raw.as_fd(), keys.as_bytes(), values.as_bytes(), count) {
                Ok(()) => {}
                Err((_, e)) if no_batches(&e) => {
                    for (key, value) in part {
                        self.set(key, value)?;
                    }
                }
                Err((_, e)) => return Err(self.raw.fail("update", e)),
            }
        }
        Ok(())
    }

    /// Removes all of `keys`, missing ones included in silence. Returns how many there were.
    pub fn remove_many(&self, keys: &[M::Key]) -> Result<usize> {
        let mut removed = 0;
        let mut rest = keys;
        while !rest.is_empty() {
            let count = rest.len().min(BATCH as usize);
            match sys::map_delete_batch(self.raw.as_fd(), rest[..count].as_bytes(), count as u32) {
                Ok(()) => {
                    removed += count;
                    rest = &rest[count..];
                }
                // The batch stops at a key that is not there any more: step over it.
                Err((done, e)) if e.raw_os_error() == Some(libc::ENOENT) => {
                    removed += done as usize;
                    rest = &rest[(done as usize + 1).min(rest.len())..];
                }
                Err((_, e)) if no_batches(&e) => {
                    for key in rest {
                        removed += usize::from(self.remove(key)?);
                    }
                    return Ok(removed);
                }
                Err((_, e)) => return Err(self.raw.fail("batch delete", e)),
            }
        }
        Ok(removed)
    }

    /// Values of all possible CPUs at `key` of a per-CPU map.
    pub fn per_cpu(&self, key: &M::Key) -> Result<Vec<M::Value>> {
        // The kernel lays values of a per-CPU map out on 8-byte boundaries; all of ours are multiples of 8.
        const { assert!(size_of::<M::Value>().is_multiple_of(8)) };
        let mut values = vec![M::Value::new_zeroed(); possible_cpus()?];
        sys::map_lookup(self.raw.as_fd(), key.as_bytes(), values.as_mut_bytes())
            .map_err(|e| self.raw.fail("lookup", e))?;
        Ok(values)
    }
}

impl<M: KernelMap> AsFd for Map<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

/// Where a visit of a map stands.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    position: Vec<u8>,
    started: bool,
}

/// How many CPUs the kernel may ever have: the values a per-CPU entry has.
pub fn possible_cpus() -> Result<usize> {
    let call = "reading /sys/devices/system/cpu/possible";
    let text =
        std::fs::read_to_string("/sys/devices/system/cpu/possible").map_err(|source| Error::Call { call, source })?;
    cpu_count(text.trim())
        .ok_or_else(|| Error::Call { call, source: io::Error::new(io::ErrorKind::InvalidData, text.trim().to_owned()) })
}

/// Number of CPUs in a list such as `0-3,8`.
fn cpu_count(list: &str) -> Option<usize> {
    list.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            Some((last + 1).saturating_sub(first))
        })
        .sum()
}

pub(crate) fn kernel_type(kind: MapKind) -> u32 {
    match kind {
        MapKind::Hash => 1,
        MapKind::Array => 2,
        MapKind::PerCpuArray => 6,
        MapKind::LruHash => 9,
        MapKind::LpmTrie => 11,
        MapKind::RingBuf => 27,
    }
}

fn no_batches(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
}

fn map_error(map: &str, call: &'static str, source: io::Error) -> Error {
    Error::Map { map: map.to_owned(), call, source }
}

pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|e| Error::Pin { path: path.into(), source: e.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_counted() {
        assert_eq!(cpu_count("0"), Some(1));
        assert_eq!(cpu_count("0-3,8,10-11"), Some(7));
        assert_eq!(cpu_count("x"), None);
    }
}
