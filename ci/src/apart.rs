//! A part of the host that nobody else uses, so that whatever is new in it is ours.
//!
//! Mounts and sockets have namespaces; `/run` is replaced by an empty one; cgroups have neither, so each hierarchy is covered by one group
//! of it, which then looks like a hierarchy of its own.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

const NOTHING: Option<&str> = None;

/// Our part, which ends with this process. Dropping it removes the groups.
#[derive(Debug)]
pub(crate) struct Apart {
    /// Where hierarchies are mounted, with the group that covers each.
    covers: Vec<(PathBuf, PathBuf)>,
}

impl Apart {
    /// Enters it, and with us all children that are made from now on.
    pub(crate) fn enter() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("cannot leave the host's namespaces")?;
        mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
            .context("cannot make mounts private")?;
        mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).context("cannot mount /run")?;
        let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        let mut apart = Self { covers: Vec::new() };
        for hierarchy in table.lines().filter_map(hierarchy).map(PathBuf::from) {
            let group = hierarchy.join(format!("apart-{}", process::id()));
            match fs::create_dir(&group) {
                // Mounted twice, it is covered twice.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => made.with_context(|| format!("cannot make {}", group.display()))?,
            }
            inherit_cpuset(&hierarchy, &group)?;
            apart.covers.push((hierarchy.clone(), group.clone()));
            mount(Some(&group), &hierarchy, NOTHING, MsFlags::MS_BIND, NOTHING)
                .with_context(|| format!("cannot cover {}", hierarchy.display()))?;
        }
        Ok(apart)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        for (hierarchy, group) in &self.covers {
            // Nobody is left to be told of a failure but the person at the terminal.
            let uncovered = umount2(hierarchy, MntFlags::MNT_DETACH).map_err(Into::into);
            match uncovered.and_then(|()| fs::remove_dir(group)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    eprintln!("cannot remove {}: {error}", group.display());
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// The mount point of a hierarchy of cgroups in a line of `mountinfo`.
fn hierarchy(line: &str) -> Option<&str> {
    let (mount, file_system) = line.split_once(" - ")?;
    let kind = file_system.split(' ').next()?;
    (kind == "cgroup" || kind == "cgroup2").then(|| mount.split(' ').nth(4)).flatten()
}

/// A group of version 1 takes no task before it has processors and memory nodes.
fn inherit_cpuset(from: &Path, to: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if to.join(file).exists() && !to.join("cgroup.controllers").exists() {
            let all = fs::read_to_string(from.join(file)).with_context(|| format!("cannot read {file}"))?;
            fs::write(to.join(file), all.trim()).with_context(|| format!("cannot write {file}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_from_other_mounts() {
        assert_eq!(hierarchy("20 1 0:1 / /c/cpu rw shared:1 - cgroup cgroup rw,cpu"), Some("/c/cpu"));
        assert_eq!(hierarchy("22 1 0:3 / /c rw - cgroup2 cgroup2 rw"), Some("/c"));
        assert_eq!(hierarchy("23 1 0:4 / /run rw - tmpfs cgroup rw"), None);
    }
}
