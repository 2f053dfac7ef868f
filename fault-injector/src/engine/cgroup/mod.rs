//! The container's control groups: version 1 hierarchies where the host has them, else the version 2 tree, else none.

mod limits;
mod locate;
mod v1;
mod v2;

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

pub(super) use self::{v1::V1, v2::V2};
use super::{deadline, log::Log, spec::Resources};

/// How long the kernel may take to freeze all tasks, or to let go of an empty group.
const KERNEL_LIMIT: Duration = Duration::from_secs(5);

/// The groups of one container, as kept in its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "version", rename_all = "lowercase")]
pub(super) enum Cgroup {
    /// They could not be made, and nothing that needs them was asked for.
    Absent,
    /// One directory in each hierarchy.
    V1(V1),
    /// One directory.
    V2(V2),
}

/// How a process gets in before it does anything else.
#[derive(Debug)]
pub(super) enum Entrance {
    /// Nowhere to go.
    Absent,
    /// The `tasks` files, to each of which the process writes itself. (A task that moves itself needs no lock over the
    /// whole system; moving another process by `cgroup.procs` waits for a grace period of milliseconds.)
    Tasks(Vec<File>),
    /// The directory in which it is born.
    Birth(OwnedFd),
}

impl Cgroup {
    /// Where the groups of a container will be; makes nothing yet.
    pub(super) fn plan(id: &str, cgroups_path: Option<&str>) -> Result<Self> {
        Ok(match locate::mounted()? {
            locate::Mounted::Nothing => Self::Absent,
            locate::Mounted::V1(hierarchies) => Self::V1(V1::plan(hierarchies, id, cgroups_path)?),
            locate::Mounted::V2(root) => Self::V2(V2::plan(root, id, cgroups_path)?),
        })
    }

    /// Makes the groups and sets the limits, and answers with what there is then: nothing, when no limit is asked for and the
    /// groups cannot be made. A failure leaves nothing behind.
    pub(super) fn make(self, resources: &Resources, log: &Log) -> Result<Self> {
        let made = match &self {
            Self::Absent => Err(anyhow::anyhow!("no cgroup hierarchy is mounted")),
            Self::V1(v1) => v1.make(),
            Self::V2(v2) => v2.make(resources),
        };
        match made {
            Ok(()) => {}
            Err(error) if resources.is_empty() => {
                log.warn(format!("running without cgroups: {error:#}"));
                self.remove()?;
                return Ok(Self::Absent);
            }
            Err(error) => {
                self.remove()?;
                return Err(error.context("limits are asked for but cgroups cannot be made"));
            }
        }
        if let Err(error) = self.limit(resources) {
            self.remove()?;
            return Err(error);
        }
        Ok(self)
    }

    /// Changes the limits that are given and leaves the others.
    pub(super) fn limit(&self, resources: &Resources) -> Result<()> {
        match self {
            Self::Absent if resources.is_empty() => Ok(()),
            Self::Absent => bail!("the container has no cgroup to set limits on"),
            Self::V1(v1) => v1.limit(resources),
            Self::V2(v2) => v2.limit(resources),
        }
    }

    /// Opens the way in.
    pub(super) fn entrance(&self) -> Result<Entrance> {
        match self {
            Self::Absent => Ok(Entrance::Absent),
            Self::V1(v1) => v1.task_files().map(Entrance::Tasks),
            Self::V2(v2) => {
                let opened = File::open(&v2.path);
                let directory = opened.with_context(|| format!("cannot open {}", v2.path.display()))?;
                Ok(Entrance::Birth(directory.into()))
            }
        }
    }

    /// All processes in the container's groups and in groups below.
    pub(super) fn processes(&self) -> Result<Vec<Pid>> {
        match self {
            Self::Absent => Ok(Vec::new()),
            Self::V1(v1) => v1.directory_of_processes().map_or_else(|| Ok(Vec::new()), processes_under),
            Self::V2(v2) => processes_under(&v2.path),
        }
    }

    /// Whether the tasks are, or are about to be, frozen.
    pub(super) fn is_frozen(&self) -> Result<bool> {
        match self {
            Self::Absent => Ok(false),
            Self::V1(v1) => v1.is_frozen(),
            Self::V2(v2) => v2.is_frozen(),
        }
    }

    /// Freezes all tasks, or none: a group that does not freeze in time is thawed again.
    pub(super) fn freeze(&self) -> Result<()> {
        if matches!(self, Self::Absent) {
            bail!("the container has no cgroup to freeze");
        }
        self.set_freezer(true)?;
        if deadline::holds_within(KERNEL_LIMIT, || self.all_frozen())? {
            return Ok(());
        }
        self.set_freezer(false)?;
        bail!("the tasks did not freeze within {KERNEL_LIMIT:?}")
    }

    /// Lets the tasks go on.
    pub(super) fn thaw(&self) -> Result<()> {
        match self {
            Self::Absent => bail!("the container has no cgroup to thaw"),
            Self::V1(_) | Self::V2(_) => self.set_freezer(false),
        }
    }

    /// Removes the groups, once the last task is out.
    pub(super) fn remove(&self) -> Result<()> {
        match self {
            Self::Absent => Ok(()),
            Self::V1(v1) => v1.hierarchies.iter().try_for_each(|hierarchy| remove_tree(&hierarchy.path)),
            Self::V2(v2) => remove_tree(&v2.path),
        }
    }

    fn set_freezer(&self, frozen: bool) -> Result<()> {
        match self {
            Self::Absent => Ok(()),
            Self::V1(v1) => v1.set_freezer(frozen),
            Self::V2(v2) => v2.set_freezer(frozen),
        }
    }

    fn all_frozen(&self) -> Result<bool> {
        match self {
            Self::Absent => Ok(false),
            Self::V1(v1) => v1.all_frozen(),
            Self::V2(v2) => v2.all_frozen(),
        }
    }
}

impl Entrance {
    /// The directory to be born in, if that is the way.
    pub(super) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Absent | Self::Tasks(_) => None,
            Self::Birth(directory) => Some(directory.as_fd()),
        }
    }

    /// Takes this process in; only for a process with one thread.
    pub(super) fn enter(&self) -> Result<()> {
        use std::io::Write as _;
        let files = match self {
            Self::Absent | Self::Birth(_) => return Ok(()),
            Self::Tasks(files) => files,
        };
        for mut file in files {
            file.write_all(b"0").context("cannot enter the cgroup")?;
        }
        Ok(())
    }
}

/// Writes one value to one control file.
fn write(path: &Path, value: &str) -> Result<()> {
    let context = || format!("cannot write {value:?} to {}", path.display());
    // Opened without O_CREAT: a control file that is missing is a controller that is missing.
    let mut file = fs::OpenOptions::new().write(true).open(path).with_context(context)?;
    io::Write::write_all(&mut file, value.as_bytes()).with_context(context)
}

/// Reads one control file; `None` when there is none, or its group is just being removed.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn processes_under(directory: &Path) -> Result<Vec<Pid>> {
    let mut found = Vec::new();
    for group in groups_under(directory)? {
        let text = read(&group.join("cgroup.procs"))?.unwrap_or_default();
        let pids = text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw);
        found.extend(pids);
    }
    Ok(found)
}

/// The group and all below it, children first.
fn groups_under(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(groups_under(&entry.path())?);
        }
    }
    found.push(directory.to_owned());
    Ok(found)
}

fn remove_tree(directory: &Path) -> Result<()> {
    // Mostly there is nothing below, and listing costs more than trying.
    if is_removed(directory)? {
        return Ok(());
    }
    for group in groups_under(directory)? {
        if !deadline::holds_within(KERNEL_LIMIT, || is_removed(&group))? {
            bail!("{} is still busy after {KERNEL_LIMIT:?}", group.display());
        }
    }
    Ok(())
}

/// Tries to remove one group; false while a dying task is still accounted for in it, or groups are below.
fn is_removed(group: &Path) -> Result<bool> {
    match fs::remove_dir(group) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", group.display())),
    }
}
