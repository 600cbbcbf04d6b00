//! Calls: unix sockets, TCP, TLS, within a time limit, with errors that say which step failed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::{ClientTls, Connection, Target, TlsError};

/// A [`Connection`] as hyper wants it.
pub type IoOfHyper = TokioIo<Connection>;

/// Why a call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot connect to {}: {source}", path.display())]
    Unix { path: PathBuf, source: io::Error },
    #[error("cannot look up {host}: {source}")]
    Lookup { host: String, source: io::Error },
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("cannot connect to {address}: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("TLS with {target} failed: {source}")]
    Handshake { target: Target, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{target} did not answer within {limit:?}")]
    Late { target: Target, limit: Duration },
    #[error("TLS over a unix socket ({}) is not spoken: leave TLS off", .0.display())]
    TlsOverUnix(PathBuf),
}

/// Whom to call and how. Cheap to clone; each call is a new connection, with the certificates as they are then.
#[derive(Clone, Debug)]
pub struct Connector {
    target: Target,
    tls: Option<ClientTls>,
    limit: Duration,
}

impl Connector {
    /// `limit` is for everything up to the end of the handshake. Unix sockets speak no TLS.
    pub const fn new(target: Target, tls: Option<ClientTls>, limit: Duration) -> Self {
        Self { target, tls, limit }
    }

    pub const fn target(&self) -> &Target {
        &self.target
    }

    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let late = |_| ConnectError::Late { target: self.target.clone(), limit: self.limit };
        tokio::time::timeout(self.limit, self.call_once()).await.map_err(late)?
    }

    async fn call_once(&self) -> Result<Connection, ConnectError> {
        let (host, port) = match &self.target {
            Target::Unix(path) if self.tls.is_some() => return Err(ConnectError::TlsOverUnix(path.clone())),
            Target::Unix(path) => {
                let connected = UnixStream::connect(path).await;
                return connected
                    .map(Connection::unix)
                    .map_err(|source| ConnectError::Unix { path: path.clone(), source });
            }
            Target::Tcp { host, port } => (host, *port),
        };
        let (stream, peer) = dial(host, port).await?;
        Connection::prepare(&stream);
        let Some(tls) = &self.tls else { return Ok(Connection::tcp(stream, Some(peer))) };
        let name = tls.name_for(host)?;
        let stream = TlsConnector::from(tls.current()).connect(name, stream).await;
        stream
            .map(|stream| Connection::called(stream, Some(peer)))
            .map_err(|source| ConnectError::Handshake { target: self.target.clone(), source })
    }
}

/// The first address of `host` that answers.
async fn dial(host: &str, port: u16) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let looked_up = tokio::net::lookup_host((host, port)).await;
    let addresses = looked_up.map_err(|source| ConnectError::Lookup { host: host.to_owned(), source })?;
    let mut last = ConnectError::NoAddress(host.to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(source) => last = ConnectError::Tcp { address, source },
        }
    }
    Err(last)
}

impl Service<Uri> for Connector {
    type Response = IoOfHyper;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<IoOfHyper, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    /// The URI says nothing that the connector does not know.
    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}
