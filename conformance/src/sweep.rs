//! Removes what dead runs have left: cgroups and the processes in them, directories and what is mounted or serves below.
//!
//! A run that ends by itself, or at a signal that it hears, leaves nothing, and the worlds of one that is killed are taken down by their
//! keepers. What is left then are the run's own directories, and more when keepers were killed too. Only what carries the name of a run
//! whose lock is free, and belongs to this user, is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use fault_injector::seam::process::Process;
use nix::{sys::signal::Signal, unistd::geteuid};

use crate::{
    lab::{
        cgroups::Groups,
        deadline, residue,
        world::{self, DYING},
    },
    tenancy,
};

/// What a run that is dead has left. While this exists nobody else sweeps it.
#[derive(Debug)]
pub struct Dead {
    run: String,
    groups: Groups,
    directories: Vec<PathBuf>,
    _locks: Vec<File>,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// How many dead runs there were.
    pub runs: usize,
    /// How many cgroups were removed.
    pub cgroups: usize,
    /// How many processes were ended.
    pub processes: usize,
    /// How many directories were removed.
    pub directories: usize,
    /// What could not be removed, and why.
    pub left: Vec<String>,
}

/// Removes what dead runs have left.
///
/// # Errors
///
/// When this cannot even be looked for.
pub fn sweep() -> Result<Swept> {
    let mut swept = Swept::default();
    for dead in dead()? {
        dead.clear(&mut swept);
    }
    Ok(swept)
}

/// The same, with a line on standard error when there was something.
///
/// # Errors
///
/// When this cannot even be looked for.
pub fn sweep_and_tell() -> Result<()> {
    let swept = sweep()?;
    if swept.runs > 0 {
        anstream::eprintln!("{swept}");
    }
    Ok(())
}

/// Every dead run that has left something where runs of this user leave things.
///
/// # Errors
///
/// When the mounts, or a directory that carries a run's name, cannot be read.
pub fn dead() -> Result<Vec<Dead>> {
    let mut runs: BTreeMap<String, (Vec<PathBuf>, Vec<PathBuf>)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for hierarchy in residue::hierarchies()? {
        for Marked { run, path, inode } in marked_in(&hierarchy)? {
            // A hierarchy may be mounted twice, and our own second lock would look like that of somebody alive.
            if seen.insert(inode) {
                runs.entry(run).or_default().0.push(path);
            }
        }
    }
    for Marked { run, path, .. } in marked_in(&std::env::temp_dir())? {
        runs.entry(run).or_default().1.push(path);
    }
    let mut dead = Vec::new();
    for (run, (groups, directories)) in runs {
        let mut locks = Vec::new();
        for path in groups.iter().chain(&directories) {
            locks.push(tenancy::lock_of_dead(path).with_context(|| format!("lock {}", path.display()))?);
        }
        // One lock that cannot be had is enough: a run lives that has been to all these places, or somebody sweeps them.
        if let Some(locks) = locks.into_iter().collect() {
            dead.push(Dead { run, groups: Groups::at(groups), directories, _locks: locks });
        }
    }
    Ok(dead)
}

/// A directory with a run's name.
struct Marked {
    run: String,
    path: PathBuf,
    /// Device and number.
    inode: (u64, u64),
}

/// The directories in `place` that carry a run's name and belong to this user.
fn marked_in(place: &Path) -> Result<Vec<Marked>> {
    let entries = match fs::read_dir(place) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("list {}", place.display()))?,
    };
    let mut marked = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(run) = name.to_str().and_then(tenancy::run_of) else { continue };
        // A link is not followed. What is gone was somebody else's to remove.
        let metadata = entry.metadata().ok().filter(|it| it.is_dir() && it.uid() == geteuid().as_raw());
        if let Some(it) = metadata {
            marked.push(Marked { run: run.to_owned(), path: entry.path(), inode: (it.dev(), it.ino()) });
        }
    }
    Ok(marked)
}

impl Dead {
    fn clear(self, swept: &mut Swept) {
        swept.runs += 1;
        // Shims first, while their containers still live: a shim that sees these end would clean up after them.
        for directory in &self.directories {
            match end_below(directory) {
                Ok(ended) => swept.processes += ended,
                Err(e) => swept.left.push(format!("{e:#}")),
            }
        }
        self.clear_groups(swept);
        for directory in &self.directories {
            match clear_directory(directory) {
                Ok(()) => swept.directories += 1,
                Err(e) => swept.left.push(format!("{e:#}")),
            }
        }
    }

    fn clear_groups(&self, swept: &mut Swept) {
        let mut ended = BTreeSet::new();
        let cleared = deadline::until_blocking(DYING, || {
            // The next round meets the same obstacle, and the last one tells of it.
            let obstacle = self.groups.thaw().and_then(|()| self.groups.kill()).map(|killed| ended.extend(killed));
            let removal = self.groups.remove();
            swept.cgroups += removal.removed;
            (obstacle.is_ok() && removal.left.is_empty()).then_some(())
        });
        swept.processes += ended.len();
        if cleared.is_none() {
            let processes = self.groups.processes();
            let why = self.groups.thaw().err().map(|e| format!(": {e:#}")).unwrap_or_default();
            let directories = self.groups.directories();
            swept.left.push(format!("cgroups {directories:?} with processes {processes:?}{why}"));
        }
    }
}

/// A line such as `run 4711.1f2e3d4c: 13 cgroups with 2 processes, /tmp/conformance-run-4711.1f2e3d4c`.
impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (groups, processes) = (self.groups.directories().len(), self.groups.processes().len());
        write!(f, "run {}: {groups} cgroups with {processes} processes", self.run)?;
        self.directories.iter().try_for_each(|directory| write!(f, ", {}", directory.display()))
    }
}

/// A line for the person who started the sweep.
impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, cgroups, processes, directories, left } = self;
        if *runs == 0 {
            return f.write_str("swept: no killed run has left anything");
        }
        write!(
            f,
            "swept what {runs} killed {} left: {cgroups} cgroups, {processes} processes, {directories} directories",
            if *runs == 1 { "run" } else { "runs" }
        )?;
        left.iter().try_for_each(|what| write!(f, "\n  still there: {what}"))
    }
}

/// Ends the processes whose working directory lies below, and removes their sockets: shims of worlds without isolation work in their
/// bundles.
fn end_below(directory: &Path) -> Result<usize> {
    let works_below = |pid: i32| {
        let own = procfs::process::Process::new(pid).and_then(|process| process.cwd());
        own.is_ok_and(|own| own.starts_with(directory))
    };
    let mut ended = 0;
    let mut sockets = Vec::new();
    let ours = ourselves();
    for process in procfs::process::all_processes().context("list /proc")?.flatten() {
        // Asked again once it cannot be confused with another any more.
        if !ours.contains(&process.pid)
            && works_below(process.pid)
            && let Ok(held) = Process::open(process.pid)
            && works_below(process.pid)
        {
            sockets.extend(residue::sockets_of(process.pid));
            ended += usize::from(held.signal(Signal::SIGKILL).is_ok());
        }
    }
    residue::remove_younger(&sockets, directory)?;
    Ok(ended)
}

/// This process and those that it comes from: whoever looks at what a run has left may stand in it.
fn ourselves() -> BTreeSet<i32> {
    let mut ours = BTreeSet::new();
    let mut next = procfs::process::Process::myself();
    while let Ok(process) = next
        && ours.insert(process.pid)
        && let Ok(stat) = process.stat()
    {
        next = procfs::process::Process::new(stat.ppid);
    }
    ours
}

/// Removes a run's directory and those of its worlds; what a keeper that is still dying has removed meanwhile is gone as well.
fn clear_directory(directory: &Path) -> Result<()> {
    let worlds = match fs::read_dir(directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        worlds => worlds.with_context(|| format!("list {}", directory.display()))?,
    };
    for world in worlds.flatten() {
        world::remove(&world.path())?;
    }
    match fs::remove_dir(directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("remove {}", directory.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_told_in_one_line() {
        assert_eq!(Swept::default().to_string(), "swept: no killed run has left anything");
        let swept = Swept { runs: 1, cgroups: 12, processes: 2, ..Swept::default() };
        assert_eq!(swept.to_string(), "swept what 1 killed run left: 12 cgroups, 2 processes, 0 directories");
        let swept = Swept { runs: 2, left: vec!["a".to_owned()], ..swept };
        assert!(swept.to_string().ends_with("\n  still there: a"));
    }

    #[test]
    fn whoever_sweeps_is_spared_and_so_is_who_asked_for_it() {
        let ours = ourselves();
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert!(ours.contains(&i32::try_from(std::process::id()).unwrap()) && ours.contains(&parent), "{ours:?}");
    }

    #[test]
    fn only_directories_of_runs_are_marked() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("conformance-run-a")).unwrap();
        fs::create_dir(at("conformance-1-2")).unwrap();
        fs::write(at("conformance-run-file"), "").unwrap();
        std::os::unix::fs::symlink("/", at("conformance-run-link")).unwrap();
        let [marked] = &marked_in(place.path()).unwrap()[..] else { panic!("one directory is marked") };
        assert_eq!((marked.run.as_str(), &marked.path), ("a", &at("conformance-run-a")));
    }
}
