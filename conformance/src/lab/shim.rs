//! What a check sees of the shim process and of its family, beside what it answers.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use fault_injector::catalogue;

use super::{
    Lab,
    containers::Container,
    deadline,
    process::{self, Identity, identify},
};
use crate::{
    check::Stop,
    history::{ShimFact, What},
    lie::Lie,
};

/// What a shim holds at a quiet point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Open file descriptors.
    pub fds: usize,
    /// Threads.
    pub threads: usize,
}

impl Lab {
    /// The process that a shim names as running.
    ///
    /// # Errors
    ///
    /// A violation when there is none.
    pub fn process(&self, pid: u32) -> Result<Identity, Stop> {
        identify(pid).ok_or_else(|| {
            Stop::violated("the shim names a process that does not exist", "a running process", pid.to_string())
        })
    }

    /// Whether the process of a container that nothing has struck is alive.
    pub fn neighbour_lives(&self, process: Identity) -> bool {
        process.is_alive() && self.lie() != Some(Lie::NeighbourDies)
    }
}

impl Container<'_> {
    /// The parent of `pid`, which the shim names as a running process of this container.
    ///
    /// # Errors
    ///
    /// A violation when there is no such process.
    pub fn parent_of(&self, pid: u32) -> Result<u32, Stop> {
        let process = identify(pid).ok_or_else(|| {
            Stop::violated("the shim names a process that does not exist", "a running process", pid.to_string())
        })?;
        let parent = process.parent()?;
        Ok(parent + u32::from(self.lab().lie() == Some(Lie::Parent)))
    }

    /// Processes whose parent is the shim, without zombies.
    ///
    /// # Errors
    ///
    /// When /proc cannot be read.
    pub fn children(&self) -> Result<Vec<u32>> {
        let shim = self.shim()?.pid;
        let shim = shim + u32::from(self.lab().lie() == Some(Lie::Parent));
        let children = process::processes()?
            .into_iter()
            .filter(|stat| stat.state != 'Z' && u32::try_from(stat.ppid).is_ok_and(|parent| parent == shim))
            .filter_map(|stat| u32::try_from(stat.pid).ok())
            .collect();
        Ok(children)
    }

    /// Waits until the shim has no zombie among its children.
    ///
    /// # Errors
    ///
    /// A violation when one is left after `limit`.
    pub async fn reaps_all(&self, limit: Duration) -> Result<(), Stop> {
        let shim = self.shim()?;
        let look = || -> Result<Vec<u32>> {
            let mut zombies = shim.zombies()?;
            if self.lab().lie() == Some(Lie::Zombie) {
                zombies.push(shim.pid);
            }
            Ok(zombies)
        };
        let limit = self.lab().scaled(limit);
        let reaped = deadline::until(limit, || match look() {
            Ok(zombies) => zombies.is_empty().then_some(Ok(())),
            Err(e) => Some(Err(e)),
        })
        .await;
        if let Some(looked) = reaped {
            return Ok(looked?);
        }
        let zombies = look()?;
        let fact = ShimFact::Zombies(zombies.clone());
        self.lab().recorder().record(What::Shim { container: self.id().to_owned(), pid: shim.pid, fact });
        Err(Stop::violated(
            "the shim does not reap its children",
            format!("no zombie after {} ms", limit.as_millis()),
            format!("zombies {zombies:?}"),
        ))
    }

    /// How many descriptors and threads the shim has now.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn footprint(&self) -> Result<Footprint> {
        let shim = self.shim()?;
        let (mut fds, threads, rss_kb) = shim.footprint()?;
        if self.lab().lie() == Some(Lie::DescriptorsGrow) {
            fds += self.lab().recorder().history().records.len();
        }
        self.lab().recorder().record(What::Shim {
            container: self.id().to_owned(),
            pid: shim.pid,
            fact: ShimFact::Footprint { fds, threads, rss_kb },
        });
        Ok(Footprint { fds, threads })
    }

    /// Waits until the shim has at most `base` sockets. Its other descriptors come and go with calls of the runtime and with its
    /// collector of garbage.
    ///
    /// # Errors
    ///
    /// A violation when it still has more after `limit`.
    pub async fn has_no_more_sockets_than(&self, base: usize, limit: Duration) -> Result<(), Stop> {
        let (shim, limit) = (self.shim()?, self.lab().scaled(limit));
        let expected = || format!("{base} at most, within {} ms", limit.as_millis());
        let kept = |actual: String| Stop::violated("the shim keeps sockets", expected(), actual);
        if self.lab().lie() == Some(Lie::DescriptorsGrow) {
            return Err(kept("a lie".to_owned()));
        }
        let returned = deadline::until(limit, || match shim.sockets() {
            Ok(sockets) if sockets <= base => Some(Ok(())),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        });
        match returned.await {
            Some(returned) => Ok(returned?),
            None => Err(kept(shim.sockets()?.to_string())),
        }
    }

    /// Whether the shim holds the FIFO `log` of this bundle.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn shim_holds_log(&self) -> Result<bool> {
        let log = self.bundle().join("log").display().to_string();
        Ok(self.shim()?.descriptors()?.contains(&log) && self.lab().lie() != Some(Lie::LogUnheld))
    }

    /// Whether `process` holds the socket on which the shim takes connections.
    ///
    /// # Errors
    ///
    /// When either is gone, or the kernel does not list the socket.
    pub fn holds_listener(&self, process: Identity) -> Result<bool> {
        let socket = self.socket()?;
        let pid = i32::try_from(self.shim()?.pid)?;
        let sockets = procfs::process::Process::new(pid)
            .and_then(|shim| shim.unix())
            .with_context(|| format!("list the sockets that process {pid} sees"))?;
        // Connections carry the path of the listener too, and are nobody else's either.
        let is_there = |path: &Option<PathBuf>| path.as_deref().is_some_and(|path| path == socket);
        let inodes: Vec<u64> = sockets.iter().filter(|s| is_there(&s.path)).map(|s| s.inode).collect();
        anyhow::ensure!(!inodes.is_empty(), "{} is nobody's socket", socket.display());
        let held = process.descriptors()?;
        let leaks = inodes.iter().any(|inode| held.contains(&format!("socket:[{inode}]")));
        Ok(leaks || self.lab().lie() == Some(Lie::ListenerLeaks))
    }

    /// How willing the kernel is to end the shim when memory is short.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn shim_oom_score_adj(&self) -> Result<i32> {
        let score = self.shim()?.oom_score_adj()?;
        Ok(if self.lab().lie() == Some(Lie::OomScore) { score - 1 } else { score })
    }

    /// Records how much memory the shim uses now.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn weigh(&self) -> Result<()> {
        let shim = self.shim()?;
        let (rss_kb, pss_kb) = shim.memory()?;
        self.lab().recorder().record(What::Shim {
            container: self.id().to_owned(),
            pid: shim.pid,
            fact: ShimFact::Memory { rss_kb, pss_kb },
        });
        Ok(())
    }

    /// What the descriptor of this number leads to in the shim, when it has one.
    ///
    /// # Errors
    ///
    /// When the shim was not started, or may not be looked at.
    pub fn descriptor(&self, number: u32) -> Result<Option<PathBuf>> {
        let path = format!("/proc/{}/fd/{number}", self.shim()?.pid);
        match fs::read_link(&path) {
            Ok(_) if self.lab().lie() == Some(Lie::ShimHolds) => Ok(Some(PathBuf::from("/a lie"))),
            Ok(held) => Ok(Some(held)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("read {path}")),
        }
    }

    /// How much processor time the shim has used in all.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn processor_time(&self) -> Result<Duration> {
        let used = self.shim()?.processor_time()?;
        Ok(match self.lab().lie() {
            Some(Lie::Busy) => {
                let seen = self.lab().recorder().history().records.len();
                used + Duration::from_secs(u64::try_from(seen).unwrap_or(u64::MAX))
            }
            Some(_) | None => used,
        })
    }

    /// The socket at which the shim serves.
    ///
    /// # Errors
    ///
    /// When it was not started, or serves elsewhere than at a path.
    pub fn socket(&self) -> Result<PathBuf> {
        let address = self.bootstrap()?.address;
        let path = address.strip_prefix("unix://").with_context(|| format!("{address} is no path"))?;
        Ok(PathBuf::from(path))
    }

    /// The permissions of `path`, the shim's socket or its directory.
    ///
    /// # Errors
    ///
    /// When it does not exist.
    pub fn mode_of(&self, path: &Path) -> Result<u32> {
        let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
        let mode = metadata.permissions().mode() & 0o7777;
        Ok(match self.lab().lie() {
            Some(Lie::SocketOpen) => mode | 0o077,
            Some(_) | None => mode,
        })
    }

    /// Sends SIGKILL to `pid`, a process of this container, from outside: the shim is not asked.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn kill_from_outside(&self, pid: u32) -> Result<()> {
        let process = identify(pid).with_context(|| format!("process {pid} is gone"))?;
        let killed = if self.init_pid() == Some(pid) { "process/kill-init" } else { "process/kill-exec" };
        let fault = catalogue::find(killed).with_context(|| format!("{killed} is not in the catalogue"))?;
        let spell = self.lab().spell(fault.id, Some(self.id()), fault.excuses);
        process.signal(nix::sys::signal::Signal::SIGKILL)?;
        spell.over(1);
        self.lab().note(format!("process {pid} of {} gets SIGKILL", self.id()));
        Ok(())
    }
}
