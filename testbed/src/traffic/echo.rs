//! Servers that send back what they get.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::socket::{Shutdown, shutdown};

use crate::{Namespace, Result};

/// How often an idle thread looks whether it should end.
const TICK: Duration = Duration::from_millis(50);

fn any(port: u16) -> SocketAddr {
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into()
}

/// A TCP server on all addresses of both families; ends when dropped.
pub struct TcpEcho {
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl TcpEcho {
    pub fn start(ns: &Namespace, port: u16) -> Result<Self> {
        let listener = ns.run(|| Ok(TcpListener::bind(any(port))?))?;
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicU64::new(0));
        let (incoming, ending, count) = (listener.try_clone()?, stop.clone(), accepted.clone());
        let thread = thread::spawn(move || {
            while let Ok((stream, _)) = incoming.accept() {
                count.fetch_add(1, Ordering::Relaxed);
                let ending = ending.clone();
                thread::spawn(move || serve(stream, &ending));
            }
        });
        Ok(Self { listener, stop, accepted, thread: Some(thread) })
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for TcpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting thread; the error says that nobody is connected, which is so.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Echoes one connection; answers an HTTP request as a web server would.
fn serve(mut stream: TcpStream, stop: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    let _ = stream.set_read_timeout(Some(TICK));
    let _ = stream.set_nodelay(true);
    while !stop.load(Ordering::Relaxed) {
        let got = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(got) => &buffer[..got],
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        if got.starts_with(b"GET ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
            return;
        }
        if stream.write_all(got).is_err() {
            return;
        }
    }
}

/// A UDP server; ends when dropped.
pub struct UdpEcho {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    last_peer: Arc<std::sync::Mutex<Option<SocketAddr>>>,
    threads: Vec<JoinHandle<()>>,
}

impl UdpEcho {
    /// On all addresses. Answers carry the address that the route back chooses, so ask for the first one of an interface.
    pub fn start(ns: &Namespace, port: u16) -> Result<Self> {
        Self::start_at(ns, &[IpAddr::V6(Ipv6Addr::UNSPECIFIED)], port)
    }

    /// On each of these addresses, answering from it.
    pub fn start_at(ns: &Namespace, addresses: &[IpAddr], port: u16) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let last_peer = Arc::new(std::sync::Mutex::new(None));
        let mut threads = Vec::new();
        for address in addresses {
            let socket = ns.run(|| Ok(UdpSocket::bind((*address, port))?))?;
            socket.set_read_timeout(Some(TICK))?;
            let (ending, count, peer) = (stop.clone(), received.clone(), last_peer.clone());
            threads.push(thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                while !ending.load(Ordering::Relaxed) {
                    if let Ok((size, from)) = socket.recv_from(&mut buffer) {
                        count.fetch_add(1, Ordering::Relaxed);
                        if let Ok(mut peer) = peer.lock() {
                            *peer = Some(from);
                        }
                        let _ = socket.send_to(&buffer[..size], from);
                    }
                }
            }));
        }
        Ok(Self { stop, received, last_peer, threads })
    }

    /// Datagrams so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Who sent the last one, IPv4 addresses as such.
    pub fn last_peer(&self) -> Option<SocketAddr> {
        let peer = *self.last_peer.lock().ok()?;
        peer.map(|p| SocketAddr::new(p.ip().to_canonical(), p.port()))
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
