//! The client's side of a process's standard streams: FIFOs that outlive every containerd, as with CRI and ctr.

use std::{cell::RefCell, fs, io::Write as _, path::PathBuf, rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::{
    io::Interest,
    net::unix::pipe,
    sync::Notify,
    task::{AbortHandle, spawn_local},
};

use super::{Lab, message::Stdio};
use crate::{check::Stop, history::Target};

/// Everything that came out of one stream.
#[derive(Debug, Default)]
pub struct Output {
    bytes: RefCell<Vec<u8>>,
    ended: RefCell<bool>,
    news: Notify,
}

/// The FIFOs of one process.
#[derive(Debug)]
pub struct Streams {
    /// Their paths, as the shim is told them.
    pub paths: Stdio,
    /// What came from standard output.
    pub stdout: Rc<Output>,
    /// What came from standard error.
    pub stderr: Rc<Output>,
    stdin: RefCell<Option<fs::File>>,
    readers: RefCell<Vec<AbortHandle>>,
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Which streams a process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wiring {
    /// None: everything is /dev/null.
    #[default]
    Null,
    /// Standard output and error.
    Output,
    /// All three.
    All,
    /// A terminal: input and output.
    Terminal,
}

impl Streams {
    /// Makes the FIFOs of `target` and opens their client ends.
    ///
    /// # Errors
    ///
    /// When a FIFO cannot be made; the suite's fault.
    pub fn open(lab: &Lab, target: &Target, wiring: Wiring) -> Result<Self> {
        let fifo = |stream: &str| -> Result<PathBuf> {
            let name = format!("{}-{}-{stream}", target.container, target.exec);
            let path = lab.places().fifos.join(name);
            mkfifo(&path, Mode::from_bits_truncate(0o700)).with_context(|| format!("make FIFO {}", path.display()))?;
            Ok(path)
        };
        let mut streams = Self {
            paths: Stdio { terminal: wiring == Wiring::Terminal, ..Stdio::default() },
            stdout: Rc::default(),
            stderr: Rc::default(),
            stdin: RefCell::default(),
            readers: RefCell::default(),
        };
        if matches!(wiring, Wiring::All | Wiring::Terminal) {
            let path = fifo("stdin")?;
            // For reading too, so that opening does not wait for the shim.
            let file = fs::OpenOptions::new().read(true).write(true).open(&path).context("open stdin")?;
            *streams.stdin.borrow_mut() = Some(file);
            streams.paths.stdin = path.display().to_string();
        }
        if wiring != Wiring::Null {
            let path = fifo("stdout")?;
            streams.read(&path, streams.stdout.clone(), lab)?;
            streams.paths.stdout = path.display().to_string();
        }
        if matches!(wiring, Wiring::Output | Wiring::All) {
            let path = fifo("stderr")?;
            streams.read(&path, streams.stderr.clone(), lab)?;
            streams.paths.stderr = path.display().to_string();
        }
        Ok(streams)
    }

    fn read(&self, path: &PathBuf, output: Rc<Output>, lab: &Lab) -> Result<()> {
        let reader =
            pipe::OpenOptions::new().open_receiver(path).with_context(|| format!("open {}", path.display()))?;
        let recorder = lab.recorder().clone();
        let task = spawn_local(async move {
            let mut buffer = vec![0; 64 << 10];
            // Readiness first: before the shim has opened its end a read would say "end".
            loop {
                if let Err(e) = reader.ready(Interest::READABLE).await {
                    recorder.trouble(format!("wait for output: {e}"));
                    return;
                }
                match reader.try_read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => output.bytes.borrow_mut().extend_from_slice(&buffer[..length]),
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
                    Err(e) => recorder.trouble(format!("read output: {e}")),
                }
                output.news.notify_waiters();
            }
            *output.ended.borrow_mut() = true;
            output.news.notify_waiters();
        });
        self.readers.borrow_mut().push(task.abort_handle());
        Ok(())
    }

    /// Writes to standard input.
    ///
    /// # Errors
    ///
    /// When the process has none.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut stdin = self.stdin.borrow_mut();
        stdin.as_mut().context("the process has no stdin")?.write_all(bytes).context("write to stdin")
    }

    /// Opens standard input again, as a client that attaches.
    ///
    /// # Errors
    ///
    /// When the FIFO cannot be opened; the suite's fault.
    pub fn reopen_stdin(&self) -> Result<()> {
        let path = &self.paths.stdin;
        let file = fs::OpenOptions::new().read(true).write(true).open(path);
        *self.stdin.borrow_mut() = Some(file.with_context(|| format!("open {path}"))?);
        Ok(())
    }

    /// Opens the reading ends again, as a client that attaches.
    ///
    /// # Errors
    ///
    /// When a FIFO cannot be opened; the suite's fault.
    pub fn attach(&self, lab: &Lab) -> Result<()> {
        for (path, output) in [(&self.paths.stdout, &self.stdout), (&self.paths.stderr, &self.stderr)] {
            if !path.is_empty() {
                self.read(&PathBuf::from(path), output.clone(), lab)?;
            }
        }
        Ok(())
    }

    /// Closes the client's end of standard input.
    pub fn close_stdin(&self) {
        self.stdin.borrow_mut().take();
    }

    /// Closes the client's reading ends, as when the client dies.
    pub fn detach(&self) {
        for reader in self.readers.borrow_mut().drain(..) {
            reader.abort();
        }
    }
}

impl Output {
    /// Waits until `wanted` likes what has come, and returns it.
    ///
    /// # Errors
    ///
    /// A violation naming `what` was expected, when `limit` passes first.
    pub async fn until(
        &self,
        lab: &Lab,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, Stop> {
        let look = async {
            loop {
                let news = self.news.notified();
                let bytes = self.seen(lab);
                if wanted(&bytes) {
                    return bytes;
                }
                news.await;
            }
        };
        match tokio::time::timeout(lab.scaled(limit), look).await {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(Stop::violated("output did not arrive", what, brief(&self.seen(lab)))),
        }
    }

    /// Waits for the end of the stream, and returns all of it.
    ///
    /// # Errors
    ///
    /// A violation when it does not end within `limit`.
    pub async fn to_end(&self, lab: &Lab, limit: Duration) -> Result<Vec<u8>, Stop> {
        let end = async {
            loop {
                let news = self.news.notified();
                if *self.ended.borrow() {
                    return;
                }
                news.await;
            }
        };
        match tokio::time::timeout(lab.scaled(limit), end).await {
            Ok(()) => Ok(self.seen(lab)),
            Err(_) => Err(Stop::violated("the stream does not end", "its end", brief(&self.seen(lab)))),
        }
    }

    /// What has come so far.
    pub fn seen(&self, lab: &Lab) -> Vec<u8> {
        let mut bytes = self.bytes.borrow().clone();
        if let Some(lie) = lab.lie() {
            lie.output(&mut bytes);
        }
        bytes
    }
}

fn brief(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "nothing".to_owned(),
        length @ 1..=200 => format!("{length} bytes: {:?}", String::from_utf8_lossy(bytes)),
        length => format!("{length} bytes"),
    }
}
