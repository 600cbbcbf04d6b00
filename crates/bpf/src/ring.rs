//! Reading a ring buffer. The kernel never waits for the reader: what finds no room is counted and lost.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Map as AyaMap, MapData, RingBuf};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::{Error, Result};
use crate::map::RawMap;

/// A ring buffer with its one reader. The descriptor is readable when records are waiting (epoll, `AsyncFd`).
pub struct Ring {
    ring: RingBuf<MapData>,
    name: String,
}

impl Ring {
    /// A reader of `map`. The position is kept in the kernel, so a new reader goes on where the last one stopped.
    pub fn new(map: &RawMap) -> Result<Self> {
        let fail = |source: std::io::Error| Error::Map { map: map.name().to_owned(), call: "ring buffer", source };
        let fd = map.as_fd().try_clone_to_owned().map_err(fail)?;
        let data = MapData::from_fd(fd).map_err(|e| fail(std::io::Error::other(e)))?;
        let ring = RingBuf::try_from(AyaMap::RingBuf(data)).map_err(|e| fail(std::io::Error::other(e)))?;
        Ok(Self { ring, name: map.name().to_owned() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands at most `limit` waiting records to `each`. Returns how many there were, and how many of them were shorter than
    /// a `T` and left out. Longer ones are cut: a newer kernel program may have appended fields.
    pub fn drain<T>(&mut self, limit: usize, mut each: impl FnMut(T)) -> Drained
    where
        T: FromBytes + Immutable + KnownLayout,
    {
        let mut malformed = 0;
        let records = self.drain_bytes(limit, |record| match T::read_from_prefix(record) {
            Ok((value, _)) => each(value),
            Err(_) => malformed += 1,
        });
        Drained { records, malformed }
    }

    /// As [`Self::drain`], for records of any length.
    pub fn drain_bytes(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        while records < limit {
            let Some(record) = self.ring.next() else { break };
            records += 1;
            each(&record);
        }
        records
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// What [`Ring::drain`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    pub records: usize,
    pub malformed: usize,
}
