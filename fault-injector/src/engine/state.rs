//! What is kept about a container under `ROOT/ID`, and what it is doing now.
//!
//! **Invariant:** `state.json` holds facts that never change after `create`; what changes is read from the kernel each time, so
//! that no crash of an engine process can leave a false state behind.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::{errno::Errno, unistd::Pid};
use serde::{Deserialize, Serialize};

use super::{cgroup::Cgroup, process_stat::ProcessStat, refusal::Refusal};
use crate::sys;

/// What the first process is called until it executes the container's program. `execve` replaces it, which makes the
/// difference between *created* and *running* a fact of the kernel's.
pub(super) const WAITING_COMM: &str = "engine:created";

/// The FIFO on which the first process waits for `start`.
pub(super) const EXEC_FIFO: &str = "exec.fifo";

const STATE_FILE: &str = "state.json";

/// The cgroups of a container that `create` has not finished.
const PLAN_FILE: &str = "cgroup.json";

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// In the PID namespace of `create`.
    pub(super) pid: i32,
    /// Clock ticks since boot.
    pub(super) start_time: u64,
    /// RFC 3339.
    pub(super) created: String,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) annotations: BTreeMap<String, String>,
    /// Whether the first process is PID 1 of a namespace of its own, so that its end is the end of all.
    pub(super) owns_pid_namespace: bool,
    pub(super) cgroup: Cgroup,
}

/// The states of the specification, and *paused*, which all runtimes add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// The first process waits for `start`.
    Created,
    /// The first process runs the container's program.
    Running,
    /// Frozen.
    Paused,
    /// The first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// `ROOT/ID` of a container that may or may not exist.
#[derive(Debug)]
pub(super) struct StateDirectory {
    id: String,
    path: PathBuf,
}

impl StateDirectory {
    /// Names the directory; touches nothing.
    pub(super) fn new(root: &Path, id: &str) -> Result<Self> {
        if !is_valid_id(id) {
            bail!("invalid container id {id:?}");
        }
        Ok(Self { id: id.to_owned(), path: root.join(id) })
    }

    /// Makes the directory; whoever makes it owns the id.
    pub(super) fn claim(&self) -> Result<()> {
        // Searchable by others: the process opens the FIFO after it has become the container's user.
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o711);
        if let Some(root) = self.path.parent() {
            let made = fs::create_dir_all(root);
            made.with_context(|| format!("cannot make {}", root.display()))?;
        }
        match builder.create(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Refusal::Exists { id: self.id.clone() }.into())
            }
            made => made.with_context(|| format!("cannot make {}", self.path.display())),
        }
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory; fine when it is gone.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", self.path.display())),
        }
    }

    /// Writes down where cgroups are about to be made.
    pub(super) fn save_plan(&self, cgroup: &Cgroup) -> Result<()> {
        let path = self.path.join(PLAN_FILE);
        let text = serde_json::to_vec(cgroup).context("cannot encode the cgroups")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The cgroups that an unfinished `create` may have made; a plan that it did not even finish writing was not begun.
    pub(super) fn load_plan(&self) -> Result<Cgroup> {
        let path = self.path.join(PLAN_FILE);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Cgroup::Absent),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or(Cgroup::Absent)),
        }
    }

    /// Writes `state.json` so that no reader sees half of it.
    pub(super) fn save(&self, record: &Record) -> Result<()> {
        let new = self.path.join("state.json.new");
        let text = serde_json::to_vec(record).context("cannot encode the state")?;
        fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
        let renamed = fs::rename(&new, self.path.join(STATE_FILE));
        renamed.with_context(|| format!("cannot rename {}", new.display()))
    }

    /// Reads `state.json`.
    pub(super) fn load(&self) -> Result<Record> {
        let path = self.path.join(STATE_FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Refusal::Unknown { id: self.id.clone() }.into());
            }
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        serde_json::from_slice(&text).with_context(|| format!("malformed {}", path.display()))
    }
}

impl Record {
    /// The first process.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.pid)
    }

    /// The first process as the kernel sees it now, if it is still that process and alive.
    pub(super) fn live_process(&self) -> Result<Option<ProcessStat>> {
        let stat = ProcessStat::of(self.pid()).with_context(|| format!("cannot look at process {}", self.pid))?;
        Ok(stat.filter(|stat| stat.is_alive && stat.start_time == self.start_time))
    }

    /// What the container is doing now.
    pub(super) fn status(&self) -> Result<Status> {
        let Some(stat) = self.live_process()? else {
            return Ok(Status::Stopped);
        };
        if self.cgroup.is_frozen()? {
            return Ok(Status::Paused);
        }
        if stat.comm == WAITING_COMM {
            return Ok(Status::Created);
        }
        Ok(Status::Running)
    }

    /// A handle on the first process, or the refusal that says it has ended.
    pub(super) fn open_process(&self) -> Result<OwnedFd> {
        let not_running = || Refusal::NotRunning { id: self.id.clone() };
        let handle = match sys::pidfd::open(self.pid) {
            Err(Errno::ESRCH) => return Err(not_running().into()),
            opened => opened.with_context(|| format!("cannot open process {}", self.pid))?,
        };
        // Looked at after the handle was taken: if the number is still that process now, so is the handle.
        self.live_process()?.ok_or_else(not_running)?;
        Ok(handle)
    }
}

/// Ids are file names: letters, digits and `_+-.`, as in runc, and neither `.` nor `..`.
fn is_valid_id(id: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    !id.is_empty() && id != "." && id != ".." && id.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a", true)]
    #[case("a_b+c-d.e0", true)]
    #[case("", false)]
    #[case(".", false)]
    #[case("..", false)]
    #[case("a/b", false)]
    #[case("a b", false)]
    fn ids(#[case] id: &str, #[case] valid: bool) {
        assert_eq!(is_valid_id(id), valid);
    }

    #[test]
    fn an_unmade_container_does_not_exist() {
        let root = tempfile::tempdir().unwrap();
        let directory = StateDirectory::new(root.path(), "x").unwrap();
        let error = directory.load().unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }

    #[test]
    fn an_id_is_claimed_once() {
        let root = tempfile::tempdir().unwrap();
        let directory = StateDirectory::new(&root.path().join("deep"), "x").unwrap();
        directory.claim().unwrap();
        let error = directory.claim().unwrap_err().to_string();
        assert!(error.contains("already exists"), "{error}");
    }
}
