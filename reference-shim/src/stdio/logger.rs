//! `binary://`: a program that takes a process's output.

use std::{
    ffi::OsString,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};

use super::{Owner, new_pipe};
use crate::{error::Error, reaper::Helper, sys};

/// How long a logger may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A dying program's descriptors close a moment before its death can be seen.
const DEATH_LIMIT: Duration = Duration::from_millis(20);

/// How long a logger may take to write what it has read, after the end of its input.
const FINISH_LIMIT: Duration = Duration::from_secs(3);

/// How long it may take after SIGTERM (containerd: `cmd/containerd-shim-runc-v2/process/io.go`).
const TERM_LIMIT: Duration = Duration::from_secs(12);

/// A running logger. Dropping it kills it.
pub(super) struct Logger(Helper);

impl Logger {
    /// Starts the program with the read ends of both streams and waits until it says that it is ready.
    pub(super) async fn start(
        program: &Path,
        args: &[OsString],
        confirms: bool,
        owner: &Owner<'_>,
        [stdout, stderr]: [&OwnedFd; 2],
    ) -> Result<Self, Error> {
        let (ready, wait) = new_pipe()?;
        let mut command = Command::new(program);
        command.args(args).env_clear().env("CONTAINER_ID", owner.id).env("CONTAINER_NAMESPACE", owner.namespace);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let descriptors = [stdout.as_fd(), stderr.as_fd(), wait.as_fd()];
        sys::pass_descriptors(&mut command, descriptors).map_err(Error::io("pass pipes to", program))?;
        let helper = owner.reaper.spawn(&mut command).map_err(Error::io("start logger", program))?;
        drop(command); // it holds duplicates of the pipes' ends
        drop(wait);
        let mut logger = Self(helper);
        let ready = pipe::Receiver::from_owned_fd(ready).map_err(Error::io("watch logger", program))?;
        match timeout(READY_LIMIT, logger.ready(ready, confirms)).await {
            Ok(true) => Ok(logger),
            Ok(false) => Err(Error::Other(format!("logger {} ended before it was ready", program.display()))),
            Err(_) => Err(Error::DeadlineExceeded(format!("logger {} is not ready", program.display()))),
        }
    }

    async fn ready(&mut self, mut pipe: pipe::Receiver, confirms: bool) -> bool {
        let told = pipe.read_u8().await.is_ok();
        told || (!confirms && timeout(DEATH_LIMIT, self.0.wait()).await.is_err())
    }

    /// Its input has ended: lets it finish, asks it to, makes it.
    pub(super) async fn finish(mut self) {
        if timeout(FINISH_LIMIT, self.0.wait()).await.is_ok() {
            return;
        }
        self.0.signal(Signal::SIGTERM);
        // What outlives this is killed by the drop.
        drop(timeout(TERM_LIMIT, self.0.wait()).await);
    }
}
