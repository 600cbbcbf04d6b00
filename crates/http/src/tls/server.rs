//! The server's side: its certificate, and whose clients it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::reload::Reloading;
use super::{Protocol, TlsError, pem, provider};

/// A server's certificate and, for mutual TLS, the authorities of its clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<Reloading<Arc<ServerConfig>>>,
    mutual: bool,
}

impl ServerTls {
    /// `client_authorities` empty: clients need no certificate. Else a client without one that they signed is refused.
    pub fn from_files(
        certificate: &Path,
        key: &Path,
        client_authorities: &[PathBuf],
        protocol: Protocol,
    ) -> Result<Self, TlsError> {
        let files = [&[certificate.to_owned(), key.to_owned()], client_authorities].concat();
        let (certificate, key, authorities) = (certificate.to_owned(), key.to_owned(), client_authorities.to_vec());
        let make = move || config(&certificate, &key, &authorities, protocol).map(Arc::new);
        let config = Arc::new(Reloading::new("server certificate", files, make)?);
        Ok(Self { config, mutual: !client_authorities.is_empty() })
    }

    /// Clients must show a certificate.
    pub const fn is_mutual(&self) -> bool {
        self.mutual
    }

    /// Of the files as they are now.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.current())
    }
}

fn config(
    certificate: &Path,
    key: &Path,
    authorities: &[PathBuf],
    protocol: Protocol,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(protocol.versions())
        .map_err(TlsError::Setup)?;
    let builder = if authorities.is_empty() {
        builder.with_no_client_auth()
    } else {
        let roots = Arc::new(pem::authorities(authorities)?);
        builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?)
    };
    let mut config = builder
        .with_single_cert(pem::certificates(certificate)?, pem::key(key)?)
        .map_err(|source| TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source })?;
    config.alpn_protocols = protocol.alpn();
    Ok(config)
}
