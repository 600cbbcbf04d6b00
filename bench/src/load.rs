//! Load and its server, each a process of its own on the measured core. Every byte that should come back is checked: a
//! path that loses packets cannot look fast.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use nexin_testbed::{Result, fail};
use serde::{Deserialize, Serialize};

use crate::machine;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// One byte there and back on one connection.
    TcpRr,
    /// One datagram there and back.
    UdpRr,
    /// Connect, one byte there and back, close.
    TcpCrr,
    /// Bytes one way.
    Stream,
}

/// What a load measured. Nanoseconds a transaction, or bits a second for the stream.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// First byte of a connection.
const ECHO: u8 = b'e';
const ONCE: u8 = b'o';
const SINK: u8 = b's';
/// What the testbed's own question begins with.
const HELLO: u8 = b'p';
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until killed.
pub(crate) fn serve(port: u16) -> Result {
    machine::move_to_the_measured_core()?;
    let any = SocketAddr::from((IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    let udp = UdpSocket::bind(any)?;
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((size, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&buffer[..size], from);
        }
    });
    let listener = TcpListener::bind(any)?;
    let mut buffer = vec![0; 256 << 10];
    // One client at a time: a thread a connection would cost more than the path.
    loop {
        let (mut stream, _) = listener.accept()?;
        let _ = answer(&mut stream, &mut buffer);
    }
}

fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let size = stream.read(buffer)?;
    match buffer.first().filter(|_| size > 0) {
        Some(&(ONCE | HELLO)) => stream.write_all(&buffer[..size]),
        Some(&ECHO) => {
            // The first question may have come along with the greeting.
            stream.write_all(&buffer[1..size])?;
            loop {
                match stream.read(buffer)? {
                    0 => return Ok(()),
                    size => stream.write_all(&buffer[..size])?,
                }
            }
        }
        _ => {
            let mut total = size as u64;
            loop {
                match stream.read(buffer)? {
                    0 => break,
                    more => total += more as u64,
                }
            }
            stream.write_all(&total.to_be_bytes())
        }
    }
}

/// Puts `count` transactions (or, for the stream, that many milliseconds) on the server at `to`.
pub(crate) fn put(kind: Kind, to: SocketAddr, count: usize) -> Result<Figures> {
    machine::move_to_the_measured_core()?;
    match kind {
        Kind::TcpRr => {
            let mut stream = connect(to)?;
            stream.write_all(&[ECHO])?;
            transactions(count, |byte| {
                stream.write_all(&[byte])?;
                one_byte(&mut stream)
            })
        }
        Kind::UdpRr => {
            let own: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
            let socket = UdpSocket::bind(own)?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            transactions(count, |byte| {
                socket.send(&[byte])?;
                let mut answer = [!byte];
                socket.recv(&mut answer)?;
                Ok(answer[0])
            })
        }
        Kind::TcpCrr => transactions(count, |_| {
            let mut stream = connect(to)?;
            stream.write_all(&[ONCE])?;
            let answer = one_byte(&mut stream)?;
            // The server closes first, so that the waiting state is its and ports here stay free.
            match stream.read(&mut [0])? {
                0 if answer == ONCE => Ok(1),
                _ => fail!("a connection answered {answer}"),
            }
        }),
        Kind::Stream => stream_for(to, Duration::from_millis(count as u64)),
    }
}

fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn one_byte(stream: &mut TcpStream) -> Result<u8> {
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(answer[0])
}

/// Times `count` transactions after a tenth of them as warm-up. Each returns what came back for the byte it was given;
/// connections, which have no byte of their own, return 1.
fn transactions(count: usize, mut one: impl FnMut(u8) -> Result<u8>) -> Result<Figures> {
    let mut times = Vec::with_capacity(count);
    for number in 0..count + count / 10 {
        let byte = (number % 255) as u8;
        let start = Instant::now();
        let answer = one(byte)?;
        let took = start.elapsed();
        if answer != byte && answer != 1 {
            fail!("{answer} came back for {byte}");
        }
        if number >= count / 10 {
            times.push(took.as_nanos() as u32);
        }
    }
    times.sort_unstable();
    let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]);
    Ok(Figures { p50: at(0.5), p99: at(0.99) })
}

fn stream_for(to: SocketAddr, time: Duration) -> Result<Figures> {
    let mut stream = connect(to)?;
    let block = vec![SINK; 128 << 10];
    let start = Instant::now();
    let mut sent = 0u64;
    while start.elapsed() < time {
        stream.write_all(&block)?;
        sent += block.len() as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut received = [0; 8];
    stream.read_exact(&mut received)?;
    let seconds = start.elapsed().as_secs_f64();
    if u64::from_be_bytes(received) != sent {
        fail!("{sent} bytes sent, {} received", u64::from_be_bytes(received));
    }
    let rate = sent as f64 * 8.0 / seconds;
    Ok(Figures { p50: rate, p99: rate })
}
