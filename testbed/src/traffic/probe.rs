//! Questions that traffic answers: does it get through, is it refused, is there silence?

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use crate::{Namespace, Result, fail};

/// How long silence must last to count. Packets that arrive here take microseconds; TCP's first retransmission comes
/// after one second and must not be waited for.
const SILENCE: Duration = Duration::from_millis(700);

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It got there and back, unchanged.
    Answered,
    /// Nothing came back.
    Silence,
    /// Somebody said no (a reset or a port unreachable).
    Refused,
    /// A router said no.
    Unreachable,
}

fn outcome(error: &std::io::Error) -> Result<Outcome> {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Outcome::Silence),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(Outcome::Refused),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::PermissionDenied => {
            Ok(Outcome::Unreachable)
        }
        _ => fail!("unexpected: {error}"),
    }
}

/// One TCP connection with one exchange.
pub fn tcp(from: &Namespace, to: IpAddr, port: u16) -> Result<Outcome> {
    let target = SocketAddr::new(to, port);
    let exchange = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&target, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(b"ping")?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"ping")
    };
    from.run(|| match exchange() {
        Ok(true) => Ok(Outcome::Answered),
        Ok(false) => fail!("{target} answered something else"),
        Err(error) => outcome(&error),
    })
}

/// One datagram and its echo.
pub fn udp(from: &Namespace, to: IpAddr, port: u16) -> Result<Outcome> {
    udp_sized(from, to, port, 32)
}

/// One datagram of `size` bytes and its echo; above the link's MTU it travels in fragments.
pub fn udp_sized(from: &Namespace, to: IpAddr, port: u16, size: usize) -> Result<Outcome> {
    let target = SocketAddr::new(to, port);
    let sent: Vec<u8> = (0..size).map(|i| i as u8).collect();
    let exchange = || -> std::io::Result<bool> {
        let own: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(own)?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.send(&sent)?;
        let mut answer = vec![0; size + 1];
        let got = socket.recv(&mut answer)?;
        Ok(answer[..got] == sent)
    };
    from.run(|| match exchange() {
        Ok(true) => Ok(Outcome::Answered),
        Ok(false) => fail!("{target} answered something else"),
        Err(error) => outcome(&error),
    })
}

/// One ICMP echo. `options` go to `ping`, such as `-s 1400 -M do`.
pub fn ping(from: &Namespace, to: IpAddr, options: &str) -> Result<Outcome> {
    let family = if to.is_ipv4() { "-4" } else { "-6" };
    let done = from.try_tool(&format!("ping {family} -n -c 1 -W 1 {options} {to}"))?;
    let text = done.stdout + &done.stderr;
    Ok(match text {
        _ if done.success => Outcome::Answered,
        t if ["nreachable", "rohibited", "too long", "too big", "Frag needed"].iter().any(|w| t.contains(w)) => {
            Outcome::Unreachable
        }
        t if t.contains("100% packet loss") => Outcome::Silence,
        t => fail!("ping {to}: {t}"),
    })
}

/// `GET path`; the status code.
pub fn http_get(from: &Namespace, to: IpAddr, port: u16, path: &str) -> Result<u16> {
    let target = SocketAddr::new(to, port);
    let text = from.run(|| {
        let mut stream = TcpStream::connect_timeout(&target, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?;
    match text.split(' ').nth(1).and_then(|s| s.parse().ok()) {
        Some(status) => Ok(status),
        None => fail!("{target} answered {text:?}"),
    }
}
