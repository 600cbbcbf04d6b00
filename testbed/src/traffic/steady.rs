//! Traffic that runs while something else happens, and accounts for every packet.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Namespace, Result, fail, until};

/// Between two packets of a steady stream.
const PACE: Duration = Duration::from_millis(1);
/// After this a stream counts as dead. Long, since an emulated machine may stand still for many seconds while a program is
/// verified; what is lost in between is counted, however long it takes to be sent again.
const DEAD: Duration = Duration::from_secs(60);
/// How long the last answers of a stream of datagrams may take.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What became of a steady stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Exchanges that were answered.
    pub answered: u64,
    /// Datagrams without an answer; for TCP, segments that anybody in the client's namespace had to send again.
    pub lost: u64,
    /// Why the stream ended early: a reset, a refusal, a time-out.
    pub error: Option<String>,
}

impl Report {
    /// An error unless every packet arrived and there were some.
    pub fn expect_whole(&self, what: &str) -> Result {
        if self.answered == 0 || self.lost > 0 || self.error.is_some() {
            fail!("{what}: {self:?}");
        }
        Ok(())
    }
}

/// TCP segments that a namespace has sent again: each stands for a packet that was lost there or on the way back. A busy
/// machine delays packets without making any of these.
pub fn retransmissions(ns: &Namespace) -> Result<u64> {
    ns.run(Retransmissions::count)
}

/// Retransmissions since a moment, in the namespace of the calling thread.
struct Retransmissions(u64);

impl Retransmissions {
    fn watch() -> Result<Self> {
        Ok(Self(Self::count()?))
    }

    fn count() -> Result<u64> {
        let sent_again = counter("/proc/thread-self/net/snmp", "Tcp:", "RetransSegs")?;
        // The receiver said that it had the segment already: late on an emulated machine, not lost.
        let needless = counter("/proc/thread-self/net/netstat", "TcpExt:", "TCPDSACKRecv")?;
        Ok(sent_again.saturating_sub(needless))
    }
}

/// A counter of the network namespace: a line of names is followed by a line of values.
fn counter(file: &str, prefix: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let mut lines = text.lines().filter(|l| l.starts_with(prefix));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { fail!("no {prefix} in {file}") };
    match names.split(' ').zip(values.split(' ')).find(|(n, _)| *n == name) {
        Some((_, value)) => Ok(value.parse()?),
        None => fail!("no {name} in {file}"),
    }
}

impl Report {
    /// Completed by what was sent again in the namespace of the calling thread.
    fn with(mut self, since: Result<Retransmissions>) -> Self {
        match since.and_then(|since| Ok(Retransmissions::count()?.saturating_sub(since.0))) {
            Ok(repeated) => self.lost += repeated,
            Err(error) => self.error = Some(error.to_string()),
        }
        self
    }
}

/// The thread behind a stream.
struct Worker {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: Option<JoinHandle<Report>>,
}

impl Worker {
    fn start(work: impl FnOnce(&AtomicBool, &AtomicU64) -> Report + Send + 'static) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ending, count) = (stop.clone(), answered.clone());
        let thread = thread::spawn(move || {
            let report = work(&ending, &count);
            Report { answered: count.load(Ordering::Relaxed), ..report }
        });
        Self { stop, answered, thread: Some(thread) }
    }

    fn wait_for(&self, more: u64) -> Result {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        until(&format!("{more} more exchanges were answered"), || {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            (ended || self.answered.load(Ordering::Relaxed) >= goal).then_some(())
        })
    }

    fn finish(&mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let report = self.thread.take().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
        report.unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

macro_rules! worker_methods {
    () => {
        /// Waits until this many more exchanges were answered (or the stream has died).
        pub fn wait_for(&self, more: u64) -> Result {
            self.0.wait_for(more)
        }

        /// Whether it still runs.
        pub fn is_alive(&self) -> bool {
            self.0.thread.as_ref().is_some_and(|t| !t.is_finished())
        }

        /// Ends it and tells what happened.
        pub fn finish(mut self) -> Report {
            self.0.finish()
        }
    };
}

/// One TCP connection that exchanges numbered messages.
pub struct Stream(Worker);

impl Stream {
    pub fn start(from: &Namespace, to: IpAddr, port: u16) -> Result<Self> {
        let target = SocketAddr::new(to, port);
        let mut stream = from.run(|| Ok(TcpStream::connect_timeout(&target, DEAD)?))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEAD))?;
        let inside = from.try_clone_handle()?;
        Ok(Self(Worker::start(move |stop, answered| {
            let repeated = inside.enter_for_good().and_then(|()| Retransmissions::watch());
            let mut report = Report::default();
            let mut number = 0u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let mut answer = [0; 8];
                let done = stream.write_all(&number.to_be_bytes()).and_then(|()| stream.read_exact(&mut answer));
                if let Err(error) = done {
                    report.error = Some(error.to_string());
                    return report;
                }
                if u64::from_be_bytes(answer) != number {
                    report.error = Some(format!("{answer:?} came back for {number}"));
                    return report;
                }
                answered.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PACE);
            }
            report.with(repeated)
        })))
    }

    worker_methods!();
}

/// One UDP flow of numbered datagrams, each echoed.
pub struct Datagrams(Worker);

impl Datagrams {
    pub fn start(from: &Namespace, to: IpAddr, port: u16) -> Result<Self> {
        let own: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = from.run(|| {
            let socket = UdpSocket::bind(own)?;
            socket.connect(SocketAddr::new(to, port))?;
            Ok(socket)
        })?;
        socket.set_read_timeout(Some(PACE))?;
        Ok(Self(Worker::start(move |stop, answered| {
            let (mut sent, mut error) = (0u64, None);
            let mut drain = |sent: u64, patience: Duration| {
                let start = Instant::now();
                let mut buffer = [0; 8];
                loop {
                    match socket.recv(&mut buffer) {
                        Ok(_) => _ = answered.fetch_add(1, Ordering::Relaxed),
                        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                        Err(e) => error = Some(e.to_string()),
                    }
                    if answered.load(Ordering::Relaxed) >= sent || start.elapsed() >= patience {
                        return;
                    }
                }
            };
            while !stop.load(Ordering::Relaxed) {
                sent += u64::from(socket.send(&sent.to_be_bytes()).is_ok());
                drain(sent, PACE);
            }
            drain(sent, LAST_ANSWERS);
            Report { answered: 0, lost: sent.saturating_sub(answered.load(Ordering::Relaxed)), error }
        })))
    }

    worker_methods!();
}

/// New TCP connections, one after the other, each with one exchange.
pub struct Connections(Worker);

impl Connections {
    pub fn start(from: &Namespace, to: IpAddr, port: u16) -> Result<Self> {
        let target = SocketAddr::new(to, port);
        let inside = from.try_clone_handle()?;
        Ok(Self(Worker::start(move |stop, answered| {
            let repeated = inside.enter_for_good().and_then(|()| Retransmissions::watch());
            let mut report = Report::default();
            let exchange = || -> std::io::Result<()> {
                let mut stream = TcpStream::connect_timeout(&target, DEAD)?;
                stream.set_read_timeout(Some(DEAD))?;
                stream.write_all(b"ping")?;
                stream.read_exact(&mut [0; 4])
            };
            while !stop.load(Ordering::Relaxed) {
                if let Err(error) = exchange() {
                    report.error = Some(error.to_string());
                    return report;
                }
                answered.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PACE);
            }
            report.with(repeated)
        })))
    }

    worker_methods!();
}
