//! The HTTP side of the agent: listens, parses, checks form, hands over. No business logic.

mod extract;
mod handler;
mod openapi;
mod routes;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
pub use handler::{Answer, CaptureStream, Handler, RecordStream};
use nexin_runtime::tasks::CancellationToken;
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Why the API cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("another agent answers at {}; stop it, or give this one another api.socket", .0.display())]
    Occupied(PathBuf),
    #[error("cannot listen on {}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address}: {source}")]
    Address { address: SocketAddr, source: io::Error },
    #[error("serving ended: {0}")]
    Serve(#[source] io::Error),
}

/// The control socket, bound and not yet serving.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds `path` with mode 0660. A socket that a dead agent left is replaced; a living agent's is not.
    pub async fn bind(path: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Socket { path: path.to_owned(), source };
        if UnixStream::connect(path).await.is_ok() {
            return Err(ServeError::Occupied(path.to_owned()));
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until `stop`; requests that are under way are answered first. Removes the socket.
    pub async fn serve<H: Handler>(self, handler: H, stop: CancellationToken) -> Result<(), ServeError> {
        let router = routes::router(handler, stop.clone());
        let served = axum::serve(self.listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        let removed = std::fs::remove_file(&self.path);
        served
            .and(removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }))
            .map_err(ServeError::Serve)
    }
}

/// The metrics address, bound and not yet serving: `GET /metrics` and nothing else.
#[derive(Debug)]
pub struct MetricsListener {
    listener: TcpListener,
}

impl MetricsListener {
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Address { address, source })?;
        Ok(Self { listener })
    }

    /// Serves until `stop`.
    pub async fn serve<H: Handler>(self, handler: H, stop: CancellationToken) -> Result<(), ServeError> {
        let answer = async move |headers: HeaderMap| routes::scrape(handler, &headers).await;
        let router = Router::new().route("/metrics", get(answer));
        let served = axum::serve(self.listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        served.map_err(ServeError::Serve)
    }
}
