//! Signals to processes that are named once and for all, and what `/proc` says about them.
//!
//! A pid is only a number: after its process is reaped the kernel gives it to somebody else. So a [`Process`] is a pidfd, a
//! pinned `/proc` directory and the time of its start, and a signal sent through it reaches that process or nobody.
//!
//! The waits of this module block the thread until their deadline, usually for less than a millisecond; they need neither a
//! runtime nor to be the parent, and they reap nothing.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procfs::ProcError;
use procfs::process::FDTarget;
use serde::{Deserialize, Serialize};

use crate::fault::{self, Action, Fault, Unfit};
use crate::guard::Guard;
use crate::sys::pidfd;

/// How long to look away between two readings of thread states, of which nobody sends word.
const RECHECK: Duration = Duration::from_millis(1);

/// A name for a process that no later process can inherit, on one boot of one kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// As the reader's PID namespace numbers it.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks between boot and its start.
    pub start_ticks: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pid, self.start_ticks)
    }
}

/// What `/proc/PID/stat` says about a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Who it is.
    pub identity: Identity,
    /// Its parent, or the sub-reaper it fell to.
    pub parent: i32,
    /// The state of its first thread, one letter of proc(5): R, S, D, T, t, Z, X, I.
    pub state: char,
    /// The name of its first thread, at most 15 bytes.
    pub comm: String,
    /// Number of its threads.
    pub threads: u32,
}

/// One thread of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Thread {
    /// Its id.
    pub tid: i32,
    /// One letter of proc(5).
    pub state: char,
    /// Its name, at most 15 bytes.
    pub comm: String,
}

/// One open file descriptor of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number.
    pub number: i32,
    /// What it refers to.
    pub target: FDTarget,
}

/// A handle on one process, running or not yet reaped.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    pidfd: OwnedFd,
    /// An open `/proc/PID`: it never shows a later process of the same number.
    proc: procfs::process::Process,
}

impl Process {
    /// The process that has this pid now, in our PID namespace (to which `/proc` must belong).
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] where there is none.
    pub fn open(pid: i32) -> Result<Self, ProcessError> {
        let pidfd = pidfd::open(pid).map_err(|errno| ProcessError::system(pid, "open a pidfd", errno))?;
        let proc = procfs::process::Process::new(pid).map_err(|source| ProcessError::proc(pid, source))?;
        let stat = proc.stat().map_err(|source| ProcessError::proc(pid, source))?;
        // Not reaped even now, so the number had one owner throughout, and all three handles are on it.
        pidfd::send_signal(pidfd.as_fd(), 0).map_err(|errno| ProcessError::system(pid, "probe", errno))?;
        Ok(Self { identity: Identity { pid, start_ticks: stat.starttime }, pidfd, proc })
    }

    /// A process met earlier.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] where it is no more, even if its pid is in use again.
    pub fn reopen(identity: Identity) -> Result<Self, ProcessError> {
        let process = Self::open(identity.pid)?;
        if process.identity == identity { Ok(process) } else { Err(ProcessError::Gone { pid: identity.pid }) }
    }

    /// Its name for life.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Sends a signal; a zombie accepts and ignores it.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] once it is reaped.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<(), ProcessError> {
        pidfd::send_signal(self.pidfd.as_fd(), signal as i32).map_err(|errno| self.error(signal.as_str(), errno))
    }

    /// Waits until every thread has exited. The process is then a zombie, or reaped by its parent.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Deadline`] when it has not.
    pub fn wait_exit(&self, deadline: Instant) -> Result<(), ProcessError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.exits_within(left)? {
                return Ok(());
            }
            if left.is_zero() {
                return Err(self.late("exit"));
            }
        }
    }

    /// Whether every thread has exited.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to say.
    pub fn has_exited(&self) -> Result<bool, ProcessError> {
        self.exits_within(Duration::ZERO)
    }

    /// Sends SIGKILL and waits until the process has exited; one that already has is fine.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Deadline`] when it has not, for example in uninterruptible sleep.
    pub fn kill_and_wait(&self, deadline: Instant) -> Result<(), ProcessError> {
        match self.signal(nix::sys::signal::Signal::SIGKILL) {
            Ok(()) => self.wait_exit(deadline),
            Err(ProcessError::Gone { .. }) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Sends SIGSTOP and waits until every thread stands still. Without the wait a thread may still serve one more call.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Deadline`] when some thread still moves, [`ProcessError::Gone`] when it exited; it is continued in both cases.
    pub fn stop(self, deadline: Instant) -> Result<Stopped, ProcessError> {
        self.signal(nix::sys::signal::Signal::SIGSTOP)?;
        let stopped = Stopped { process: self };
        let process = &stopped.process;
        loop {
            if process.has_exited()? {
                return Err(ProcessError::Gone { pid: process.identity.pid });
            }
            if process.stands_still()? {
                return Ok(stopped);
            }
            if Instant::now() >= deadline {
                return Err(process.late("stop"));
            }
            // Its death is the one thing worth waking up early for.
            process.exits_within(RECHECK)?;
        }
    }

    /// Carries out a fault of [`fault::Seam::Process`] or [`fault::Seam::Containerd`] on this process, now: when the moment of
    /// its trigger has come is for the caller to know. A fatal signal has bitten when it is delivered, a stop when every thread stands
    /// still.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Unfit`] where the fault is no signal; otherwise as [`Process::signal`] and [`Process::stop`].
    pub fn inject(self, fault: &Fault, deadline: Instant) -> Result<Guard, ProcessError> {
        fault.check()?;
        let Action::Signal(_, signal) = fault.does else {
            return Err(Unfit::new(fault, "a process takes nothing but signals").into());
        };
        let (guard, bites) = match signal {
            fault::Signal::Kill => {
                self.signal(nix::sys::signal::Signal::SIGKILL)?;
                Guard::new(fault.id, || ())
            }
            fault::Signal::Terminate => {
                self.signal(nix::sys::signal::Signal::SIGTERM)?;
                Guard::new(fault.id, || ())
            }
            fault::Signal::Stop => {
                let stopped = self.stop(deadline)?;
                Guard::new(fault.id, || drop(stopped))
            }
        };
        bites.count();
        Ok(guard)
    }

    /// What `/proc` says about it now.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] once it is reaped.
    pub fn facts(&self) -> Result<Facts, ProcessError> {
        let stat = self.proc.stat().map_err(|source| self.unreadable(source))?;
        Ok(Facts {
            identity: self.identity,
            parent: stat.ppid,
            state: stat.state,
            comm: stat.comm,
            threads: u32::try_from(stat.num_threads).unwrap_or(0),
        })
    }

    /// Its threads now. One that exits while the list is read is left out.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] once it is reaped.
    pub fn threads(&self) -> Result<Vec<Thread>, ProcessError> {
        let mut threads = Vec::new();
        for task in self.proc.tasks().map_err(|source| self.unreadable(source))? {
            match task.and_then(|task| task.stat()).map_err(|source| self.unreadable(source)) {
                Ok(stat) => threads.push(Thread { tid: stat.pid, state: stat.state, comm: stat.comm }),
                Err(ProcessError::Gone { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        if threads.is_empty() {
            return Err(ProcessError::Gone { pid: self.identity.pid });
        }
        Ok(threads)
    }

    /// Its open descriptors now. One that closes while the list is read is left out.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] once it is reaped.
    pub fn descriptors(&self) -> Result<Vec<Descriptor>, ProcessError> {
        let mut descriptors = Vec::new();
        for fd in self.proc.fd().map_err(|source| self.unreadable(source))? {
            match fd.map_err(|source| self.unreadable(source)) {
                Ok(fd) => descriptors.push(Descriptor { number: fd.fd, target: fd.target }),
                Err(ProcessError::Gone { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        descriptors.sort_by_key(|descriptor| descriptor.number);
        Ok(descriptors)
    }

    fn stands_still(&self) -> Result<bool, ProcessError> {
        let threads = self.threads()?;
        let still = threads.iter().all(|thread| runs_nothing(thread.state));
        // A thread begun behind the reader's back is in the number and not in the list.
        Ok(still && usize::try_from(self.facts()?.threads).is_ok_and(|number| number == threads.len()))
    }

    /// A pidfd becomes readable when the last thread has exited.
    fn exits_within(&self, limit: Duration) -> Result<bool, ProcessError> {
        // Rounded up, so that a wait of less than a millisecond does not spin.
        let ms = limit.as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(i32::try_from(ms).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false), // The callers look at the clock and come back.
            Err(errno) => Err(self.error("poll", errno)),
        }
    }

    fn error(&self, what: &'static str, errno: Errno) -> ProcessError {
        ProcessError::system(self.identity.pid, what, errno)
    }

    fn unreadable(&self, source: ProcError) -> ProcessError {
        ProcessError::proc(self.identity.pid, source)
    }

    fn late(&self, what: &'static str) -> ProcessError {
        ProcessError::Deadline { pid: self.identity.pid, what }
    }
}

impl AsFd for Process {
    /// The pidfd, for a reactor: readable when the process has exited.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Whether a thread in this state runs no code until somebody continues it.
fn runs_nothing(state: char) -> bool {
    matches!(state, 'T' | 't' | 'Z' | 'X')
}

/// A process of which every thread stands still. Dropping it sends SIGCONT.
#[must_use = "a process that is dropped at once runs on"]
#[derive(Debug)]
pub struct Stopped {
    process: Process,
}

impl Stopped {
    /// The process, to look at or to kill.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Stopped {
    /// # Panics
    ///
    /// When the kernel refuses a signal to a process that has just taken one from us; it would stay stopped unnoticed.
    fn drop(&mut self) {
        match self.process.signal(nix::sys::signal::Signal::SIGCONT) {
            Ok(()) | Err(ProcessError::Gone { .. }) => {} // Whoever is gone cannot be left standing.
            Err(error) if std::thread::panicking() => eprintln!("while unwinding: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Why something could not be done to, or learned about, a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It was reaped, or was never there; what has its pid now is somebody else.
    #[error("process {pid} is gone")]
    Gone {
        /// The number it had.
        pid: i32,
    },
    /// It did not do in time what it was made to do.
    #[error("process {pid} did not {what} before the deadline")]
    Deadline {
        /// The process.
        pid: i32,
        /// A verb.
        what: &'static str,
    },
    /// A system call failed.
    #[error("{what} process {pid}")]
    System {
        /// The process.
        pid: i32,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: Errno,
    },
    /// `/proc` could not be read.
    #[error("read /proc/{pid}")]
    Proc {
        /// The process.
        pid: i32,
        /// Why not.
        source: ProcError,
    },
    /// The fault is none for a process.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

impl ProcessError {
    fn system(pid: i32, what: &'static str, errno: Errno) -> Self {
        if errno == Errno::ESRCH { Self::Gone { pid } } else { Self::System { pid, what, source: errno } }
    }

    fn proc(pid: i32, source: ProcError) -> Self {
        let gone = match &source {
            ProcError::NotFound(_) => true,
            ProcError::Io(io, _) => io.raw_os_error() == Some(Errno::ESRCH as i32),
            ProcError::PermissionDenied(_)
            | ProcError::Incomplete(_)
            | ProcError::Other(_)
            | ProcError::InternalError(_) => false,
        };
        if gone { Self::Gone { pid } } else { Self::Proc { pid, source } }
    }
}

#[cfg(test)]
mod tests;
