//! The stdin, stdout and stderr of a process, from the client's paths to the process and back.
//!
//! Output goes straight into the client's FIFO: the process writes to it itself, so data is never in the shim's hands
//! and cannot die with it, and nothing is copied. The shim only holds a read end, so that readers may leave and come
//! back without the writer noticing. Input is copied, because the end of input is a call (`CloseIO`) and not the
//! client's closing of its FIFO. A terminal is copied both ways.

mod fifo;
mod logger;
mod terminal;
mod uri;

use std::{
    fs::{DirBuilder, OpenOptions},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::Path,
    process::Stdio,
    time::Duration,
};

use nix::{fcntl::OFlag, unistd::pipe2};
use tokio::{io::AsyncWriteExt, net::unix::pipe, sync::oneshot, task::JoinHandle, time::timeout};

use self::{logger::Logger, terminal::ConsoleSocket, uri::Target};
use crate::{bundle::Bundle, error::Error, reaper::Reaper, runtime::Streams};

/// What the client asked for, exactly as it asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Whose streams they are.
pub(crate) struct Owner<'a> {
    pub(crate) reaper: &'a Reaper,
    pub(crate) bundle: &'a Bundle,
    pub(crate) namespace: &'a str,
    pub(crate) id: &'a str,
}

/// Streams that are open, before there is a process.
pub(crate) struct Opened {
    stdin: Option<pipe::Receiver>,
    output: Output,
    console: Option<ConsoleSocket>,
    /// The shim's end of the process's stdin, unless that is a terminal.
    feed: Option<pipe::Sender>,
}

/// Where the process's output goes.
#[derive(Default)]
struct Output {
    /// The shim's write end, for a terminal.
    stdout: Option<OwnedFd>,
    /// Held so that a reader may leave.
    readers: Vec<OwnedFd>,
    logger: Option<Logger>,
}

impl Opened {
    /// The socket on which the runtime delivers the terminal.
    pub(crate) fn console_socket(&self) -> Option<&Path> {
        self.console.as_ref().map(ConsoleSocket::path)
    }

    /// Starts to copy, now that the process exists.
    pub(crate) async fn connect(self) -> Result<Io, Error> {
        let mut io = Io { readers: self.output.readers, logger: self.output.logger, ..Io::default() };
        if let Some(console) = self.console {
            let terminal = console.accept().await?;
            let (input, output) = terminal.halves()?;
            let sink = terminal::Sink::new(self.output.stdout)?;
            io.drain = Some(tokio::spawn(terminal::copy_output(output, sink)));
            io.stdin = self.stdin.map(|stdin| Pump::start(stdin, input, Some(terminal::END_OF_INPUT)));
            io.terminal = Some(terminal);
        } else if let (Some(stdin), Some(feed)) = (self.stdin, self.feed) {
            io.stdin = Some(Pump::start(stdin, feed, None));
        }
        Ok(io)
    }
}

/// The streams of a process that exists.
#[derive(Default)]
pub(crate) struct Io {
    stdin: Option<Pump>,
    readers: Vec<OwnedFd>,
    logger: Option<Logger>,
    terminal: Option<terminal::Terminal>,
    /// Copies the terminal's output; ends when every process has closed the terminal.
    drain: Option<JoinHandle<()>>,
}

/// How long a removal waits for a client to take the terminal's last output.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

impl Io {
    /// The process reads the end of its input after what the client has written so far.
    pub(crate) fn close_stdin(&mut self) {
        if let Some(pump) = self.stdin.as_mut() {
            pump.close();
        }
    }

    /// Whether the process has a terminal.
    pub(crate) fn terminal(&self) -> Option<&terminal::Terminal> {
        self.terminal.as_ref()
    }

    /// Lets the last output through, within limits, and closes everything.
    pub(crate) async fn finish(mut self) {
        if let Some(drain) = self.drain.as_mut()
            && timeout(DRAIN_LIMIT, &mut *drain).await.is_err()
        {
            drain.abort();
        }
        if let Some(logger) = self.logger.take() {
            logger.finish().await;
        }
        // The read ends go last: until here the output of the process is kept for whoever comes to read it.
        self.readers.clear();
    }
}

/// Opens everything, so that what cannot be opened is known before there is a process; returns what the process is to
/// be started with.
pub(crate) async fn open(paths: &Paths, owner: &Owner<'_>) -> Result<(Opened, Streams), Error> {
    let stdin = if paths.stdin.is_empty() { None } else { Some(fifo::open_stdin(&paths.stdin)?) };
    let mut streams = Streams::null();
    let (mut output, mut feed, mut console) = (Output::default(), None, None);
    if paths.terminal {
        // A terminal has one output; whatever the client says about stderr means nothing.
        let (stdout, _) = open_output(&paths.stdout, "", owner, &mut output).await?;
        output.stdout = stdout;
        console = Some(ConsoleSocket::bind(owner.bundle)?);
    } else {
        let (stdout, stderr) = open_output(&paths.stdout, &paths.stderr, owner, &mut output).await?;
        streams.stdout = stdout.map_or_else(Stdio::null, Stdio::from);
        streams.stderr = stderr.map_or_else(Stdio::null, Stdio::from);
        if stdin.is_some() {
            let (read, write) = new_pipe()?;
            streams.stdin = read.into();
            feed = Some(fifo::sender(write)?);
        }
    }
    Ok((Opened { stdin, output, console, feed }, streams))
}

/// Opens the targets of stdout and stderr and returns the ends to write to.
async fn open_output(
    stdout: &str,
    stderr: &str,
    owner: &Owner<'_>,
    output: &mut Output,
) -> Result<(Option<OwnedFd>, Option<OwnedFd>), Error> {
    match Target::parse(stdout)? {
        // These two take both streams, whatever is said about stderr.
        Target::File(path) => {
            let file = open_file(&path)?;
            let copy = file.try_clone().map_err(Error::io("duplicate", &path))?;
            Ok((Some(file), Some(copy)))
        }
        Target::Logger { program, args, confirms } => {
            let (read_out, write_out) = new_pipe()?;
            let (read_err, write_err) = new_pipe()?;
            let logger = Logger::start(&program, &args, confirms, owner, [&read_out, &read_err]).await?;
            output.logger = Some(logger);
            output.readers.extend([read_out, read_err]);
            Ok((Some(write_out), Some(write_err)))
        }
        stdout @ (Target::Null | Target::Fifo(_)) => {
            let out = open_plain(stdout, output).await?;
            let err = open_plain(Target::parse(stderr)?, output).await?;
            Ok((out, err))
        }
    }
}

async fn open_plain(target: Target, output: &mut Output) -> Result<Option<OwnedFd>, Error> {
    match target {
        Target::Null => Ok(None),
        Target::File(path) => open_file(&path).map(Some),
        Target::Logger { .. } => Err(Error::InvalidArgument("stderr alone cannot have a logger".to_owned())),
        Target::Fifo(path) => {
            let (write, read) = fifo::open_output(&path).await?;
            output.readers.extend(read);
            Ok(Some(write))
        }
    }
}

fn open_file(path: &Path) -> Result<OwnedFd, Error> {
    let parent = path.parent().unwrap_or_else(|| Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(Error::io("make", parent))?;
    let mut options = OpenOptions::new();
    fifo::open_plain(options.append(true).create(true).mode(0o644), path)
}

fn new_pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::io("make", "a pipe")(errno.into()))
}

/// Copies the client's stdin to the process until told that it is over.
struct Pump {
    close: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Pump {
    fn start(from: pipe::Receiver, to: pipe::Sender, farewell: Option<u8>) -> Self {
        let (close, closed) = oneshot::channel();
        Self { close: Some(close), task: tokio::spawn(pump(from, to, closed, farewell)) }
    }

    fn close(&mut self) {
        if let Some(close) = self.close.take() {
            // The pump has ended by itself when the process closed its stdin.
            let _ = close.send(());
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const CHUNK: usize = 4096;

async fn pump(from: pipe::Receiver, mut to: pipe::Sender, mut closed: oneshot::Receiver<()>, farewell: Option<u8>) {
    let mut buffer = [0; CHUNK];
    let mut closing = false;
    loop {
        match from.try_read(&mut buffer) {
            Ok(length) if length > 0 => {
                // An error means that the process has closed its stdin: nobody is left to copy for.
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
            // Everything that the client wrote before it asked for the end has been passed on.
            _ if closing => break,
            Ok(_) => return,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => tokio::select! {
                ready = from.readable() => if ready.is_err() { return },
                _ = &mut closed => closing = true,
            },
            Err(_) => return,
        }
    }
    if let Some(byte) = farewell {
        drop(to.write_all(&[byte]).await);
    }
}
