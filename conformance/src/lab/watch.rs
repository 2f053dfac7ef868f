//! How the processes that hold a world wait: for the end of a child, and for the word to end it.
//!
//! The word is SIGTERM. The runner says it, and the kernel does when the runner dies; a world therefore has somebody to take it down even
//! when nobody is left to ask for it.

use std::{os::fd::AsFd as _, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getppid},
};

use super::deadline;

/// Listens from its beginning on, so that no word is missed.
pub(super) struct Watch {
    signals: SignalFd,
}

/// How the wait ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// The child's exit status; `None` when a signal ended it.
    pub(super) code: Option<ExitCode>,
    /// Whether the word came before.
    pub(super) told: bool,
}

impl Watch {
    /// Listens for children and for the word, which also the death of `parent` is.
    pub(super) fn begin(parent: Pid) -> Result<Self> {
        let signals = listened();
        signals.thread_block().context("block the signals of a world")?;
        die_with(parent, Signal::SIGTERM)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&signals, flags).context("listen for the signals of a world")?;
        Ok(Self { signals })
    }

    /// Reaps every child until `awaited` ends. After the word it calls `end` again and again until then.
    pub(super) fn await_exit(&self, awaited: Pid, mut end: impl FnMut() -> Result<()>) -> Result<Ended> {
        let mut told = false;
        loop {
            if let Some(code) = reap(awaited)? {
                return Ok(Ended { code, told });
            }
            if told {
                end()?;
            }
            let mut heard = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let limit = if told { PollTimeout::try_from(deadline::INTERVAL)? } else { PollTimeout::NONE };
            match poll(&mut heard, limit) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e).context("wait for the signals of a world"),
            }
            while let Some(signal) = self.signals.read_signal().context("read the signals of a world")? {
                told |= i32::try_from(signal.ssi_signo) == Ok(Signal::SIGTERM as i32);
            }
        }
    }
}

/// For children that do not listen: signals do to them what they do to every program.
pub(super) fn stop_listening() -> Result<()> {
    listened().thread_unblock().context("unblock the signals of a world")
}

fn listened() -> SigSet {
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGCHLD])
}

/// Asks the kernel for `signal` when `parent` dies.
pub(super) fn die_with(parent: Pid, signal: Signal) -> Result<()> {
    set_pdeathsig(signal).context("tie the world to its parent")?;
    if getppid() != parent {
        bail!("the parent died before the world began");
    }
    Ok(())
}

/// Reaps who has ended. How `awaited` did, when it is among them.
fn reap(awaited: Pid) -> Result<Option<Option<ExitCode>>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == awaited => {
                return Ok(Some(Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))));
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid == awaited => return Ok(Some(None)),
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).context("wait for the world's processes"),
        }
    }
}
