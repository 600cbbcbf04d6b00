//! Traffic that is counted, packet by packet and request by request.

use super::scene::{Running, Scene};
use crate::{Error, Result};

/// Requests of one client, more than it can make while the demo lasts.
const REQUESTS: usize = 1_000_000;
const CLIENTS: usize = 2;

pub(super) struct Load {
    clients: Vec<Running>,
    ping: Running,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) answered: usize,
    pub(super) failed: usize,
    pub(super) echoes_sent: usize,
    pub(super) echoes_lost: usize,
}

impl Load {
    /// Each request a connection of its own, as fast as they come; and an echo request every 5 ms.
    pub(super) fn start(scene: &Scene, place: &str, address: &str) -> Result<Self> {
        let url = format!("http://{address}/?[1-{REQUESTS}]");
        // Standard error is written at once: no answer waits in a buffer when a client is stopped.
        let told = "%{stderr}%{http_code}\\n";
        let request = ["curl", "-s", "-o", "/dev/null", "-H", "Connection: close", "-m", "5", "-w", told, &url];
        let clients =
            (0..CLIENTS).map(|i| scene.start(place, &request, &format!("load-{i}"))).collect::<Result<_>>()?;
        let ping = scene.start(place, &["ping", "-n", "-i", "0.005", address], "ping")?;
        Ok(Self { clients, ping })
    }

    /// Requests that were answered until now.
    pub(super) fn answered(&self) -> Result<usize> {
        self.clients.iter().map(Running::lines).sum()
    }

    /// Ends the load and counts.
    pub(super) fn stop(mut self) -> Result<Count> {
        let mut count = Count::default();
        let pid = nix::unistd::Pid::from_raw(self.ping.child.id().cast_signed());
        // On this signal ping waits for nothing more and prints its summary.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)
            .map_err(|errno| Error::system("stop ping", errno))?;
        self.ping.child.wait().map_err(|source| Error::system("wait for ping", source))?;
        (count.echoes_sent, count.echoes_lost) = echoes(&self.ping.said()?);
        for client in self.clients {
            for code in client.stop()?.lines() {
                if code == "200" { count.answered += 1 } else { count.failed += 1 }
            }
        }
        Ok(count)
    }
}

/// "N packets transmitted, M received ...". The last echo may be on its way when ping is stopped.
fn echoes(said: &str) -> (usize, usize) {
    let summary = said.lines().find(|line| line.contains("packets transmitted")).unwrap_or_default();
    let mut numbers = summary.split(", ").filter_map(|part| part.split(' ').next()?.parse::<usize>().ok());
    let (sent, received) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let last =
        said.lines().rev().find_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse::<usize>().ok());
    let under_way = usize::from(last.is_some_and(|last| last + 1 == sent));
    (sent - under_way.min(sent), sent.saturating_sub(received + under_way))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str = "64 bytes from 10.0.0.2: icmp_seq=41 ttl=64 time=0.04 ms\n";

    #[test]
    fn echoes_are_counted() {
        let said = |sent: usize, received: usize| {
            format!(
                "{REPLY}\n--- ping statistics ---\n{sent} packets transmitted, {received} received, 0% packet loss, time 1ms\n"
            )
        };
        assert_eq!(echoes(&said(41, 41)), (41, 0));
        assert_eq!(echoes(&said(42, 41)), (41, 0));
        assert_eq!(echoes(&said(42, 39)), (41, 2));
        assert_eq!(echoes(&said(45, 41)), (45, 4));
        assert_eq!(echoes(""), (0, 0));
    }
}
