//! What the kernel grants, taken away from an unmodified process: descriptors, processes, memory, time.
//!
//! All of it is given back when the guard is dropped. Limits are lowered in ways that need no privilege to undo: only the soft limit of
//! descriptors, and cgroups of our own around the process.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use procfs::process::LimitValue;
use procfs::{FromRead as _, ProcessCGroups};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::process::{Process, ProcessError};
use crate::fault::{Action, Fault, Limit, Unfit};
use crate::guard::Guard;

/// How long the kernel may take to freeze a group, or to let go of an empty one.
const KERNEL_LIMIT: Duration = Duration::from_secs(5);
/// How long a freezer may take before it is told again.
const FREEZING: Duration = Duration::from_millis(50);
/// How long to look away between two looks, of which nobody sends word.
const RECHECK: Duration = Duration::from_millis(1);
/// So little that the next page faults ask for more.
const LITTLE_MEMORY: &str = "65536";

/// A place in a hierarchy of cgroups where a group may be made.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Where the hierarchy is mounted.
    pub hierarchy: PathBuf,
    /// The controller, for a version 1 hierarchy.
    pub controller: Option<&'static str>,
    /// The group to make, which must not exist; its parent is made too.
    pub group: PathBuf,
}

/// Carries out a [`Limit::Descriptors`] fault: the process keeps what it has open.
///
/// # Errors
///
/// [`ResourceError`] when the fault is another one, or the process is gone.
pub fn limit_descriptors(fault: &Fault, process: Process) -> Result<Guard, ResourceError> {
    expect(fault, Limit::Descriptors)?;
    let open: Vec<i32> = process.descriptors()?.iter().map(|descriptor| descriptor.number).collect();
    let first_free = (0..).find(|number| !open.contains(number)).unwrap_or(0);
    let pid = process.identity().pid;
    let raw = Pid::from_raw(pid).ok_or(ProcessError::Gone { pid })?;
    let limit = move |soft: Option<u64>, hard: Option<u64>| {
        let limited = prlimit(Some(raw), Resource::Nofile, Rlimit { current: soft, maximum: hard });
        limited.map_err(|e| ResourceError::io("limit the descriptors of a process", e.into()))
    };
    let former = descriptor_limits(pid)?;
    limit(u64::try_from(first_free).ok(), former.1)?;
    let (guard, bites) = Guard::new(fault.id, move || {
        // Whoever is gone needs none; the number may be another's by now.
        if !process.has_exited().unwrap_or(true) {
            _ = limit(former.0, former.1);
        }
    });
    bites.count();
    Ok(guard)
}

/// The soft and the hard limit; `None` means without.
fn descriptor_limits(pid: i32) -> Result<(Option<u64>, Option<u64>), ResourceError> {
    let failed = |e| ResourceError::io("read the limits of a process", io::Error::other(e));
    let limits = procfs::process::Process::new(pid).and_then(|process| process.limits()).map_err(failed)?;
    let value = |limit| match limit {
        LimitValue::Unlimited => None,
        LimitValue::Value(number) => Some(number),
    };
    Ok((value(limits.max_open_files.soft_limit), value(limits.max_open_files.hard_limit)))
}

/// Carries out a [`Limit::Processes`] or [`Limit::Memory`] fault in a group made for it around the process. Bites are refusals that the
/// kernel counts.
///
/// # Errors
///
/// [`ResourceError`] when the fault is another one, the process is gone, or no such group can be made.
pub fn confine(fault: &Fault, process: &Process, ground: Ground) -> Result<Guard, ResourceError> {
    let Action::Limit(limit @ (Limit::Processes | Limit::Memory)) = fault.does else {
        return Err(Unfit::new(fault, "a group limits processes or memory").into());
    };
    let pid = process.identity().pid;
    let home = home(pid, &ground)?;
    let group = Group::make(&ground, home)?;
    group.write("cgroup.procs", &pid.to_string())?;
    match (limit, ground.controller) {
        (Limit::Processes, _) => group.write("pids.max", group.read("pids.current")?.trim())?,
        (_, Some(_)) => group.write("memory.limit_in_bytes", LITTLE_MEMORY)?,
        (_, None) => group.write("memory.max", LITTLE_MEMORY)?,
    }
    let (file, word) = match (limit, ground.controller) {
        (Limit::Processes, _) => ("pids.events", "max"),
        (_, Some(_)) => ("memory.oom_control", "oom_kill"),
        (_, None) => ("memory.events", "oom_kill"),
    };
    let events = group.path.join(file);
    // A group that is removed counts no more.
    let bites = move || fs::read_to_string(&events).map_or(0, |text| counted(&text, word));
    Ok(Guard::looking_up(fault.id, bites, move || drop(group)))
}

/// Carries out a [`Limit::Time`] fault on the group at `directory`, of either version.
///
/// # Errors
///
/// [`ResourceError`] when the fault is another one, or the group does not freeze.
pub fn freeze(fault: &Fault, directory: &Path) -> Result<Guard, ResourceError> {
    expect(fault, Limit::Time)?;
    let v1 = directory.join("freezer.state");
    let (file, frozen, thawed) =
        if v1.exists() { (v1, "FROZEN", "THAWED") } else { (directory.join("cgroup.freeze"), "1", "0") };
    let failed = |e| ResourceError::io("freeze a group", e);
    fs::write(&file, frozen).map_err(failed)?;
    let (guard, bites) = Guard::new(fault.id, {
        let file = file.clone();
        // A group that was removed meanwhile holds nobody.
        move || _ = fs::write(&file, thawed)
    });
    let is_frozen = || match frozen {
        "FROZEN" => fs::read_to_string(&file).is_ok_and(|state| state.trim() == frozen),
        _ => fs::read_to_string(directory.join("cgroup.events")).is_ok_and(|text| counted(&text, "frozen") == 1),
    };
    // A freezer of version 1 that meets a task at the wrong moment never comes to an end; thawed and told again it does.
    let frozen_at_last = within(KERNEL_LIMIT, || {
        within(FREEZING, is_frozen) || (fs::write(&file, thawed).is_err() | fs::write(&file, frozen).is_err())
    });
    if !frozen_at_last || !is_frozen() {
        return Err(failed(ErrorKind::TimedOut.into()));
    }
    bites.count();
    Ok(guard)
}

fn expect(fault: &Fault, limit: Limit) -> Result<(), Unfit> {
    if fault.does == Action::Limit(limit) { Ok(()) } else { Err(Unfit::new(fault, "another limit is asked for here")) }
}

/// The number behind `word` in a file of lines like `max 3`.
fn counted(text: &str, word: &str) -> u32 {
    let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// The group that the process is in, on this ground.
fn home(pid: i32, ground: &Ground) -> Result<PathBuf, ResourceError> {
    let failed = |e| ResourceError::io("find the cgroup of a process", e);
    let text = fs::read(format!("/proc/{pid}/cgroup")).map_err(failed)?;
    let groups = ProcessCGroups::from_read(&text[..]).map_err(|e| failed(io::Error::other(e)))?;
    let own = groups.0.into_iter().find(|group| match ground.controller {
        None => group.hierarchy == 0,
        Some(name) => group.controllers.iter().any(|known| known == name),
    });
    let own = own.ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
    Ok(ground.hierarchy.join(own.pathname.trim_start_matches('/')))
}

/// A group of our own, and where its processes belong.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    home: PathBuf,
}

impl Group {
    fn make(ground: &Ground, home: PathBuf) -> Result<Self, ResourceError> {
        let path = ground.group.clone();
        fs::create_dir_all(&path).map_err(|e| ResourceError::io("make a cgroup", e))?;
        if ground.controller.is_none() {
            // A group of version 2 has the controllers that all those above hand down.
            let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&ground.hierarchy));
            let above: Vec<&Path> = above.collect();
            for group in above.iter().rev() {
                let handed = fs::write(group.join("cgroup.subtree_control"), "+pids +memory");
                handed.map_err(|e| ResourceError::io("cgroup.subtree_control", e))?;
            }
        }
        Ok(Self { path, home })
    }

    fn read(&self, file: &'static str) -> Result<String, ResourceError> {
        fs::read_to_string(self.path.join(file)).map_err(|e| ResourceError::io(file, e))
    }

    fn write(&self, file: &'static str, text: &str) -> Result<(), ResourceError> {
        fs::write(self.path.join(file), text).map_err(|e| ResourceError::io(file, e))
    }
}

impl Drop for Group {
    /// Lifts the limits, sends everybody home and removes the group. Whoever is left in it dies, or leaves, by itself.
    fn drop(&mut self) {
        for (file, everything) in [("pids.max", "max"), ("memory.limit_in_bytes", "-1"), ("memory.max", "max")] {
            if self.path.join(file).exists() {
                _ = fs::write(self.path.join(file), everything);
            }
        }
        within(KERNEL_LIMIT, || {
            for pid in fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default().lines() {
                // One that ends meanwhile has no home any more.
                _ = fs::write(self.home.join("cgroup.procs"), pid);
            }
            match fs::remove_dir(&self.path) {
                Ok(()) => true,
                Err(e) => e.kind() == ErrorKind::NotFound,
            }
        });
    }
}

/// Looks until `condition` holds, at most `limit`; whether it did.
fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        _ = nix::poll::poll(&mut [], nix::poll::PollTimeout::try_from(RECHECK).unwrap_or(nix::poll::PollTimeout::ZERO));
    }
}

/// Why something could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// The fault is none for this seam.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The process is gone, or cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The kernel refused.
    #[error("{what}")]
    Io {
        /// What was tried, or the file of a cgroup.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl ResourceError {
    fn io(what: &'static str, source: io::Error) -> Self {
        Self::Io { what, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_their_word() {
        assert_eq!(counted("max 3\n", "max"), 3);
        assert_eq!(counted("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "oom_kill"), 2);
        assert_eq!(counted("low 0\nmax 1\n", "oom_kill"), 0);
    }
}
