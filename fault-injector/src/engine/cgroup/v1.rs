//! Version 1: one directory in each mounted hierarchy.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{super::spec::Resources, limits, locate, locate::Mountpoint, read, write};

/// The container's directories.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct V1 {
    pub(super) hierarchies: Vec<Hierarchy>,
}

/// The container's directory in one hierarchy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hierarchy {
    controllers: Vec<String>,
    mountpoint: PathBuf,
    pub(super) path: PathBuf,
}

impl V1 {
    /// Names the directories.
    pub(super) fn plan(mountpoints: Vec<Mountpoint>, id: &str, cgroups_path: Option<&str>) -> Result<Self> {
        let plan = |mountpoint| plan_in(mountpoint, id, cgroups_path);
        let hierarchies = mountpoints.into_iter().map(plan).collect::<Result<_>>()?;
        Ok(Self { hierarchies })
    }

    /// Makes the directories, up to the first that fails.
    pub(super) fn make(&self) -> Result<()> {
        self.hierarchies.iter().try_for_each(Hierarchy::make)
    }

    pub(super) fn limit(&self, resources: &Resources) -> Result<()> {
        for setting in limits::v1(resources, self.memory_limit()?) {
            let directory = self.directory(setting.controller);
            let directory = directory.with_context(|| format!("no {} cgroup hierarchy", setting.controller))?;
            write(&directory.join(setting.file), &setting.value)?;
        }
        Ok(())
    }

    pub(super) fn task_files(&self) -> Result<Vec<File>> {
        let open = |hierarchy: &Hierarchy| {
            let path = hierarchy.path.join("tasks");
            let opened = fs::OpenOptions::new().write(true).open(&path);
            opened.with_context(|| format!("cannot open {}", path.display()))
        };
        self.hierarchies.iter().map(open).collect()
    }

    /// Any hierarchy holds every process.
    pub(super) fn directory_of_processes(&self) -> Option<&Path> {
        self.directory("pids").or_else(|| self.hierarchies.first().map(|hierarchy| hierarchy.path.as_path()))
    }

    /// The container's directory in the hierarchy that has `controller`.
    pub(in super::super) fn directory(&self, controller: &str) -> Option<&Path> {
        let has = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|known| known == controller);
        self.hierarchies.iter().find(has).map(|hierarchy| hierarchy.path.as_path())
    }

    /// Each hierarchy's controllers and directory.
    pub(in super::super) fn directories(&self) -> impl Iterator<Item = (&[String], &Path)> {
        self.hierarchies.iter().map(|one| (one.controllers.as_slice(), one.path.as_path()))
    }

    pub(super) fn set_freezer(&self, frozen: bool) -> Result<()> {
        let Some(directory) = self.directory("freezer") else {
            bail!("no freezer cgroup hierarchy is mounted");
        };
        write(&directory.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
    }

    pub(super) fn is_frozen(&self) -> Result<bool> {
        Ok(self.freezer_state()?.is_some_and(|state| state != "THAWED"))
    }

    pub(super) fn all_frozen(&self) -> Result<bool> {
        Ok(self.freezer_state()?.is_some_and(|state| state == "FROZEN"))
    }

    fn freezer_state(&self) -> Result<Option<String>> {
        let Some(directory) = self.directory("freezer") else {
            return Ok(None);
        };
        let state = read(&directory.join("freezer.state"))?;
        Ok(state.map(|state| state.trim().to_owned()))
    }

    fn memory_limit(&self) -> Result<Option<i64>> {
        let Some(directory) = self.directory("memory") else {
            return Ok(None);
        };
        let limit = read(&directory.join("memory.limit_in_bytes"))?;
        Ok(limit.and_then(|limit| limit.trim().parse().ok()))
    }
}

impl Hierarchy {
    fn make(&self) -> Result<()> {
        let is_cpuset = self.controllers.iter().any(|controller| controller == "cpuset");
        make(&self.path, &self.mountpoint, is_cpuset)
    }
}

fn plan_in(mountpoint: Mountpoint, id: &str, cgroups_path: Option<&str>) -> Result<Hierarchy> {
    let is_relative = !cgroups_path.is_some_and(|path| path.starts_with('/'));
    let own = match mountpoint.controllers.first() {
        Some(controller) if is_relative => locate::own(Some(controller))?,
        Some(_) | None => PathBuf::from("/"),
    };
    Ok(Hierarchy {
        path: locate::directory(&mountpoint.path, &own, id, cgroups_path),
        mountpoint: mountpoint.path,
        controllers: mountpoint.controllers,
    })
}

/// Makes the directory and what is missing above it.
fn make(path: &Path, mountpoint: &Path, is_cpuset: bool) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path != mountpoint => {
            let parent = path.parent().context("a cgroup outside of its hierarchy")?;
            make(parent, mountpoint, is_cpuset)?;
            return make(path, mountpoint, is_cpuset);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.with_context(|| format!("cannot make {}", path.display()))?,
    }
    if is_cpuset { inherit_cpuset(path, mountpoint) } else { Ok(()) }
}

/// A group of `cpuset` takes no task before it has processors and memory nodes, so those are inherited by hand. Whoever made the groups
/// above need not have done so.
fn inherit_cpuset(path: &Path, mountpoint: &Path) -> Result<()> {
    let Some(parent) = path.parent().filter(|_| path != mountpoint) else {
        return Ok(());
    };
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let present = read(&path.join(file))?.unwrap_or_default();
        if present.trim().is_empty() {
            inherit_cpuset(parent, mountpoint)?;
            let inherited = read(&parent.join(file))?.unwrap_or_default();
            write(&path.join(file), inherited.trim())?;
        }
    }
    Ok(())
}
