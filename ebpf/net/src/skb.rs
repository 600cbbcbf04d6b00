//! The packet buffer: every helper call and every pointer into a packet is made here.

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers as bpf;
use zerocopy::{FromBytes, IntoBytes, Unaligned};

/// What a classifier returns.
pub mod act {
    pub const OK: i32 = 0;
    pub const DROP: i32 = 2;
}

/// A packet buffer. Copies are the same packet; pointers from [`Skb::at`] die with every helper that changes the packet.
#[derive(Clone, Copy)]
pub struct Skb(*mut __sk_buff);

macro_rules! field {
    ($($(#[$doc:meta])* $name:ident = $field:ident;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $name(self) -> u32 {
                // SAFETY: the kernel hands over a valid context.
                unsafe { (*self.0).$field }
            }
        )*
    };
}

impl Skb {
    pub fn new(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    field! {
        /// Bytes from the Ethernet header on.
        len = len;
        ifindex = ifindex;
        /// EtherType in network order, as the kernel understood it.
        ethertype = protocol;
        /// Payload bytes of each segment, 0 for a packet that will not be segmented.
        segment = gso_size;
    }

    #[inline(always)]
    pub fn data(self) -> usize {
        // SAFETY: the kernel hands over a valid context.
        unsafe { (*self.0).data as usize }
    }

    #[inline(always)]
    pub fn end(self) -> usize {
        // SAFETY: the kernel hands over a valid context.
        unsafe { (*self.0).data_end as usize }
    }

    /// A view of `T` at `offset`, `None` if it is not wholly in the linear part.
    #[inline(always)]
    pub fn at<T: FromBytes + IntoBytes + Unaligned>(self, offset: usize) -> Option<&'static mut T> {
        let start = self.data() + offset;
        if start + size_of::<T>() > self.end() {
            return None;
        }
        // SAFETY: bounds were checked just now, T has alignment 1 and no invalid bit patterns, and packets are writable.
        Some(unsafe { &mut *(start as *mut T) })
    }

    /// The `LEN` bytes from `offset` on, `None` if they are not all in the linear part.
    #[inline(always)]
    pub fn view<const LEN: usize>(self, offset: usize) -> Option<View> {
        let start = self.data() + offset;
        if start + LEN > self.end() { None } else { Some(View(start as *mut u8)) }
    }

    /// Makes `bytes` from the front linear. Pointers die.
    #[inline(always)]
    pub fn pull(self, bytes: u32) -> bool {
        // SAFETY: valid context.
        unsafe { bpf::bpf_skb_pull_data(self.0, bytes) == 0 }
    }

    /// Overwrites bytes of the packet without touching any checksum. Pointers die.
    #[inline(always)]
    pub fn store<T: IntoBytes>(self, offset: usize, value: &T) -> bool {
        self.store_with(offset, value, 0)
    }

    /// As [`Skb::store`], keeping the checksum that the device computed over the packet right.
    #[inline(always)]
    pub fn store_summed<T: IntoBytes>(self, offset: usize, value: &T) -> bool {
        const BPF_F_RECOMPUTE_CSUM: u64 = 1;
        self.store_with(offset, value, BPF_F_RECOMPUTE_CSUM)
    }

    #[inline(always)]
    fn store_with<T: IntoBytes>(self, offset: usize, value: &T, flags: u64) -> bool {
        // SAFETY: valid context, and `value` is initialised for its whole size.
        unsafe {
            let from = core::ptr::from_ref(value).cast::<c_void>();
            bpf::bpf_skb_store_bytes(self.0, offset as u32, from, size_of::<T>() as u32, flags) == 0
        }
    }

    /// Copies bytes of the packet, wherever they are.
    #[inline(always)]
    pub fn load<T: FromBytes>(self, offset: usize) -> Option<T> {
        let mut value = core::mem::MaybeUninit::<T>::uninit();
        // SAFETY: valid context; the helper fills the whole value when it returns 0, and callers load plain bytes only.
        unsafe {
            let to = value.as_mut_ptr().cast::<c_void>();
            let ok = bpf::bpf_skb_load_bytes(self.0.cast(), offset as u32, to, size_of::<T>() as u32) == 0;
            if ok { Some(value.assume_init()) } else { None }
        }
    }

    /// Corrects an IPv4 header checksum for a changed word. Pointers die.
    #[inline(always)]
    pub fn replace_l3(self, offset: usize, old: u32, new: u32) -> bool {
        // SAFETY: valid context.
        unsafe { bpf::bpf_l3_csum_replace(self.0, offset as u32, old.into(), new.into(), 4) == 0 }
    }

    /// Corrects a transport checksum for a changed word of the size in the flags' low bits (0: `new` is a difference).
    /// Knows of checksums that a device will complete or has computed. Pointers die.
    #[inline(always)]
    pub fn replace_l4(self, offset: usize, old: u64, new: u64, flags: u64) -> bool {
        // SAFETY: valid context.
        unsafe { bpf::bpf_l4_csum_replace(self.0, offset as u32, old, new, flags) == 0 }
    }

    /// Difference of two values for [`Skb::replace_l4`].
    #[inline(always)]
    pub fn difference<T>(self, old: &T, new: &T) -> u64 {
        let size = size_of::<T>() as u32;
        let (old, new) = (core::ptr::from_ref(old).cast_mut().cast(), core::ptr::from_ref(new).cast_mut().cast());
        // SAFETY: both are initialised for `size` bytes, a multiple of four, and only read.
        unsafe { bpf::bpf_csum_diff(old, size, new, size, 0) as u64 }
    }

    /// One's complement sum of `LEN` bytes of the packet (a multiple of 4, at most 512), added to `seed`; `None` if they are
    /// not all in the linear part.
    #[inline(always)]
    pub fn sum<const LEN: usize>(self, offset: usize, seed: u32) -> Option<u32> {
        const { assert!(LEN.is_multiple_of(4) && LEN <= 512) };
        let view = self.view::<LEN>(offset)?;
        // SAFETY: the bytes were checked just now and are only read.
        Some(unsafe { bpf::bpf_csum_diff(core::ptr::null_mut(), 0, view.0.cast(), LEN as u32, seed) as u32 })
    }

    /// The stack would hand a packet with this tuple (as in `struct bpf_sock_tuple`) to a socket of its own.
    #[inline(always)]
    pub fn has_socket<const WORDS: usize>(self, tuple: &[u32; WORDS], tcp: bool) -> bool {
        const CURRENT_NAMESPACE: u64 = -1_i32 as u32 as u64;
        let (tuple, size) = (core::ptr::from_ref(tuple).cast_mut().cast(), (WORDS * 4) as u32);
        // SAFETY: valid context, the tuple is initialised and of one of the two sizes, and the socket is released.
        unsafe {
            let socket = if tcp {
                bpf::bpf_skc_lookup_tcp(self.0.cast(), tuple, size, CURRENT_NAMESPACE, 0)
            } else {
                bpf::bpf_sk_lookup_udp(self.0.cast(), tuple, size, CURRENT_NAMESPACE, 0)
            };
            if socket.is_null() {
                return false;
            }
            bpf::bpf_sk_release(socket.cast());
            true
        }
    }

    /// Cuts the packet to `len` bytes. Pointers die.
    #[inline(always)]
    pub fn cut(self, len: u32) -> bool {
        // SAFETY: valid context.
        unsafe { bpf::bpf_skb_change_tail(self.0, len, 0) == 0 }
    }

    /// Makes room for `len` bytes before the packet. Pointers die.
    #[inline(always)]
    pub fn push(self, len: u32) -> bool {
        // SAFETY: valid context.
        unsafe { bpf::bpf_skb_change_head(self.0, len, 0) == 0 }
    }

    #[inline(always)]
    pub fn context(self) -> *mut __sk_buff {
        self.0
    }

    /// Hands the packet to the other side of the veth pair whose host side is `ifindex`, past its queue and the host's stack.
    #[inline(always)]
    pub fn to_peer(self, ifindex: u32) -> i32 {
        // SAFETY: no pointer is passed.
        unsafe { bpf::bpf_redirect_peer(ifindex, 0) as i32 }
    }

    /// Sends the packet out of a device.
    #[inline(always)]
    pub fn to_device(self, ifindex: u32) -> i32 {
        // SAFETY: no pointer is passed.
        unsafe { bpf::bpf_redirect(ifindex, 0) as i32 }
    }
}

/// Flags of [`Skb::replace_l4`].
pub mod sum {
    /// The value is in the pseudo header.
    pub const PSEUDO: u64 = 1 << 4;
    /// A checksum of zero means "none" and stays.
    pub const KEEP_ZERO: u64 = 1 << 5;
    /// The pseudo header is IPv6's (6.16 and stable kernels of that time).
    pub const SIX: u64 = 1 << 7;
}

/// A random number, not for secrets.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: no argument.
    unsafe { bpf::generated::bpf_get_prandom_u32() }
}

/// Timer ticks since some moment before boot, low 32 bits: costs one load, unlike the clocks.
#[inline(always)]
pub fn jiffies() -> u32 {
    // SAFETY: no argument.
    unsafe { bpf::generated::bpf_jiffies64() as u32 }
}

/// Checked bytes of a packet, for the hot path: whole-word loads and stores at any alignment. Compilers split those of
/// packed structs into bytes, since they cannot know that the kernel allows misaligned packet access (and only that: the
/// verifier refuses it on the stack, so telling the compiler is no way out).
#[derive(Clone, Copy)]
pub struct View(*mut u8);

macro_rules! words {
    ($($get:ident, $set:ident: $ty:ty, $name:literal;)*) => {
        impl View {
            $(
                /// The word at `OFFSET`, as it stands.
                #[inline(always)]
                pub fn $get<const OFFSET: usize>(self) -> $ty {
                    #[cfg(target_arch = "bpf")]
                    {
                        let value: u64;
                        // SAFETY: within the bytes that `Skb::view` checked, as the verifier proves.
                        unsafe {
                            core::arch::asm!(
                                concat!("{0} = *(", $name, " *)({1} + {2})"),
                                out(reg) value, in(reg) self.0, const OFFSET, options(nostack, readonly, preserves_flags)
                            );
                        }
                        value as $ty
                    }
                    #[cfg(not(target_arch = "bpf"))]
                    // SAFETY: within the bytes that `Skb::view` checked.
                    unsafe {
                        self.0.add(OFFSET).cast::<$ty>().read_unaligned()
                    }
                }

                /// Overwrites the word at `OFFSET`.
                #[inline(always)]
                pub fn $set<const OFFSET: usize>(self, value: $ty) {
                    #[cfg(target_arch = "bpf")]
                    // SAFETY: within the bytes that `Skb::view` checked, as the verifier proves.
                    unsafe {
                        core::arch::asm!(
                            concat!("*(", $name, " *)({0} + {1}) = {2}"),
                            in(reg) self.0, const OFFSET, in(reg) value as u64, options(nostack, preserves_flags)
                        );
                    }
                    #[cfg(not(target_arch = "bpf"))]
                    // SAFETY: within the bytes that `Skb::view` checked.
                    unsafe {
                        self.0.add(OFFSET).cast::<$ty>().write_unaligned(value);
                    }
                }
            )*
        }
    };
}

words! {
    u8, set_u8: u8, "u8";
    u16, set_u16: u16, "u16";
    u32, set_u32: u32, "u32";
    u64, set_u64: u64, "u64";
}
