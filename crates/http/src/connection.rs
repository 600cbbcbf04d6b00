//! One type for every kind of byte stream, so that whoever speaks over it need not care.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A peer that is gone without a word is given up after a minute.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A connection, accepted or made.
#[derive(Debug)]
pub struct Connection {
    io: Io,
    peer: Option<SocketAddr>,
}

#[derive(Debug)]
enum Io {
    Unix(UnixStream),
    Tcp(TcpStream),
    Accepted(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    Called(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Connection {
    /// None for unix sockets.
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub const fn is_tls(&self) -> bool {
        matches!(self.io, Io::Accepted(_) | Io::Called(_))
    }

    pub(crate) const fn unix(stream: UnixStream) -> Self {
        Self { io: Io::Unix(stream), peer: None }
    }

    /// How every TCP connection is set up: small messages go at once, and a peer that fell silent is noticed, though nothing is sent.
    pub(crate) fn prepare(stream: &TcpStream) {
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY)
            .with_retries(KEEPALIVE_PROBES);
        let nodelay = stream.set_nodelay(true);
        if let Err(error) = nodelay.and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive)) {
            // It still works, slower or longer than it should; a socket that is broken fails at its first read.
            tracing::debug!(%error, "a connection could not be set up as wanted");
        }
    }

    pub(crate) const fn tcp(stream: TcpStream, peer: Option<SocketAddr>) -> Self {
        Self { io: Io::Tcp(stream), peer }
    }

    pub(crate) fn accepted(stream: tokio_rustls::server::TlsStream<TcpStream>, peer: Option<SocketAddr>) -> Self {
        Self { io: Io::Accepted(Box::new(stream)), peer }
    }

    pub(crate) fn called(stream: tokio_rustls::client::TlsStream<TcpStream>, peer: Option<SocketAddr>) -> Self {
        Self { io: Io::Called(Box::new(stream)), peer }
    }
}

/// The same call on whichever stream it is.
macro_rules! each {
    ($connection:expr, $io:ident => $call:expr) => {
        match &mut $connection.get_mut().io {
            Io::Unix(io) => {
                let $io = Pin::new(io);
                $call
            }
            Io::Tcp(io) => {
                let $io = Pin::new(io);
                $call
            }
            Io::Accepted(io) => {
                let $io = Pin::new(io);
                $call
            }
            Io::Called(io) => {
                let $io = Pin::new(io);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Unix(io) => io.is_write_vectored(),
            Io::Tcp(io) => io.is_write_vectored(),
            Io::Accepted(io) => io.is_write_vectored(),
            Io::Called(io) => io.is_write_vectored(),
        }
    }
}
