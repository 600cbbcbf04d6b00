//! The client's side: whom it trusts, who it says it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::reload::Reloading;
use super::{Protocol, TlsError, pem, provider};

/// Whose server certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that the authorities in these PEM files signed.
    Files(Vec<PathBuf>),
    /// Those that the system's authorities signed.
    System,
    /// Anybody's: encrypted, but to whom? Only where a person asked for it by name.
    Anyone,
}

/// A client's trust and, for mutual TLS, its own certificate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<Reloading<Arc<ClientConfig>>>,
    server_name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// `identity`: certificate and key to show a server that asks.
    pub fn from_files(trust: Trust, identity: Option<(&Path, &Path)>, protocol: Protocol) -> Result<Self, TlsError> {
        let mut files = match &trust {
            Trust::Files(files) => files.clone(),
            Trust::System => vec![pem::system_bundle()?],
            Trust::Anyone => Vec::new(),
        };
        let identity = identity.map(|(certificate, key)| (certificate.to_owned(), key.to_owned()));
        files.extend(identity.iter().flat_map(|(certificate, key)| [certificate.clone(), key.clone()]));
        let make = move || config(&trust, identity.as_ref(), protocol).map(Arc::new);
        Ok(Self { config: Arc::new(Reloading::new("client certificate", files, make)?), server_name: None })
    }

    /// Expects the server's certificate to carry `name`, whatever the address says.
    pub fn named(mut self, name: &str) -> Result<Self, TlsError> {
        self.server_name = Some(server_name(name)?);
        Ok(self)
    }

    pub(crate) fn current(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config.current())
    }

    /// The name to check: the one that was set, else the host that is called.
    pub(crate) fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        self.server_name.clone().map_or_else(|| server_name(host), Ok)
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

fn config(trust: &Trust, identity: Option<&(PathBuf, PathBuf)>, protocol: Protocol) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(protocol.versions())
        .map_err(TlsError::Setup)?;
    let believed = |roots| WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let builder = match trust {
        Trust::Files(files) => builder.with_webpki_verifier(believed(pem::authorities(files)?)?),
        Trust::System => builder.with_webpki_verifier(believed(pem::system_authorities(&pem::system_bundle()?)?)?),
        Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)),
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let shown = builder.with_client_auth_cert(pem::certificates(certificate)?, pem::key(key)?);
            shown.map_err(|source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source })?
        }
    };
    config.alpn_protocols = protocol.alpn();
    Ok(config)
}

/// Believes every certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
