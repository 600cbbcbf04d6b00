//! The kernel object that `build.rs` compiled, embedded in this crate.

/// The ELF file with all network programs (`ebpf/net`), aligned as its parser wants it.
pub fn object() -> &'static [u8] {
    static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/nexin-net"));
    OBJECT
}
