//! A proxy that knows ttrpc frames, to stand between two parties that know nothing of it.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::gate::{Aftermath, Conversation, Gate};
use super::listener::Listener;
use crate::fault::{Direction, Fault, Unfit};
use crate::frame::{Decoder, Piece};
use crate::guard::Guard;

/// Listens at one path, connects to another, and forwards frames both ways through a [`Gate`].
///
/// A frame is forwarded when it is complete; what its sender left incomplete follows at the end of the connection. Dropping the proxy
/// closes its sockets as soon as the runtime gets to it; [`Proxy::close`] waits for that.
#[derive(Debug)]
pub struct Proxy {
    path: PathBuf,
    gate: Gate,
    traffic: Arc<Traffic>,
    /// Tells the task below to end; it also ends when this is dropped.
    stop: oneshot::Sender<()>,
    /// The one task that owns the listener and every connection.
    server: JoinSet<io::Result<()>>,
}

#[derive(Debug, Default)]
struct Traffic {
    accepted: AtomicU32,
    unreachable: AtomicU32,
}

impl Proxy {
    /// Listens at `path` from now on; each client there gets a connection of its own to `upstream`. A runtime must be running.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`].
    pub fn listen(path: impl Into<PathBuf>, upstream: impl Into<PathBuf>, gate: Gate) -> io::Result<Self> {
        let (path, upstream) = (path.into(), upstream.into());
        let listener = Listener::bind(&path, gate.clone())?;
        let traffic = Arc::new(Traffic::default());
        let (stop, stopped) = oneshot::channel::<()>();

        let handle = {
            let (gate, traffic) = (gate.clone(), Arc::clone(&traffic));
            move |client| forward(client, upstream.clone(), gate.conversation(), Arc::clone(&traffic))
        };
        let mut server = JoinSet::new();
        server.spawn(listener.serve(handle, async { drop(stopped.await) }));
        Ok(Self {
            path,
            gate,
            traffic,
            stop,
            server,
        })
    }

    /// Where clients connect.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The faults in force.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Puts a fault in force.
    ///
    /// # Errors
    ///
    /// As [`Gate::inject`].
    pub fn inject(&self, fault: &Fault) -> Result<Guard, Unfit> {
        self.gate.inject(fault)
    }

    /// How many clients connected so far.
    pub fn accepted(&self) -> u32 {
        self.traffic.accepted.load(Ordering::Relaxed)
    }

    /// How many of them were hung up on, because nobody answered upstream.
    pub fn unreachable(&self) -> u32 {
        self.traffic.unreachable.load(Ordering::Relaxed)
    }

    /// Closes every socket and waits until that is done.
    ///
    /// # Errors
    ///
    /// What ended the proxy before its time.
    ///
    /// # Panics
    ///
    /// When one of its tasks has.
    pub async fn close(mut self) -> io::Result<()> {
        drop(self.stop);
        self.server
            .join_next()
            .await
            .expect("the proxy has one task")
            .expect("it was not aborted and did not panic")
    }
}

async fn forward(client: UnixStream, upstream: PathBuf, conversation: Conversation, traffic: Arc<Traffic>) {
    traffic.accepted.fetch_add(1, Ordering::Relaxed);
    match UnixStream::connect(&upstream).await {
        Ok(server) => converse(client, server, &conversation).await,
        // The client sees what it would see of a server that dies as it connects.
        Err(_) => drop(traffic.unreachable.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Forwards both ways until both have ended or one is broken; then both sides are closed.
pub(super) fn converse<C, S>(client: C, server: S, conversation: &Conversation) -> impl Future<Output = ()> + Send
where
    C: AsyncRead + AsyncWrite + Send,
    S: AsyncRead + AsyncWrite + Send,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    async {
        // An error is no news to anybody: that the connection is closed tells both sides.
        let _: Result<_, Broken> = tokio::try_join!(
            pump(conversation, Direction::Requests, from_client, to_server),
            pump(conversation, Direction::Answers, from_server, to_client),
        );
    }
}

/// The connection is to be closed in both directions, by a fault or because a peer is gone.
struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// Forwards one direction until its sender has no more to send.
async fn pump<R: AsyncRead, W: AsyncWrite>(
    conversation: &Conversation,
    direction: Direction,
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
) -> Result<(), Broken> {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; 16 << 10];
    let mut kept = Vec::new();
    let mut ended = false;
    loop {
        while let Some(piece) = decoder.next_piece() {
            match pass(conversation, direction, piece, &mut to).await? {
                Aftermath::GoOn => {}
                Aftermath::Keep(frame) => kept.push(frame),
                Aftermath::EndDirection => return Ok(to.shutdown().await?),
                Aftermath::Close => return Err(Broken),
            }
        }
        if ended && kept.is_empty() {
            to.write_all(decoder.unfinished()).await?;
            return Ok(to.shutdown().await?);
        }
        tokio::select! {
            read = from.read(&mut buffer), if !ended => match read? {
                0 => ended = true,
                count => decoder.feed(&buffer[..count]),
            },
            frame = conversation.released(&mut kept), if !kept.is_empty() => to.write_all(&frame.to_bytes()).await?,
        }
    }
}

async fn pass<W: AsyncWrite>(
    conversation: &Conversation,
    direction: Direction,
    piece: Piece,
    to: &mut WriteHalf<W>,
) -> io::Result<Aftermath> {
    match piece {
        Piece::Frame(frame) => match conversation.judge(direction, &frame) {
            Some(strike) => return strike.apply(frame, to).await,
            None => to.write_all(&frame.to_bytes()).await?,
        },
        // No fault applies to what is illegal already.
        Piece::Oversize(header) => to.write_all(&header.to_bytes()).await?,
        Piece::Excess(bytes) => to.write_all(&bytes).await?,
    }
    Ok(Aftermath::GoOn)
}

#[cfg(test)]
mod tests;
