//! Hashing that is fast (for maps) or stable (for content addresses); neither resists attackers, and nothing an
//! attacker controls is looked up here.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// Multiply-and-rotate over eight bytes a step.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FastHasher(u64);

impl FastHasher {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(Self::SEED);
    }
}

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.mix(u64::from_le_bytes(std::array::from_fn(|index| chunk[index])));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0_u8; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        // The upper bits are the best mixed; hash maps use the upper seven and the lower ones.
        self.0 ^ (self.0 >> 32)
    }
}

/// FNV-1a, 128 bits: the same value for the same content in every run of a build (another build may differ; then
/// policies are loaded anew).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContentHasher(u128);

impl ContentHasher {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;

    pub(crate) fn of(content: &(impl Hash + ?Sized)) -> u128 {
        let mut hasher = Self(Self::OFFSET);
        content.hash(&mut hasher);
        hasher.0
    }
}

impl Hasher for ContentHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }

    fn finish(&self) -> u64 {
        (self.0 >> 64) as u64 ^ self.0 as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_address_is_the_published_hash() {
        let mut hasher = ContentHasher(ContentHasher::OFFSET);
        hasher.write(b"a");
        // Test vector of the FNV reference page.
        assert_eq!(hasher.0, 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_ne!(ContentHasher::of("a"), ContentHasher::of("b"));
    }
}
