//! Every child of the shim is reaped here: the runtime's processes, containers, loggers, and orphans.
//!
//! One `waitid` loop and one owner: tokio's own process support would race with it for the same children, so the
//! shim starts processes with `std` and learns of their ends from [`Reaper::collect`]. Registration needs no care
//! about fast exits, because the shim has one thread: nothing is reaped between a spawn and the line after it.

use std::{
    collections::HashMap,
    io,
    os::unix::process::CommandExt,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::sync::oneshot;

use crate::sys::{self, Death};

type Helpers = HashMap<u32, oneshot::Sender<u32>>;

/// Starts helper processes and reaps all children.
#[derive(Clone, Default)]
pub(crate) struct Reaper {
    /// Who waits for which helper. A std mutex: never held across an await.
    helpers: Arc<Mutex<Helpers>>,
}

impl Reaper {
    /// Starts a process in a process group of its own.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Helper> {
        let child = command.process_group(0).spawn()?;
        let (sender, exit) = oneshot::channel();
        self.helpers.lock().unwrap_or_else(PoisonError::into_inner).insert(child.id(), sender);
        Ok(Helper { pid: child.id(), exit, status: None })
    }

    /// Reaps every dead child. Helpers' ends go to those who wait for them; the others are returned.
    pub(crate) fn collect(&self) -> Vec<Death> {
        let mut others = Vec::new();
        loop {
            match sys::reap_one() {
                Ok(Some(death)) => {
                    let helper = self.helpers.lock().unwrap_or_else(PoisonError::into_inner).remove(&death.pid);
                    match helper {
                        // Nobody may wait any more: the caller has gone and the helper was killed for it.
                        Some(waiter) => drop(waiter.send(death.status)),
                        None => others.push(death),
                    }
                }
                Ok(None) => return others,
                Err(error) => {
                    log!("cannot reap: {error}");
                    return others;
                }
            }
        }
    }
}

/// A process of the shim's own. Dropping it kills it with its process group; the reaper buries it.
pub(crate) struct Helper {
    pid: u32,
    exit: oneshot::Receiver<u32>,
    /// How it ended, once that is known.
    status: Option<u32>,
}

impl Helper {
    /// Waits for its end and says its status; 128 plus the number for a signal. Can be cancelled and called again.
    pub(crate) async fn wait(&mut self) -> u32 {
        match self.status {
            Some(status) => status,
            None => *self.status.insert((&mut self.exit).await.unwrap_or(LOST)),
        }
    }

    /// Sends it and its process group a signal unless it has been reaped.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.status.is_none() {
            self.status = self.exit.try_recv().ok();
        }
        if self.status.is_none() {
            let pid = Pid::from_raw(i32::try_from(self.pid).unwrap_or(i32::MAX));
            // Either can fail only because the process is gone, which is what a signal is for.
            let _ = killpg(pid, signal);
            let _ = kill(pid, signal);
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// The status of a helper that somebody else reaped; cannot happen while there is one reaper.
const LOST: u32 = 255;
