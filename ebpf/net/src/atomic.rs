//! Atomic changes of map values. Rust has no atomic types for BPF targets, hence the instructions themselves.

/// Adds to a counter that other CPUs add to as well.
///
/// # Safety
/// `counter` points to an aligned `u64` of a live map value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller vouches for the pointer; the instruction touches nothing else.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) value, options(nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        counter.write(counter.read().wrapping_add(value));
    }
}

/// Clears the bits that are not in `mask` and returns the value before.
///
/// # Safety
/// `word` points to an aligned `u64` of a live map value.
#[inline(always)]
pub unsafe fn fetch_and(word: *mut u64, mask: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = mask;
        // SAFETY: the caller vouches for the pointer; the instruction touches nothing else.
        unsafe {
            core::arch::asm!(
                "{1} = atomic_fetch_and((u64 *)({0} + 0), {1})",
                in(reg) word, inout(reg) value, options(nostack)
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        let before = word.read();
        word.write(before & mask);
        before
    }
}
