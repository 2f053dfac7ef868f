//! A proxy that knows ttrpc frames, to stand between two parties that know nothing of it.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::{Barrier, oneshot};
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
        Ok(Self { path, gate, traffic, stop, server })
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

    /// How many of them were hung up on at once, because nobody answered upstream or we ran out of descriptors.
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
        self.server.join_next().await.expect("the proxy has one task").expect("it was not aborted and did not panic")
    }
}

async fn forward(client: UnixStream, upstream: PathBuf, conversation: Conversation, traffic: Arc<Traffic>) {
    traffic.accepted.fetch_add(1, Ordering::Relaxed);
    let opened = async {
        let server = UnixStream::connect(&upstream).await?;
        Ok::<_, io::Error>((hangup(&client)?, hangup(&server)?, server))
    };
    match opened.await {
        Ok((client_gone, server_gone, server)) => {
            converse((client, client_gone), (server, server_gone), &conversation).await;
        }
        // The client sees what it would see of a server that dies as it connects.
        Err(_) => drop(traffic.unreachable.fetch_add(1, Ordering::Relaxed)),
    }
}

/// Resolves when the peer of `stream` has closed it, and not when it has only ended its own direction.
pub(super) fn hangup(stream: &UnixStream) -> io::Result<impl Future<Output = ()> + Send + use<>> {
    // A descriptor of its own: waiting for the next edge means to declare the socket unwritable, on which writers rely.
    let twin = UnixStream::from_std(stream.as_fd().try_clone_to_owned()?.into())?;
    Ok(async move {
        // A reactor that is shutting down takes everybody's connections with it.
        while let Ok(ready) = twin.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            let _declared: io::Result<()> = twin.try_io(Interest::WRITABLE, || Err(io::ErrorKind::WouldBlock.into()));
        }
    })
}

/// Forwards both ways until both have ended, one is broken, or a party that has ended its direction is gone altogether; then both
/// sides are closed. Each side is a stream, and a future that says when its peer is gone.
pub(super) async fn converse<C, S>(
    (client, client_gone): (C, impl Future<Output = ()>),
    (server, server_gone): (S, impl Future<Output = ()>),
    conversation: &Conversation,
) where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let both_ended = Barrier::new(2);
    // A party that is gone still gets delivered what it has sent, and only then is missed.
    let requests = async {
        pump(conversation, Direction::Requests, &mut from_client, &mut to_server).await?;
        until_over(client_gone, &both_ended).await
    };
    let answers = async {
        pump(conversation, Direction::Answers, &mut from_server, &mut to_client).await?;
        until_over(server_gone, &both_ended).await
    };
    // An error is no news to anybody: that the connection is closed tells both sides.
    let _: Result<_, Broken> = tokio::try_join!(requests, answers);
}

async fn until_over(gone: impl Future<Output = ()>, both_ended: &Barrier) -> Result<(), Broken> {
    tokio::select! {
        () = gone => Err(Broken),
        _ = both_ended.wait() => Ok(()),
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
    from: &mut ReadHalf<R>,
    to: &mut WriteHalf<W>,
) -> Result<(), Broken> {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; 16 << 10];
    let mut kept = Vec::new();
    let mut ended = false;
    loop {
        while let Some(piece) = decoder.next_piece() {
            match pass(conversation, direction, piece, to).await? {
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
