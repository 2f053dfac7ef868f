//! Control groups, version 1 and 2: what a container uses, and what a dead one left behind.

mod memory;
mod metrics;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
pub(crate) use memory::MemoryWatch;

/// The cgroups of one process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cgroup {
    /// A directory per controller.
    V1(HashMap<String, PathBuf>),
    /// One directory for all.
    V2(PathBuf),
}

impl Cgroup {
    /// The cgroups of a living process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let hierarchies = Hierarchy::all().ok()?;
        let mut controllers = HashMap::new();
        let mut unified = None;
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            for hierarchy in &hierarchies {
                if names.is_empty() && hierarchy.controllers.is_empty() {
                    unified = Some(hierarchy.directory(path));
                }
                for name in names.split(',').filter(|name| hierarchy.controllers.iter().any(|found| found == name)) {
                    controllers.insert(name.to_owned(), hierarchy.directory(path));
                }
            }
        }
        // With a mixture the controllers are where the counting is done.
        if controllers.contains_key("memory") { Some(Self::V1(controllers)) } else { unified.map(Self::V2) }
    }

    /// The cgroups that these lie in.
    pub(crate) fn parent(&self) -> Option<Self> {
        match self {
            Self::V1(controllers) => {
                let parent = |(name, directory): (&String, &PathBuf)| Some((name.clone(), directory.parent()?.into()));
                controllers.iter().map(parent).collect::<Option<_>>().map(Self::V1)
            }
            Self::V2(directory) => directory.parent().map(|parent| Self::V2(parent.into())),
        }
    }

    /// What the container uses, in the message of containerd's that fits the version; nothing when it is gone.
    pub(crate) fn metrics(&self) -> Option<Any> {
        match self {
            Self::V1(controllers) => metrics::v1(controllers),
            Self::V2(directory) => metrics::v2(directory),
        }
    }

    /// How many processes the kernel has killed here for want of memory.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let file = match self {
            Self::V1(controllers) => controllers.get("memory").map(|directory| directory.join("memory.oom_control")),
            Self::V2(directory) => Some(directory.join("memory.events")),
        };
        file.and_then(|file| keyed(&file).ok()).and_then(|values| values.get("oom_kill").copied()).unwrap_or(0)
    }

    /// A watch for want of memory; none where there is no memory controller, or where the process has no cgroup of
    /// its own and it would tell of others.
    pub(crate) fn watch_memory(&self) -> io::Result<Option<MemoryWatch>> {
        let Some(directory) = self.memory() else {
            return Ok(None);
        };
        if self.is_ours() {
            return Ok(None);
        }
        match self {
            Self::V1(_) => MemoryWatch::v1(directory).map(Some),
            Self::V2(_) if directory.join("memory.events").exists() => MemoryWatch::v2(directory).map(Some),
            Self::V2(_) => Ok(None),
        }
    }

    /// Kills every process in it, unless it is the shim's own: some runtimes make none.
    pub(crate) fn kill(&self) {
        let processes = match self.memory() {
            Some(directory) if !self.is_ours() => fs::read_to_string(directory.join("cgroup.procs")),
            _ => return,
        };
        for pid in processes.unwrap_or_default().lines().filter_map(|pid| pid.parse().ok()) {
            // Gone meanwhile, or it cannot be killed, and nobody can help that.
            drop(crate::sys::send_signal(pid, libc::SIGKILL.unsigned_abs()));
        }
    }

    fn is_ours(&self) -> bool {
        Self::of(std::process::id()).as_ref().and_then(Self::memory) == self.memory()
    }

    fn memory(&self) -> Option<&Path> {
        match self {
            Self::V1(controllers) => controllers.get("memory").map(PathBuf::as_path),
            Self::V2(directory) => Some(directory),
        }
    }
}

/// A mounted cgroup file system.
struct Hierarchy {
    point: PathBuf,
    /// What of the hierarchy is mounted.
    root: String,
    /// Empty for version 2.
    controllers: Vec<String>,
}

impl Hierarchy {
    fn all() -> io::Result<Vec<Self>> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(table.lines().filter_map(Self::parse).collect())
    }

    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let (root, point) = (mount.get(3)?, mount.get(4)?);
        let mut fields = file_system.splitn(3, ' ');
        let (kind, _, options) = (fields.next()?, fields.next()?, fields.next()?);
        let controllers = match kind {
            "cgroup2" => Vec::new(),
            "cgroup" => {
                options.split(',').filter(|option| *option != "rw" && *option != "ro").map(String::from).collect()
            }
            _ => return None,
        };
        Some(Self { point: PathBuf::from(point), root: (*root).to_owned(), controllers })
    }

    /// Where a cgroup, named as in /proc/PID/cgroup, is to be found.
    fn directory(&self, path: &str) -> PathBuf {
        let relative = path.strip_prefix(self.root.as_str()).unwrap_or(path);
        self.point.join(relative.trim_start_matches('/'))
    }
}

/// Removes what a runtime that died too early left of a container's cgroups. `path` is the `cgroupsPath` of its
/// configuration. Processes are only killed in cgroups that bear the container's id: another may be shared.
pub(crate) fn remove(path: &str, id: &str) -> io::Result<()> {
    let path = if path.starts_with('/') { path.to_owned() } else { systemd_path(path) };
    if path.split('/').any(|part| part == "..") || path.trim_matches('/').is_empty() {
        return Ok(());
    }
    let mut result = Ok(());
    for hierarchy in Hierarchy::all()? {
        let directory = hierarchy.point.join(path.trim_start_matches('/'));
        let named = directory.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            let name = name.strip_suffix(".scope").unwrap_or(name);
            name == id || name.strip_suffix(id).is_some_and(|prefix| prefix.ends_with('-'))
        });
        if named && directory.is_dir() {
            result = remove_tree(&directory).and(result);
        }
    }
    result
}

/// `slice:prefix:name` is `slice/prefix-name.scope`, and each dash of a slice's name is a level above it.
fn systemd_path(path: &str) -> String {
    let mut parts = path.split(':');
    let (Some(slice), Some(prefix), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return String::new();
    };
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    let levels = stem.match_indices('-').map(|(end, _)| &stem[..end]).chain([stem]);
    let parents: String = levels.map(|level| format!("/{level}.slice")).collect();
    format!("{parents}/{prefix}-{name}.scope")
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    for pid in fs::read_to_string(directory.join("cgroup.procs"))?.lines().filter_map(|pid| pid.parse().ok()) {
        // Gone meanwhile, or it cannot be killed and then the removal fails.
        drop(crate::sys::send_signal(pid, libc::SIGKILL.unsigned_abs()));
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A file of lines with a word and a number.
fn keyed(path: &Path) -> io::Result<HashMap<String, u64>> {
    let text = fs::read_to_string(path)?;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs.filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?))).collect())
}

/// A file with one number; "max" is the largest.
fn number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    if text.trim() == "max" { Some(u64::MAX) } else { text.trim().parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_nested() {
        assert_eq!(systemd_path("a-b.slice:cri:x"), "/a.slice/a-b.slice/cri-x.scope");
        assert_eq!(systemd_path("nonsense"), "");
    }

    #[test]
    fn hierarchies_of_both_versions() {
        let v1 = Hierarchy::parse("1 2 0:3 / /c/memory rw - cgroup cgroup rw,memory").unwrap();
        assert_eq!((v1.controllers, v1.point), (vec!["memory".to_owned()], PathBuf::from("/c/memory")));
        let v2 = Hierarchy::parse("1 2 0:3 /a /c rw - cgroup2 none rw").unwrap();
        assert_eq!(v2.directory("/a/b"), PathBuf::from("/c/b"));
        assert!(Hierarchy::parse("1 2 0:3 / /c rw - tmpfs tmpfs rw").is_none());
    }
}
