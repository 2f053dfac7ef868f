//! Terminals: the runtime makes the pair and sends the master over a socket.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    time::timeout,
};

use super::CHUNK;
use crate::{bundle::Bundle, error::Error, sys};

/// What a user types to end the input (VEOF). A terminal's stdin cannot be closed without hanging up its output too.
pub(super) const END_OF_INPUT: u8 = 4;

/// How long a runtime that has returned may take to deliver the terminal.
const DELIVERY_LIMIT: Duration = Duration::from_secs(2);

/// The longest path that fits into a socket address.
const PATH_MAX: usize = 107;

/// A socket in the bundle on which the runtime delivers the terminal; gone when dropped.
pub(super) struct ConsoleSocket {
    listener: tokio::net::UnixListener,
    file: PathBuf,
    path: PathBuf,
    /// Keeps the short path alive.
    _directory: File,
}

impl ConsoleSocket {
    pub(super) fn bind(bundle: &Bundle) -> Result<Self, Error> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let name = format!("pty.{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let directory = File::open(bundle.path()).map_err(Error::io("open", bundle.path()))?;
        let file = bundle.join(&name);
        // A bundle's path may be longer than a socket address; the same directory has a short name in /proc.
        let path = if file.as_os_str().len() <= PATH_MAX {
            file.clone()
        } else {
            PathBuf::from(format!("/proc/{}/fd/{}/{name}", std::process::id(), directory.as_raw_fd()))
        };
        let listener = UnixListener::bind(&path).map_err(Error::io("bind", &file))?;
        listener.set_nonblocking(true).map_err(Error::io("set up", &file))?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(Error::io("watch", &file))?;
        Ok(Self { listener, file, path, _directory: directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal, once the runtime has returned: it is in the socket's queue by then.
    pub(super) async fn accept(self) -> Result<Terminal, Error> {
        let receive = async {
            let (stream, _) = self.listener.accept().await?;
            loop {
                stream.readable().await?;
                match stream.try_io(tokio::io::Interest::READABLE, || sys::receive_descriptor(&stream)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    received => return received,
                }
            }
        };
        match timeout(DELIVERY_LIMIT, receive).await {
            Ok(master) => Ok(Terminal(master.map_err(Error::io("receive a terminal on", &self.file))?)),
            Err(_) => Err(Error::DeadlineExceeded(format!("no terminal on {}", self.file.display()))),
        }
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.file));
    }
}

/// The master side of a terminal.
pub(crate) struct Terminal(OwnedFd);

impl Terminal {
    /// Sets the size in characters.
    pub(crate) fn resize(&self, width: u32, height: u32) -> io::Result<()> {
        let clamp = |size| u16::try_from(size).unwrap_or(u16::MAX);
        sys::resize(&self.0, clamp(width), clamp(height))
    }

    /// The input and the output of the terminal, to copy to and from.
    pub(super) fn halves(&self) -> Result<(pipe::Sender, pipe::Receiver), Error> {
        let error = || Error::io("use", "a terminal");
        let copy = || self.0.try_clone().map(File::from).map_err(error());
        let (input, output) = (copy()?, copy()?);
        sys::set_nonblocking(&self.0).map_err(error())?;
        // tokio's pipes do what is needed here: wait for readiness, read and write. That it is none does not matter.
        let input = pipe::Sender::from_file_unchecked(input).map_err(error())?;
        let output = pipe::Receiver::from_file_unchecked(output).map_err(error())?;
        Ok((input, output))
    }
}

/// Where a terminal's output goes.
pub(super) enum Sink {
    Pipe(pipe::Sender),
    File(File),
    Nowhere,
}

impl Sink {
    pub(super) fn new(fd: Option<OwnedFd>) -> Result<Self, Error> {
        let Some(fd) = fd else { return Ok(Self::Nowhere) };
        let file = File::from(fd);
        let metadata = file.metadata().map_err(Error::io("examine", "stdout"))?;
        if metadata.is_file() {
            return Ok(Self::File(file));
        }
        sys::set_nonblocking(&file).map_err(Error::io("set up", "stdout"))?;
        pipe::Sender::from_file_unchecked(file).map(Self::Pipe).map_err(Error::io("use", "stdout"))
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::File(file) => file.write_all(bytes),
            Self::Nowhere => Ok(()),
        }
    }
}

/// Copies until every process has closed the terminal; then reading fails with EIO.
pub(super) async fn copy_output(mut from: pipe::Receiver, mut to: Sink) {
    let mut buffer = [0; CHUNK];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
