//! TLS between a real listener and a real connector: who is let in, who is refused and why, and what a rotation does.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with a message and a line")]

mod certificates;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certificates::{Authority, Identity, Validity};
use futures_util::StreamExt as _;
use nexin_http::{
    ClientTls, ConnectError, Connection, Connector, ListenAddress, Listener, Protocol, ServerTls, Target, TlsError,
    Trust,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LIMIT: Duration = Duration::from_secs(5);

fn server(identity: &Identity, clients: &[PathBuf]) -> ServerTls {
    ServerTls::from_files(&identity.certificate, &identity.key, clients, Protocol::Grpc).unwrap()
}

fn client(trust: &Path, identity: Option<&Identity>) -> ClientTls {
    let identity = identity.map(|identity| (identity.certificate.as_path(), identity.key.as_path()));
    ClientTls::from_files(Trust::Files(vec![trust.to_owned()]), identity, Protocol::Grpc).unwrap()
}

/// An echo server on loopback; the target it is reached by.
struct Echo {
    listener: Option<Listener>,
    target: Target,
}

impl Echo {
    fn new(tls: Option<ServerTls>) -> Self {
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), tls).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener: Some(listener), target: Target::Tcp { host: "127.0.0.1".into(), port } }
    }

    /// Serves while `calls` run.
    async fn during<T>(&mut self, calls: impl Future<Output = T>) -> T {
        let echoes = self.listener.take().unwrap().connections().for_each_concurrent(None, echo);
        tokio::select! {
            () = echoes => unreachable!("listeners do not end"),
            out = calls => out,
        }
    }
}

async fn echo(mut connection: Connection) {
    let mut byte = [0];
    while connection.read_exact(&mut byte).await.is_ok() && connection.write_all(&byte).await.is_ok() {
        if connection.flush().await.is_err() {
            break;
        }
    }
}

/// Connects and has one byte echoed: with TLS 1.3 a server refuses a client's certificate only after the client's handshake.
async fn talk(target: &Target, tls: Option<&ClientTls>) -> Result<(), String> {
    let connector = Connector::new(target.clone(), tls.cloned(), LIMIT);
    let mut connection = connector.connect().await.map_err(|error| error.to_string())?;
    assert_eq!(connection.is_tls(), tls.is_some());
    let mut byte = [0];
    connection.write_all(b"x").await.map_err(|error| error.to_string())?;
    connection.read_exact(&mut byte).await.map_err(|error| error.to_string())?;
    // A server that is spoken to in plaintext answers with an alert.
    if byte == *b"x" { Ok(()) } else { Err(format!("{byte:?} is no echo")) }
}

#[tokio::test]
async fn only_whom_both_sides_trust_is_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let theirs = Authority::new(dir.path(), "theirs");
    let name = "n1.default.hubble-grpc.cilium.io";
    let node = ours.issue("node", &["*.default.hubble-grpc.cilium.io"], Validity::Now);
    let relay = ours.issue("relay", &["relay"], Validity::Now);
    let stranger = theirs.issue("stranger", &["relay"], Validity::Now);
    let late = ours.issue("late", &["relay"], Validity::Expired);
    let mut echo = Echo::new(Some(server(&node, std::slice::from_ref(&ours.file))));
    let target = echo.target.clone();
    echo.during(async {
        let named = |trust: &Path, identity| client(trust, identity).named(name).unwrap();
        assert_eq!(talk(&target, Some(&named(&ours.file, Some(&relay)))).await, Ok(()));
        for (what, tls, word) in [
            ("no certificate", named(&ours.file, None), "CertificateRequired"),
            ("a stranger's certificate", named(&ours.file, Some(&stranger)), "alert"),
            ("an expired certificate", named(&ours.file, Some(&late)), "CertificateExpired"),
            ("trust in somebody else", named(&theirs.file, Some(&relay)), "UnknownIssuer"),
            (
                "another name",
                client(&ours.file, Some(&relay)).named("n1.other.hubble-grpc.cilium.io").unwrap(),
                "not valid for name",
            ),
            ("the address as the name", client(&ours.file, Some(&relay)), "not valid for name"),
        ] {
            let refused = talk(&target, Some(&tls)).await.expect_err(what);
            assert!(refused.contains(word), "{what}: {refused}");
        }
        talk(&target, None).await.expect_err("plaintext to a TLS port");
        let anyone =
            ClientTls::from_files(Trust::Anyone, Some((&relay.certificate, &relay.key)), Protocol::Grpc).unwrap();
        assert_eq!(talk(&target, Some(&anyone)).await, Ok(()), "asked for by name: whoever it is");
    })
    .await;
}

#[tokio::test]
async fn an_expired_server_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let mut echo = Echo::new(Some(server(&ours.issue("node", &["127.0.0.1"], Validity::Expired), &[])));
    let target = echo.target.clone();
    let refused = echo.during(talk(&target, Some(&client(&ours.file, None)))).await.unwrap_err();
    assert!(refused.contains("expired"), "{refused}");
}

#[tokio::test]
async fn rotated_files_are_used_by_the_next_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(dir.path(), "old"), Authority::new(dir.path(), "new"));
    let node = old.issue("node", &["127.0.0.1"], Validity::Now);
    let relay = old.issue("relay", &["relay"], Validity::Now);
    let clients = dir.path().join("clients.pem");
    let servers = dir.path().join("servers.pem");
    fs::copy(&old.file, &clients).unwrap();
    fs::copy(&old.file, &servers).unwrap();
    let mut echo = Echo::new(Some(server(&node, std::slice::from_ref(&clients))));
    let target = echo.target.clone();
    echo.during(async {
        let tls = client(&servers, Some(&relay));
        assert_eq!(talk(&target, Some(&tls)).await, Ok(()));

        // The server's certificate moves to the new authority, which the client does not know yet.
        node.replace_by(&new.issue("node2", &["127.0.0.1"], Validity::Now));
        let refused = talk(&target, Some(&tls)).await.unwrap_err();
        assert!(refused.contains("UnknownIssuer"), "{refused}");
        fs::copy(&new.file, &servers).unwrap();
        assert_eq!(talk(&target, Some(&tls)).await, Ok(()), "the client's trust was rotated");

        // The server's trust moves; the client's certificate must follow.
        fs::copy(&new.file, &clients).unwrap();
        talk(&target, Some(&tls)).await.expect_err("signed by an authority that is out");
        relay.replace_by(&new.issue("relay2", &["relay"], Validity::Now));
        assert_eq!(talk(&target, Some(&tls)).await, Ok(()), "the client's certificate was rotated");

        // Half a rotation, or rubbish: the last good state stays.
        let good = fs::read(&node.certificate).unwrap();
        fs::write(&node.certificate, "rubbish").unwrap();
        assert_eq!(talk(&target, Some(&tls)).await, Ok(()), "rubbish does not take the server down");
        fs::write(&node.certificate, good).unwrap();
        fs::remove_file(&clients).unwrap();
        assert_eq!(talk(&target, Some(&tls)).await, Ok(()), "nor does a missing file");
    })
    .await;
}

#[test]
fn errors_name_the_file_and_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let (a, b) = (ours.issue("a", &["a"], Validity::Now), ours.issue("b", &["b"], Validity::Now));
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let broken = dir.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap();
    let missing = dir.path().join("missing.pem");
    let refused = |certificate: &Path, key: &Path, clients: &[PathBuf]| -> String {
        let tried = ServerTls::from_files(certificate, key, clients, Protocol::Grpc);
        tried.map(|_| ()).unwrap_err().to_string()
    };
    for (told, file, word) in [
        (refused(&missing, &a.key, &[]), &missing, "cannot read"),
        (refused(&empty, &a.key, &[]), &empty, "no certificate"),
        (refused(&a.certificate, &empty, &[]), &empty, "no private key"),
        (refused(&broken, &a.key, &[]), &broken, "not PEM"),
        (refused(&a.certificate, &b.key, &[]), &b.key, "cannot be used together"),
        (refused(&a.certificate, &a.key, std::slice::from_ref(&empty)), &empty, "no certificate"),
    ] {
        assert!(told.contains(word) && told.contains(&file.display().to_string()), "{told}");
    }
    let trust = ClientTls::from_files(Trust::Files(vec![missing.clone()]), None, Protocol::Grpc);
    assert!(matches!(trust, Err(TlsError::Read { path, .. }) if path == missing));
    let name = client(&ours.file, None).named("not a name");
    assert!(matches!(name, Err(TlsError::ServerName(name)) if name == "not a name"));
}

#[tokio::test]
async fn unix_sockets_replace_the_dead_and_spare_the_living() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/h.sock");
    // What a killed process leaves: a socket that nobody listens on.
    fs::create_dir(dir.path().join("run")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::unix(&path).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let occupied = Listener::unix(&path).await.map(|_| ()).unwrap_err().to_string();
    assert!(occupied.contains("another process answers"), "{occupied}");
    let target = Target::Unix(path.clone());
    let mut echo = Echo { listener: Some(listener), target: target.clone() };
    assert_eq!(echo.during(talk(&target, None)).await, Ok(()));
    assert!(!path.exists(), "a listener that is dropped takes its path along");
}

#[tokio::test]
async fn calls_that_nobody_answers_say_which_step_failed() {
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let connect =
        async |target: Target, tls| Connector::new(target, tls, LIMIT).connect().await.map(|_| ()).unwrap_err();
    let dead = Target::Tcp { host: "127.0.0.1".into(), port: address.port() };
    assert!(matches!(connect(dead, None).await, ConnectError::Tcp { address: tried, .. } if tried == address));
    let path = dir.path().join("none.sock");
    let none = connect(Target::Unix(path.clone()), None).await;
    assert!(none.to_string().contains(&path.display().to_string()), "{none}");
    // A listener that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp { host: "127.0.0.1".into(), port: silent.local_addr().unwrap().port() };
    let ours = Authority::new(dir.path(), "ours");
    let waiting = Connector::new(target, Some(client(&ours.file, None)), Duration::from_millis(50));
    assert!(matches!(waiting.connect().await, Err(ConnectError::Late { .. })));
    let unix = connect(Target::Unix(path), Some(client(&ours.file, None))).await;
    assert!(matches!(unix, ConnectError::TlsOverUnix(_)), "{unix}");
}

#[tokio::test]
async fn a_caller_that_never_shakes_hands_delays_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let mut echo = Echo::new(Some(server(&ours.issue("node", &["127.0.0.1"], Validity::Now), &[])));
    let target = echo.target.clone();
    let Target::Tcp { port, .. } = target.clone() else { unreachable!("an echo on TCP") };
    let idle: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let talked = echo.during(talk(&target, Some(&client(&ours.file, None)))).await;
    assert_eq!(talked, Ok(()));
    assert_eq!(idle.len(), 20);
}

#[test]
fn every_address_means_both_families() {
    let every: ListenAddress = ":0".parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let listener = Listener::tcp(every, None).unwrap();
    let port = listener.local_addr().unwrap().port();
    let called = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(called.peer_addr().unwrap().port(), port);
}
