//! The HTTP/1 server for text, with real sockets and plain bytes.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with a message and a line")]

mod certificates;

use std::time::Duration;

use certificates::{Authority, Validity};
use nexin_http::{
    ClientTls, Connector, Listener, Protocol, ServerTls, Target, TextReply, TextRequest, Trust, serve_text,
};
use nexin_runtime::tasks::CancellationToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn answer(request: TextRequest) -> TextReply {
    match request.path.as_str() {
        "/metrics" => TextReply::ok("text/plain", format!("accept={} query={}\n", request.accept, request.query)),
        _ => TextReply::not_found(),
    }
}

/// Sends bytes and reads to the end, or what came until the server hung up.
async fn exchange(connector: &Connector, bytes: &[u8]) -> String {
    let mut connection = connector.connect().await.unwrap();
    connection.write_all(bytes).await.unwrap();
    connection.flush().await.unwrap();
    let mut text = Vec::new();
    let read = connection.read_to_end(&mut text).await;
    assert!(read.is_ok() || !text.is_empty(), "{read:?}");
    String::from_utf8(text).unwrap()
}

async fn served(tls: Option<ServerTls>, client: Option<ClientTls>, calls: impl AsyncFnOnce(&Connector)) {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), tls).unwrap();
    let target = Target::Tcp { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let connector = Connector::new(target, client, Duration::from_secs(5));
    let stop = CancellationToken::new();
    tokio::join!(serve_text(listener, answer, stop.clone()), async {
        calls(&connector).await;
        stop.cancel();
    });
    assert!(connector.connect().await.is_err(), "a stopped server's port is closed");
}

#[tokio::test]
async fn gets_are_answered_and_everything_else_refused() {
    served(None, None, async |connector| {
        let get = b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\nAccept: one\r\nAccept: two\r\nConnection: close\r\n\r\n";
        let reply = exchange(connector, get).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        assert!(reply.ends_with("\r\n\r\naccept=one,two query=a=b\n"), "{reply}");
        let head = exchange(connector, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(head.contains("content-length: 15\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let other = exchange(connector, b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(other.starts_with("HTTP/1.1 404 "), "{other}");
        let post = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx";
        let refused = exchange(connector, post).await;
        assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: GET, HEAD\r\n"), "{refused}");
        for rubbish in [&b"\x16\x03\x01\x00\x00"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
            let reply = exchange(connector, rubbish).await;
            assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let node = ours.issue("node", &["127.0.0.1"], Validity::Now);
    let server = ServerTls::from_files(&node.certificate, &node.key, &[], Protocol::Http1).unwrap();
    let client = ClientTls::from_files(Trust::Files(vec![ours.file.clone()]), None, Protocol::Http1).unwrap();
    served(Some(server), Some(client), async |connector| {
        let reply = exchange(connector, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(reply.ends_with("accept= query=\n"), "{reply}");
    })
    .await;
}

#[tokio::test]
async fn callers_that_wait_do_not_hold_a_shutdown_up() {
    let mut idle = Vec::new();
    served(None, None, async |connector| {
        for _ in 0..10 {
            let mut connection = connector.connect().await.unwrap();
            connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut byte = [0];
            connection.read_exact(&mut byte).await.unwrap();
            idle.push(connection);
        }
    })
    .await;
    assert_eq!(idle.len(), 10);
}
