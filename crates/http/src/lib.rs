//! TLS and HTTP: certificates that reload, listeners, connectors, a small HTTP/1 server for metrics. The only user of hyper and
//! rustls.
//!
//! Nothing here knows gRPC, REST or what is said over a connection. Nothing here falls back from TLS to plaintext, and a listener
//! whose certificates were never readable does not start.

mod address;
mod connect;
mod connection;
mod listen;
mod post;
mod text;
mod tls;

pub use address::{AddressError, ListenAddress, Target};
pub use connect::{ConnectError, Connector, IoOfHyper};
pub use connection::Connection;
pub use listen::{ListenError, Listener};
pub use post::{PostError, PostReply, Poster};
pub use text::{TextReply, TextRequest, serve_text};
pub use tls::{ClientTls, Protocol, ServerTls, TlsError, Trust};
