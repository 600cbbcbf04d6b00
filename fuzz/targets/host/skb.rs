//! A packet for the kernel's parser when it is compiled for the host: the same questions, answered from a slice.

use zerocopy::FromBytes;

#[derive(Clone, Copy)]
pub(crate) struct Skb<'a> {
    packet: &'a [u8],
    /// Bytes that need no helper to be read.
    linear: usize,
}

impl<'a> Skb<'a> {
    pub(crate) fn new(packet: &'a [u8], linear: usize) -> Self {
        Self { packet, linear: linear.min(packet.len()) }
    }

    pub(crate) fn len(self) -> u32 {
        self.packet.len() as u32
    }

    pub(crate) fn view<const LEN: usize>(self, offset: usize) -> Option<View<'a>> {
        let linear = self.packet.get(..self.linear)?;
        Some(View(linear.get(offset..)?.get(..LEN)?))
    }

    pub(crate) fn load<T: FromBytes>(self, offset: usize) -> Option<T> {
        T::read_from_bytes(self.packet.get(offset..)?.get(..size_of::<T>())?).ok()
    }
}

/// Reading past what was asked for is a mistake of the parser, and a panic here.
#[derive(Clone, Copy)]
pub(crate) struct View<'a>(&'a [u8]);

macro_rules! words {
    ($($get:ident: $word:ty,)*) => {
        impl View<'_> {
            $(
                pub(crate) fn $get<const OFFSET: usize>(self) -> $word {
                    let bytes = &self.0[OFFSET..OFFSET + size_of::<$word>()];
                    <$word>::read_from_bytes(bytes).expect("as many bytes as the word has")
                }
            )*
        }
    };
}

words! { u8: u8, u16: u16, u32: u32, u64: u64, }
