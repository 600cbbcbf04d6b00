//! Listeners: unix sockets with fitting permissions, TCP, TLS.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::{Connection, ListenAddress, ServerTls};

/// Why nobody can be heard there.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("another process answers at {}; stop it, or choose another path", .0.display())]
    Occupied(PathBuf),
    #[error("cannot listen on {}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("cannot listen on {address}: {source}")]
    Address { address: ListenAddress, source: io::Error },
}

/// A handshake that takes longer is given up.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A caller that was refused has so long to hang up.
const SEE_OFF_LIMIT: Duration = Duration::from_secs(1);
/// So many handshakes at a time; the next caller waits in the kernel's queue.
const HANDSHAKES: usize = 128;
/// Wait after a failed accept(2): it fails when file descriptors run out, and would at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BACKLOG: u32 = 1024;

/// Bound, and not yet accepting. Dropping a unix listener removes its path.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix { listener: UnixListener, _path: OwnPath },
    Tcp { listener: TcpListener, tls: Option<ServerTls> },
}

/// A path that is removed with its owner, if it still is the same file.
#[derive(Debug)]
struct OwnPath {
    path: PathBuf,
    inode: Option<u64>,
}

impl OwnPath {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), inode: inode(path) }
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        if self.inode.is_some() && self.inode == inode(&self.path) {
            // Nothing to be done about a directory that became read-only; the next start replaces the socket.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

impl Listener {
    /// Binds `path` with mode 0660. A socket that a dead process left is replaced; a living one's is not.
    pub async fn unix(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Socket { path: path.to_owned(), source };
        if UnixStream::connect(path).await.is_ok() {
            return Err(ListenError::Occupied(path.to_owned()));
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
        Ok(Self { socket: Socket::Unix { listener, _path: OwnPath::new(path) } })
    }

    /// `tls` None: plaintext.
    pub fn tcp(address: ListenAddress, tls: Option<ServerTls>) -> Result<Self, ListenError> {
        let listener = match bind(address.socket_addr()) {
            // A host without IPv6.
            Err(_) if address.ip.is_none() => bind(SocketAddr::from(([0, 0, 0, 0], address.port))),
            bound => bound,
        };
        let listener = listener.map_err(|source| ListenError::Address { address, source })?;
        Ok(Self { socket: Socket::Tcp { listener, tls } })
    }

    /// The TCP address, with the port that the kernel chose where 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Unix { .. } => None,
            Socket::Tcp { listener, .. } => listener.local_addr().ok(),
        }
    }

    /// Whether callers must speak TLS.
    pub const fn is_tls(&self) -> bool {
        matches!(self.socket, Socket::Tcp { tls: Some(_), .. })
    }

    /// Connections whose handshake is done, for ever. A caller that is slow at it, or fails, delays nobody.
    pub fn connections(self) -> impl Stream<Item = Connection> + Send {
        futures_util::stream::unfold(
            Accepting { listener: self, handshakes: FuturesUnordered::new() },
            |mut state| async move {
                let connection = state.next().await;
                Some((connection, state))
            },
        )
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

type Handshake = std::pin::Pin<Box<dyn Future<Output = Option<Connection>> + Send>>;

struct Accepting {
    listener: Listener,
    handshakes: FuturesUnordered<Handshake>,
}

impl Accepting {
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.next() => {
                    if let Some(connection) = done {
                        return connection;
                    }
                }
                accepted = self.listener.accept(), if self.handshakes.len() < HANDSHAKES => match accepted {
                    Ok(Accepted::Ready(connection)) => return connection,
                    Ok(Accepted::Handshake(handshake)) => self.handshakes.push(handshake),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

enum Accepted {
    Ready(Connection),
    Handshake(Handshake),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Ready(Connection::unix(stream)))
            }
            Socket::Tcp { listener, tls } => {
                let (stream, peer) = listener.accept().await?;
                Connection::prepare(&stream);
                Ok(match tls {
                    None => Accepted::Ready(Connection::tcp(stream, Some(peer))),
                    Some(tls) => Accepted::Handshake(Box::pin(handshake(stream, peer, tls.clone()))),
                })
            }
        }
    }
}

async fn handshake(stream: TcpStream, peer: SocketAddr, tls: ServerTls) -> Option<Connection> {
    let acceptor = TlsAcceptor::from(tls.current());
    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => Some(Connection::accepted(stream, Some(peer))),
        Ok(Err((error, stream))) => {
            tracing::info!(%peer, %error, "TLS handshake failed");
            see_off(stream).await;
            None
        }
        Err(_) => {
            tracing::info!(%peer, "TLS handshake not done within {HANDSHAKE_LIMIT:?}");
            None
        }
    }
}

/// Closes without a reset: one would overtake the alert that tells the caller what is wrong with its certificate.
async fn see_off(mut stream: TcpStream) {
    let to_the_end = async {
        let mut rest = [0; 1024];
        if stream.shutdown().await.is_ok() {
            while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        }
    };
    // A caller that goes on sending is not worth more.
    let _ = tokio::time::timeout(SEE_OFF_LIMIT, to_the_end).await;
}
