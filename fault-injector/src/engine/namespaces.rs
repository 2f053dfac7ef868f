//! Which namespaces a process is born in, which it joins, and how ids are mapped in a new user namespace.

use std::{
    fs::{self, File},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CloneFlags, setns},
    unistd::{Pid, Uid, geteuid},
};

use super::spec::{IdMapping, Linux, Namespace, NamespaceKind};

/// An existing namespace, held open.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) kind: NamespaceKind,
    path: PathBuf,
    file: File,
}

/// What a container's first process gets.
#[derive(Debug)]
pub(super) struct Plan {
    /// Made together with the process.
    pub(super) new: CloneFlags,
    /// Joined, in the order of the list.
    pub(super) joined: Vec<Joined>,
}

impl NamespaceKind {
    /// In the order in which a process must join them: the user namespace gives the right to the others, and after the mount
    /// namespace no path means what it did.
    const JOIN_ORDER: [Self; 7] =
        [Self::User, Self::Pid, Self::Network, Self::Ipc, Self::Uts, Self::Cgroup, Self::Mount];

    fn flag(self) -> CloneFlags {
        match self {
            Self::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Mount => CloneFlags::CLONE_NEWNS,
            Self::Network => CloneFlags::CLONE_NEWNET,
            Self::Pid => CloneFlags::CLONE_NEWPID,
            Self::User => CloneFlags::CLONE_NEWUSER,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
        }
    }

    fn proc_name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Network => "net",
            Self::Pid => "pid",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }
}

impl Plan {
    /// What the configuration asks for.
    pub(super) fn of(linux: &Linux) -> Result<Self> {
        let mut plan = Self { new: CloneFlags::empty(), joined: Vec::new() };
        for kind in NamespaceKind::JOIN_ORDER {
            match linux.namespace(kind) {
                None => {}
                Some(Namespace { path, .. }) if path.as_os_str().is_empty() => plan.new |= kind.flag(),
                Some(Namespace { path, .. }) => plan.joined.push(Joined::open(kind, path)?),
            }
        }
        Ok(plan)
    }

    /// All namespaces of a running process that are not ours already.
    pub(super) fn of_process(pid: Pid) -> Result<Self> {
        let mut joined = Vec::new();
        for kind in NamespaceKind::JOIN_ORDER {
            let theirs = PathBuf::from(format!("/proc/{pid}/ns/{}", kind.proc_name()));
            let ours = format!("/proc/self/ns/{}", kind.proc_name());
            if !is_same(&theirs, Path::new(&ours))? {
                joined.push(Joined::open(kind, &theirs)?);
            }
        }
        Ok(Self { new: CloneFlags::empty(), joined })
    }

    /// Whether a user namespace that exists is entered.
    pub(super) fn joins_user(&self) -> bool {
        self.joined.iter().any(|joined| joined.kind == NamespaceKind::User)
    }

    /// Whether a new user namespace is made.
    pub(super) fn makes_user(&self) -> bool {
        self.new.contains(CloneFlags::CLONE_NEWUSER)
    }
}

impl Joined {
    fn open(kind: NamespaceKind, path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open namespace {}", path.display()))?;
        Ok(Self { kind, path: path.to_owned(), file })
    }

    /// Moves this process there (of a PID namespace: its next children).
    pub(super) fn enter(&self) -> Result<()> {
        let entered = setns(self.file.as_fd(), self.kind.flag());
        entered.with_context(|| format!("cannot join namespace {}", self.path.display()))
    }
}

fn is_same(one: &Path, other: &Path) -> Result<bool> {
    let look = |path: &Path| fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()));
    let (one, other) = (look(one)?, look(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Writes the id maps of a process that was just cloned into a new user namespace.
pub(super) fn map_ids(pid: Pid, linux: &Linux) -> Result<()> {
    if geteuid() != Uid::from_raw(0) {
        // Without CAP_SETGID over the parent namespace, groups may be mapped only after setgroups was given up (user_namespaces(7)).
        write(pid, "setgroups", "deny")?;
    }
    write(pid, "uid_map", &id_map(&linux.uid_mappings))?;
    write(pid, "gid_map", &id_map(&linux.gid_mappings))
}

fn write(pid: Pid, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    fs::write(&path, text).with_context(|| format!("cannot write {text:?} to {path}"))
}

fn id_map(mappings: &[IdMapping]) -> String {
    let row = |mapping: &IdMapping| format!("{} {} {}\n", mapping.container_id, mapping.host_id, mapping.size);
    mappings.iter().map(row).collect()
}

/// Whether `id` means anything in the user namespace of this process; `map` is `/proc/self/uid_map` or `gid_map`.
pub(super) fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(first)), Some(Ok(_)), Some(Ok(size))) => (first..first + size).contains(&u64::from(id)),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_id_maps_only_itself() {
        let map = "         0      12345          1\n";
        assert!(is_mapped(map, 0));
        assert!(!is_mapped(map, 5));
    }

    #[test]
    fn the_first_namespace_maps_all() {
        assert!(is_mapped("         0          0 4294967295\n", 65_534));
    }

    #[test]
    fn maps_are_written_inside_first() {
        let mapping = IdMapping { container_id: 0, host_id: 1000, size: 1 };
        assert_eq!(id_map(&[mapping]), "0 1000 1\n");
    }
}
