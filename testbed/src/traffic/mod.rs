//! Traffic between namespaces with plain sockets: servers that echo, clients that ask once, and steady streams that
//! notice a single lost packet or reset.

mod echo;
mod probe;
mod steady;

pub use echo::{TcpEcho, UdpEcho};
pub use probe::{Outcome, http_get, ping, tcp, udp, udp_sized};
pub use steady::{Connections, Datagrams, Report, Stream, retransmissions};
