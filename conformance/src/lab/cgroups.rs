//! One control group in all hierarchies, to be thawed, emptied and removed as one.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use fault_injector::seam::process::{Process, ProcessError};
use nix::sys::signal::Signal;

use super::residue;

/// A group's directory in each hierarchy; whichever of them exist.
#[derive(Debug, Clone, Default)]
pub struct Groups(Vec<PathBuf>);

/// What came of an attempt to remove groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// How many directories were removed.
    pub removed: usize,
    /// Those that are still in use.
    pub left: Vec<PathBuf>,
}

impl Groups {
    /// The group above all those of the world `unique`.
    ///
    /// # Errors
    ///
    /// When the mounts cannot be read.
    pub fn of_world(unique: &str) -> Result<Self> {
        let path = residue::cgroup_parent(unique);
        let hierarchies = residue::hierarchies()?;
        Ok(Self(hierarchies.into_iter().map(|hierarchy| hierarchy.join(path.trim_start_matches('/'))).collect()))
    }

    /// The group at these directories.
    pub fn at(directories: Vec<PathBuf>) -> Self {
        Self(directories)
    }

    /// The directories of the group above this one.
    pub fn parents(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|directory| directory.parent())
    }

    /// Thaws it and all below: in a frozen group of v1 not even SIGKILL is obeyed.
    ///
    /// # Errors
    ///
    /// With the group that stays frozen.
    pub fn thaw(&self) -> Result<()> {
        self.0.iter().try_for_each(|directory| thaw(directory))
    }

    /// Sends SIGKILL to every process in it and below, and says to which. Those of other PID namespaces cannot be reached on v1.
    ///
    /// # Errors
    ///
    /// When a process cannot be signalled.
    pub fn kill(&self) -> Result<BTreeSet<i32>> {
        let mut killed = BTreeSet::new();
        for directory in &self.0 {
            kill(directory, &mut killed)?;
        }
        Ok(killed)
    }

    /// The processes in it and below.
    pub fn processes(&self) -> BTreeSet<i32> {
        let all = self.0.iter().flat_map(|directory| family(directory));
        all.flat_map(|directory| listed(&directory)).collect()
    }

    /// Every directory of it and below, the deepest first.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.0.iter().flat_map(|directory| family(directory)).collect()
    }

    /// Removes what is not in use.
    pub fn remove(&self) -> Removal {
        let mut removal = Removal::default();
        for directory in self.directories() {
            match fs::remove_dir(&directory) {
                Ok(()) => removal.removed += 1,
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(_) => removal.left.push(directory),
            }
        }
        removal
    }
}

/// A group's directory and all below, the deepest first; nothing when it is gone.
fn family(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut all: Vec<PathBuf> = below.flat_map(|entry| family(&entry.path())).collect();
    all.push(directory.to_owned());
    all
}

/// A group freezes with the one above, so those above are thawed first.
fn thaw(directory: &Path) -> Result<()> {
    for directory in family(directory).into_iter().rev() {
        let state = directory.join("freezer.state");
        match fs::write(&state, "THAWED") {
            Err(e) if state.exists() => return Err(e).with_context(|| format!("thaw {}", directory.display())),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn kill(directory: &Path, killed: &mut BTreeSet<i32>) -> Result<()> {
    let all = family(directory);
    let kill_file = directory.join("cgroup.kill");
    if kill_file.exists() {
        killed.extend(all.iter().flat_map(|directory| listed(directory)));
        // Removed meanwhile, it has nobody to kill.
        return match fs::write(&kill_file, "1") {
            Err(e) if kill_file.exists() => Err(e).with_context(|| format!("write {}", kill_file.display())),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    for directory in all {
        let opened: Vec<Process> = listed(&directory).into_iter().filter_map(|pid| Process::open(pid).ok()).collect();
        // Whoever is on the list after it was opened is not somebody else with a number that was used again.
        let still = listed(&directory);
        for process in opened.iter().filter(|process| still.contains(&process.identity().pid)) {
            match process.signal(Signal::SIGKILL) {
                Ok(()) => _ = killed.insert(process.identity().pid),
                Err(ProcessError::Gone { .. }) => {}
                Err(e) => return Err(e).with_context(|| format!("empty {}", directory.display())),
            }
        }
    }
    Ok(())
}

/// The processes in one group; the kernel says 0 for those of other PID namespaces.
fn listed(directory: &Path) -> BTreeSet<i32> {
    let list: io::Result<String> = fs::read_to_string(directory.join("cgroup.procs"));
    let list = list.unwrap_or_default();
    list.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As far as directories go, any file system will do.
    #[test]
    fn removal_begins_at_the_deepest_and_names_what_is_in_use() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (root.path().join("one"), root.path().join("other"));
        fs::create_dir_all(one.join("a/b")).unwrap();
        fs::create_dir_all(other.join("c")).unwrap();
        fs::write(other.join("c/busy"), "").unwrap();
        let groups = Groups::at(vec![one.clone(), other.clone(), root.path().join("absent")]);
        assert_eq!(groups.remove(), Removal { removed: 3, left: vec![other.join("c"), other.clone()] });
        fs::remove_file(other.join("c/busy")).unwrap();
        assert_eq!(groups.remove(), Removal { removed: 2, left: Vec::new() });
        assert_eq!(groups.remove(), Removal::default());
    }
}
