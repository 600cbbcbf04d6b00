//! TLS from PEM files. Files are looked at before every handshake, so a rotated certificate or authority is used by the next
//! connection without a restart; a rotation that cannot be used is told in the log, and the last good state stays.

mod client;
mod pem;
mod reload;
mod server;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use client::{ClientTls, Trust};
pub use server::ServerTls;

/// What will be spoken inside: offered by ALPN, without which Go's gRPC refuses to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 over TLS 1.3 and nothing older, as Hubble demands of its servers.
    Grpc,
    /// HTTP/1.1 over TLS 1.2 or 1.3.
    Http1,
}

const TLS13_ONLY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl Protocol {
    fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Grpc => vec![b"h2".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }

    fn versions(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        match self {
            Self::Grpc => TLS13_ONLY,
            Self::Http1 => rustls::ALL_VERSIONS,
        }
    }
}

/// Why TLS cannot be had from these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not PEM: {reason}", path.display())]
    Syntax { path: PathBuf, reason: rustls::pki_types::pem::Error },
    #[error("{} holds no certificate (a block that begins with BEGIN CERTIFICATE)", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key (a block that begins with BEGIN PRIVATE KEY)", .0.display())]
    NoKey(PathBuf),
    #[error("certificate {} and key {} cannot be used together: {source}", certificate.display(), key.display())]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("authority {} cannot be used: {source}", path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("client certificates cannot be checked: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
    #[error("{0:?} is no name that a certificate could carry")]
    ServerName(String),
    #[error("this system has no file of trusted authorities; name one")]
    NoSystemTrust,
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
