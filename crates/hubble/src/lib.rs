//! Hubble's wire words: its protobuf messages and their JSON, as other people's clients and servers speak them.
//! Nothing here knows what a message means.

pub mod gotext;
pub mod json;
pub mod reflect;

// Names, deprecations and sizes are the wire format's own.
#[allow(clippy::all, deprecated, unreachable_pub, rust_2018_idioms)]
pub mod flow {
    include!(concat!(env!("OUT_DIR"), "/flow.rs"));
}
#[allow(clippy::all, deprecated, unreachable_pub, rust_2018_idioms)]
pub mod observer {
    include!(concat!(env!("OUT_DIR"), "/observer.rs"));
}
#[allow(clippy::all, unreachable_pub, rust_2018_idioms)]
pub mod peer {
    include!(concat!(env!("OUT_DIR"), "/peer.rs"));
}
#[allow(clippy::all, unreachable_pub, rust_2018_idioms)]
pub mod relay {
    include!(concat!(env!("OUT_DIR"), "/relay.rs"));
}

/// The encoded `FileDescriptorSet` of all of the above, with imports: for server reflection and generic JSON.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
