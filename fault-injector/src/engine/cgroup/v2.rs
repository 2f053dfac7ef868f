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
    pub(in super::super) path: PathBuf,
}

impl V2 {
    pub(super) fn create(root: &Path, id: &str, cgroups_path: Option<&str>, resources: &Resources) -> Result<Self> {
        let path = locate::directory(root, &locate::own(None)?, id, cgroups_path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let made = Self { path };
        if let Err(error) = made.enable_controllers(root, resources) {
            super::Cgroup::V2(made).remove()?;
            return Err(error);
        }
        Ok(made)
    }

    /// A limit's file is there only when every group above passes the controller on.
    fn enable_controllers(&self, root: &Path, resources: &Resources) -> Result<()> {
        let settings = limits::v2(resources);
        if settings.is_empty() {
            return Ok(());
        }
        let parent = self.path.parent().context("a cgroup outside of its tree")?;
        let above: Vec<&Path> = parent.ancestors().take_while(|group| group.starts_with(root)).collect();
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
