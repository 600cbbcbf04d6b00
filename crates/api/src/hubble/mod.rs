//! Hubble's gRPC services.

/// Generated servers and clients of `observer.Observer` and `peer.Peer`.
#[allow(clippy::all, unreachable_pub, rust_2018_idioms)]
pub mod service {
    pub mod observer {
        tonic::include_proto!("observer");
    }
    pub mod peer {
        tonic::include_proto!("peer");
    }
}
