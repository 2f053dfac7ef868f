//! What /proc tells about the world's processes.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use procfs::process::{FDTarget, Process, Stat};
use rustix::process::{PidfdFlags, pidfd_open};

use super::deadline;

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its number in the world.
    pub pid: u32,
    /// Clock ticks since boot at its birth.
    born: u64,
}

/// The process that has this number now; `None` when there is none or it is a zombie.
///
/// A zombie with threads left is none yet: until the last of them has ended, its descriptors are open and its sockets take connections.
pub fn identify(pid: u32) -> Option<Identity> {
    let stat = stat(pid)?;
    (stat.state != 'Z' || stat.num_threads > 1).then_some(Identity { pid, born: stat.starttime })
}

fn stat(pid: u32) -> Option<Stat> {
    Process::new(i32::try_from(pid).ok()?).and_then(|process| process.stat()).ok()
}

impl Identity {
    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        identify(self.pid) == Some(self)
    }

    /// Waits until it is gone, at most `limit`; whether it is.
    ///
    /// # Errors
    ///
    /// When it cannot be watched.
    pub async fn gone(self, limit: Duration) -> Result<bool> {
        let watch = || format!("watch process {}", self.pid);
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid)?).with_context(watch)?;
        let opened = pidfd_open(pid, PidfdFlags::empty());
        // Asked afterwards: by now the number may be somebody else's.
        if !self.is_alive() {
            return Ok(true);
        }
        let opened = opened.with_context(watch)?;
        deadline::ended(opened, limit).await.with_context(watch)
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(self, signal: Signal) -> Result<()> {
        anyhow::ensure!(self.is_alive(), "process {} is gone", self.pid);
        let pid = i32::try_from(self.pid).context("a pid over 31 bits")?;
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("signal process {}", self.pid)),
        }
    }

    /// Its parent's number.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn parent(self) -> Result<u32> {
        let stat = stat(self.pid).with_context(|| format!("process {} is gone", self.pid))?;
        u32::try_from(stat.ppid).context("a negative parent")
    }

    /// How much processor time it has used.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn processor_time(self) -> Result<Duration> {
        let stat = stat(self.pid).with_context(|| format!("process {} is gone", self.pid))?;
        let ticks = stat.utime + stat.stime;
        Ok(Duration::from_millis(ticks * 1000 / procfs::ticks_per_second()))
    }

    /// Its process group.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn group(self) -> Result<u32> {
        let stat = stat(self.pid).with_context(|| format!("process {} is gone", self.pid))?;
        u32::try_from(stat.pgrp).context("a negative process group")
    }

    /// The executable's path.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn executable(self) -> Result<PathBuf> {
        let path = format!("/proc/{}/exe", self.pid);
        std::fs::read_link(&path).with_context(|| format!("read {path}"))
    }

    /// Zombies among its children.
    ///
    /// # Errors
    ///
    /// When /proc cannot be read.
    pub fn zombies(self) -> Result<Vec<u32>> {
        let zombies = processes()?
            .into_iter()
            .filter(|stat| stat.state == 'Z' && u32::try_from(stat.ppid).is_ok_and(|parent| parent == self.pid))
            .filter_map(|stat| u32::try_from(stat.pid).ok())
            .collect();
        Ok(zombies)
    }

    /// What its descriptors refer to, as /proc tells: a path, or a kind and a number like `socket:[4711]`.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn descriptors(self) -> Result<Vec<String>> {
        let directory = format!("/proc/{}/fd", self.pid);
        let entries = std::fs::read_dir(&directory).with_context(|| format!("list {directory}"))?;
        // One that is closed while it is read refers to nothing.
        let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        Ok(targets.map(|target| target.display().to_string()).collect())
    }

    /// How willing the kernel is to end it when memory is short: -1000 to 1000.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn oom_score_adj(self) -> Result<i32> {
        let path = format!("/proc/{}/oom_score_adj", self.pid);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        text.trim().parse().with_context(|| format!("read a number from {path}"))
    }

    /// Open descriptors, threads and resident memory in kilobytes.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn footprint(self) -> Result<(usize, usize, u64)> {
        let process =
            Process::new(i32::try_from(self.pid)?).with_context(|| format!("process {} is gone", self.pid))?;
        let status = process.status().context("read its status")?;
        let threads = usize::try_from(status.threads).context("count its threads")?;
        Ok((process.fd_count().context("count its descriptors")?, threads, status.vmrss.unwrap_or(0)))
    }

    /// How many of its open descriptors are sockets.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn sockets(self) -> Result<usize> {
        let gone = || format!("process {} is gone", self.pid);
        let process = Process::new(i32::try_from(self.pid)?).with_context(gone)?;
        let descriptors = process.fd().context("list its descriptors")?;
        // One that is closed while it is looked at is none.
        Ok(descriptors.flatten().filter(|descriptor| matches!(descriptor.target, FDTarget::Socket(_))).count())
    }

    /// Its resident memory, and its share of it (pages divided by who else maps them), in kilobytes.
    ///
    /// # Errors
    ///
    /// When it is gone, or this kernel does not tell.
    pub fn memory(self) -> Result<(u64, u64)> {
        let rollup = Process::new(i32::try_from(self.pid)?)
            .and_then(|process| process.smaps_rollup())
            .with_context(|| format!("read the memory of process {}", self.pid))?;
        let figures = rollup.memory_map_rollup.iter().next().map(|map| &map.extension.map);
        let kb = |name: &str| figures.and_then(|figures| figures.get(name)).map(|bytes| bytes / 1024);
        kb("Rss").zip(kb("Pss")).context("smaps_rollup names no Rss and Pss")
    }
}

/// Every process of the world.
///
/// # Errors
///
/// When /proc cannot be read.
pub fn processes() -> Result<Vec<Stat>> {
    // One that ends while it is read is no longer a process of the world.
    Ok(procfs::process::all_processes()
        .context("list /proc")?
        .filter_map(|process| process.ok()?.stat().ok())
        .collect())
}
