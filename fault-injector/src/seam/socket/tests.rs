//! The proxy as a proxy: what passes unharmed, what closes when, what is left. Faults are in `tests/bites.rs`.

use std::io::ErrorKind;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::time::{Instant, timeout_at};

use super::*;
use crate::catalogue;
use crate::fault::Seam;
use crate::frame::{Frame, Header, Kind, PAYLOAD_BYTES_MAX};
use crate::seam::wire::{Heard, Wire};

/// A proxy in front of a socket on which the test itself accepts.
struct Pair {
    directory: TempDir,
    upstream: UnixListener,
    proxy: Proxy,
}

impl Pair {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let upstream = UnixListener::bind(directory.path().join("upstream")).unwrap();
        let (path, to) = (directory.path().join("proxy"), directory.path().join("upstream"));
        let proxy = Proxy::listen(path, to, Gate::new(Seam::TaskSocket)).unwrap();
        Self { directory, upstream, proxy }
    }

    async fn connect(&self) -> (Wire, Wire) {
        let (client, server) = self.connect_streams().await;
        (Wire::from(client), Wire::from(server))
    }

    async fn connect_streams(&self) -> (UnixStream, UnixStream) {
        let client = UnixStream::connect(self.proxy.path()).await.unwrap();
        let (server, _) = self.upstream.accept().await.unwrap();
        (client, server)
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn frame(stream: u32, size: usize) -> Frame {
    Frame::request(stream, vec![stream.to_le_bytes()[0]; size])
}

#[tokio::test]
async fn frames_pass_both_ways_whatever_their_size() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect().await;
    for (stream, size) in [(1, 0), (3, 1), (5, 70_000), (7, PAYLOAD_BYTES_MAX as usize)] {
        let frame = frame(stream, size);
        let (sent, heard) = tokio::join!(client.send(&frame), server.hear(soon()));
        sent.unwrap();
        assert_eq!(heard.unwrap(), Heard::Frame(frame.clone()));
        let (sent, heard) = tokio::join!(server.send(&frame), client.hear(soon()));
        sent.unwrap();
        assert_eq!(heard.unwrap(), Heard::Frame(frame));
    }
    pair.proxy.close().await.unwrap();
}

#[tokio::test]
async fn an_oversize_frame_passes_and_the_connection_goes_on() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect().await;
    let header = Header { length: PAYLOAD_BYTES_MAX + 1, stream: 1, kind: Kind::Request, flags: 0 };
    let oversize = Frame { header, payload: vec![0; PAYLOAD_BYTES_MAX as usize + 1] };
    let sending = async {
        client.send(&oversize).await.unwrap();
        client.send(&frame(3, 3)).await.unwrap();
    };
    let hearing = async {
        assert_eq!(server.hear(soon()).await.unwrap(), Heard::Oversize(header));
        assert_eq!(server.hear(soon()).await.unwrap(), Heard::Frame(frame(3, 3)));
    };
    tokio::join!(sending, hearing);
}

#[tokio::test]
async fn what_a_client_left_incomplete_still_arrives() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect().await;
    client.send_bytes(&[0, 0, 0, 9, 0, 0]).await.unwrap();
    client.end().await.unwrap();
    assert_eq!(server.hear(soon()).await.unwrap(), Heard::End(vec![0, 0, 0, 9, 0, 0]));
    // The other direction is open until its own end.
    server.send(&frame(1, 1)).await.unwrap();
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::Frame(frame(1, 1)));
    drop(server);
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
}

#[tokio::test]
async fn a_request_of_a_client_that_is_gone_still_arrives() {
    let pair = Pair::new();
    let (client, server) = pair.connect_streams().await;
    let gone = hangup(&server).unwrap();
    let (mut client, mut server) = (Wire::from(client), Wire::from(server));
    client.send(&frame(1, 70_000)).await.unwrap();
    drop(client);
    assert_eq!(server.hear(soon()).await.unwrap(), Heard::Frame(frame(1, 70_000)));
    timeout_at(soon(), gone).await.unwrap();
}

/// The difference between shutdown(2) and close(2), which the other side can tell, passes through.
#[tokio::test]
async fn a_party_that_ends_its_direction_is_not_gone_until_it_closes() {
    let pair = Pair::new();
    for client_ends in [true, false] {
        let (client, server) = pair.connect_streams().await;
        let (ending, staying) = if client_ends { (client, server) } else { (server, client) };
        let mut gone = Box::pin(hangup(&staying).unwrap());
        let (mut ending, mut staying) = (Wire::from(ending), Wire::from(staying));
        ending.end().await.unwrap();
        assert_eq!(staying.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
        for stream in [1, 3, 5] {
            staying.send(&frame(stream, 1)).await.unwrap();
            assert_eq!(ending.hear(soon()).await.unwrap(), Heard::Frame(frame(stream, 1)));
        }
        assert!(timeout_at(Instant::now(), &mut gone).await.is_err(), "it is still there");
        drop(ending);
        timeout_at(soon(), gone).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_held_outlives_its_senders_direction() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect().await;
    let hold = catalogue::find("task-socket/hold-request").unwrap();
    let guard = pair.proxy.inject(hold).unwrap();
    client.send(&frame(1, 1)).await.unwrap();
    client.end().await.unwrap();
    guard.bitten(1, soon()).await.unwrap();
    assert_eq!(server.hear(Instant::now() + Duration::from_millis(50)).await.unwrap(), Heard::Silence);
    guard.heal();
    assert_eq!(server.hear(soon()).await.unwrap(), Heard::Frame(frame(1, 1)));
    assert_eq!(server.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
}

#[tokio::test]
async fn connections_do_not_mind_each_other() {
    let pair = Pair::new();
    let mut pairs = Vec::new();
    for _ in 0..8 {
        pairs.push(pair.connect().await);
    }
    drop(pairs.remove(3));
    for (client, server) in &mut pairs {
        client.send(&frame(1, 100)).await.unwrap();
        assert_eq!(server.hear(soon()).await.unwrap(), Heard::Frame(frame(1, 100)));
    }
    assert_eq!((pair.proxy.accepted(), pair.proxy.unreachable()), (8, 0));
}

#[tokio::test]
async fn closing_closes_everything_and_removes_the_path() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect().await;
    let path = pair.proxy.path().to_owned();
    pair.proxy.close().await.unwrap();
    // All of it is in effect when `close` returns, so nothing is to be waited for.
    assert_eq!(Wire::connect(&path).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
    assert_eq!(server.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
}

#[tokio::test]
async fn dropping_closes_everything_in_a_while() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect().await;
    drop(pair.proxy);
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
    assert_eq!(server.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
    while pair.directory.path().join("proxy").exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_without_a_server_is_hung_up_on() {
    let pair = Pair::new();
    drop(pair.upstream);
    let mut client = Wire::connect(pair.proxy.path()).await.unwrap();
    assert_eq!(client.hear(soon()).await.unwrap(), Heard::End(Vec::new()));
    assert_eq!((pair.proxy.accepted(), pair.proxy.unreachable()), (1, 1));
}

#[tokio::test]
async fn a_path_that_cannot_be_listened_at_is_named() {
    let missing = tempfile::tempdir().unwrap().path().join("missing/proxy");
    let error = Proxy::listen(&missing, "/nowhere", Gate::new(Seam::TaskSocket)).unwrap_err();
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
}
