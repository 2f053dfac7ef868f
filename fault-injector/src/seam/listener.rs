//! A listening unix socket that can go away and come back.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::gate::Gate;
use crate::fault::Leftover;

/// Listens at a path while its gate admits. Dropping it removes the path.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    gate: Gate,
    /// Gone while the gate refuses.
    socket: Option<UnixListener>,
}

/// What [`Listener::next`] has seen.
#[derive(Debug)]
pub enum Arrival {
    /// Somebody connected.
    Connection(UnixStream),
    /// The listening socket is closed. Before calling [`Listener::next`] again, close every connection: that call tells the guard
    /// that the refusal is in effect, and returns when there is a connection again.
    Refusing,
}

impl Listener {
    /// Listens at once, in the place of whatever socket was there.
    ///
    /// # Errors
    ///
    /// As bind(2); the path may be 107 bytes long.
    pub fn bind(path: impl Into<PathBuf>, gate: Gate) -> io::Result<Self> {
        let path = path.into();
        let socket = Some(bind(&path)?);
        Ok(Self { path, gate, socket })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The gate that decides.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Waits for a connection or for the gate. Nothing is lost when the wait is abandoned.
    ///
    /// # Errors
    ///
    /// When the socket cannot accept, or cannot be bound again.
    pub async fn next(&mut self) -> io::Result<Arrival> {
        if self.socket.is_none() {
            self.gate.closed().await;
        }
        let socket = match &mut self.socket {
            Some(socket) => socket,
            gone @ None => gone.insert(bind(&self.path)?),
        };
        tokio::select! {
            biased; // Who connects after a fault was injected is refused.
            leftover = self.gate.refusing() => {
                self.socket = None;
                match leftover {
                    Leftover::Path => {}
                    Leftover::Nothing => unlink(&self.path)?,
                }
                Ok(Arrival::Refusing)
            }
            accepted = socket.accept() => Ok(Arrival::Connection(accepted?.0)),
        }
    }

    /// Runs `handle` for each connection, each in a task of its own, until `shutdown` resolves. When it returns, or the gate
    /// refuses, every one of them is closed; when its future is dropped they close as soon as the runtime gets to it.
    ///
    /// # Errors
    ///
    /// As [`Listener::next`].
    ///
    /// # Panics
    ///
    /// When a handler has.
    pub async fn serve<H>(
        mut self,
        mut handle: impl FnMut(UnixStream) -> H,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()>
    where
        H: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                arrival = self.next() => match arrival? {
                    Arrival::Connection(stream) => drop(connections.spawn(handle(stream))),
                    Arrival::Refusing => connections.shutdown().await,
                },
                Some(ended) = connections.join_next() => ended.expect("no connection is aborted while it may be joined"),
            }
        }
        connections.shutdown().await;
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.socket.is_some() {
            // A path that is gone already, or with its whole directory, is as good as removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    unlink(path)?;
    UnixListener::bind(path).map_err(|error| named("listen at", path, &error))
}

fn unlink(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named("remove", path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn named(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}
