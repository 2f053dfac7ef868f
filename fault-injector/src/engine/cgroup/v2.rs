//! Version 2: one directory in the unified tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{super::spec::Resources, limits, locate, read, write};

/// The container's directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct V2 {
    mountpoint: PathBuf,
    pub(in super::super) path: PathBuf,
}

impl V2 {
    /// Names the directory.
    pub(super) fn plan(mountpoint: PathBuf, id: &str, cgroups_path: Option<&str>) -> Result<Self> {
        let path = locate::directory(&mountpoint, &locate::own(None)?, id, cgroups_path);
        Ok(Self { mountpoint, path })
    }

    /// Makes the directory and has the controllers that `resources` need passed on to it.
    pub(super) fn make(&self, resources: &Resources) -> Result<()> {
        fs::create_dir_all(&self.path).with_context(|| format!("cannot make {}", self.path.display()))?;
        self.enable_controllers(resources)
    }

    /// A limit's file is there only when every group above passes the controller on.
    fn enable_controllers(&self, resources: &Resources) -> Result<()> {
        let settings = limits::v2(resources);
        if settings.is_empty() {
            return Ok(());
        }
        let parent = self.path.parent().context("a cgroup outside of its tree")?;
        let above: Vec<&Path> = parent.ancestors().take_while(|group| group.starts_with(&self.mountpoint)).collect();
        for group in above.into_iter().rev() {
            for setting in &settings {
                let Some((controller, _)) = setting.file.split_once('.') else {
                    continue;
                };
                write(&group.join("cgroup.subtree_control"), &format!("+{controller}"))?;
            }
        }
        Ok(())
    }

    pub(super) fn limit(&self, resources: &Resources) -> Result<()> {
        for setting in limits::v2(resources) {
            write(&self.path.join(&setting.file), &setting.value)?;
        }
        Ok(())
    }

    pub(super) fn set_freezer(&self, frozen: bool) -> Result<()> {
        write(&self.path.join("cgroup.freeze"), if frozen { "1" } else { "0" })
    }

    pub(super) fn is_frozen(&self) -> Result<bool> {
        Ok(read(&self.path.join("cgroup.freeze"))?.is_some_and(|text| text.trim() == "1"))
    }

    pub(super) fn all_frozen(&self) -> Result<bool> {
        let events = read(&self.path.join("cgroup.events"))?.unwrap_or_default();
        Ok(events.lines().any(|line| line == "frozen 1"))
    }
}
