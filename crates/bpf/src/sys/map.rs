//! Commands on maps.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Command, address, address_mut, call, owned, raw};

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

/// Kernel-side numbers a map is created with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapShape {
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

pub(crate) fn map_create(name: &str, shape: MapShape) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        kind: shape.kind,
        key_size: shape.key_size,
        value_size: shape.value_size,
        max_entries: shape.max_entries,
        flags: shape.flags,
        ..MapCreate::default()
    };
    let length = name.len().min(15);
    attr.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: no addresses in this block.
    unsafe { call(Command::MapCreate, &mut attr) }.map(owned)
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `value` must have the size that the kernel writes for this map (per-CPU maps: one value a possible CPU).
pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let mut attr = Element { map_fd: raw(map), key: address(key), value: address_mut(value), ..Element::default() };
    // SAFETY: key and value are live; `RawMap` made both as long as the map's key and value sizes.
    unsafe { call(Command::MapLookup, &mut attr) }.map(drop)
}

pub(crate) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    let mut attr = Element { map_fd: raw(map), pad: 0, key: address(key), value: address(value), flags };
    // SAFETY: as in `map_lookup`; the kernel only reads both.
    unsafe { call(Command::MapUpdate, &mut attr) }.map(drop)
}

pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attr = Element { map_fd: raw(map), key: address(key), ..Element::default() };
    // SAFETY: the key is live and of the map's key size.
    unsafe { call(Command::MapDelete, &mut attr) }.map(drop)
}

/// The key after `previous` (the first for `None`); `false` when there is none.
pub(crate) fn map_next_key(map: BorrowedFd<'_>, previous: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attr =
        Element { map_fd: raw(map), key: previous.map_or(0, address), value: address_mut(next), ..Element::default() };
    // SAFETY: both buffers are live and of the map's key size; a null key is allowed.
    match unsafe { call(Command::MapNextKey, &mut attr) } {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

#[repr(C)]
#[derive(Default, FromBytes, IntoBytes, Immutable)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads up to `count` entries from `cursor` on. Returns how many came and whether the map is exhausted. Buffers must
/// hold `count` keys and values; the cursor must be as long as a key and at least 4 bytes.
pub(crate) fn map_lookup_batch(
    map: BorrowedFd<'_>,
    first: bool,
    cursor: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let cursor = address_mut(cursor);
    let mut attr = Batch {
        in_batch: if first { 0 } else { cursor },
        out_batch: cursor,
        keys: address_mut(keys),
        values: address_mut(values),
        count,
        map_fd: raw(map),
        ..Batch::default()
    };
    // SAFETY: all buffers are live, exclusively borrowed and sized for `count` entries by `RawMap`. The kernel reads
    // the cursor before it writes it, so that one buffer may serve as both.
    match unsafe { call(Command::MapLookupBatch, &mut attr) } {
        Ok(_) => Ok((attr.count, false)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count, true)),
        Err(e) => Err(e),
    }
}

/// Writes `count` entries; on error, how many went in before it.
pub(crate) fn map_update_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    count: u32,
) -> Result<(), (u32, io::Error)> {
    let mut attr = Batch { keys: address(keys), values: address(values), count, map_fd: raw(map), ..Batch::default() };
    // SAFETY: both buffers are live and hold `count` entries; the kernel only reads them.
    unsafe { call(Command::MapUpdateBatch, &mut attr) }.map(drop).map_err(|e| (attr.count.min(count), e))
}

/// Deletes `count` keys; on error (also: one is missing) how many were deleted before it.
pub(crate) fn map_delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> Result<(), (u32, io::Error)> {
    let mut attr = Batch { keys: address(keys), count, map_fd: raw(map), ..Batch::default() };
    // SAFETY: the keys are live and `count` of them.
    unsafe { call(Command::MapDeleteBatch, &mut attr) }.map(drop).map_err(|e| (attr.count.min(count), e))
}
