//! The mount table of a container, mounted row by row below its root.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::statvfs::{FsFlags, statvfs},
};

use super::{cgroup::Cgroup, in_root::Root, log::Log, mount_options::MountOptions, namespaces::is_mapped, spec::Mount};

/// What rows may need to know.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) root: &'a Root,
    pub(super) bundle: &'a Path,
    pub(super) cgroup: &'a Cgroup,
    pub(super) log: &'a Log,
}

impl Table<'_> {
    /// Mounts one row.
    pub(super) fn mount(&self, row: &Mount) -> Result<()> {
        let options = MountOptions::parse(&row.options);
        let mounted = if options.is_bind() {
            self.bind(row, &options)
        } else if row.kind == "cgroup" || row.kind == "cgroup2" {
            self.cgroups(row, &options);
            Ok(())
        } else {
            self.file_system(row, &options)
        };
        mounted.with_context(|| format!("cannot mount {} on {}", row.source.display(), row.destination.display()))
    }

    fn bind(&self, row: &Mount, options: &MountOptions) -> Result<()> {
        // Relative sources are the bundle's.
        let source = self.bundle.join(&row.source);
        let is_directory = fs::metadata(&source).with_context(|| format!("no {}", source.display()))?.is_dir();
        let target =
            if is_directory { self.root.directory(&row.destination)? } else { self.root.file(&row.destination)? };
        let flags = options.flags & (MsFlags::MS_BIND | MsFlags::MS_REC);
        mount(Some(&source), target.path(), None::<&str>, flags, None::<&str>)?;
        let restrictions = options.bind_restrictions();
        if !restrictions.is_empty() {
            self.restrict(&row.destination, restrictions)?;
        }
        self.propagate(&row.destination, options)
    }

    fn file_system(&self, row: &Mount, options: &MountOptions) -> Result<()> {
        let target = self.root.directory(&row.destination)?;
        let data = known_here(&row.kind, &options.data, self.log)?;
        let data = Some(data.as_str()).filter(|data| !data.is_empty());
        match mount(Some(&row.source), target.path(), Some(row.kind.as_str()), options.flags, data) {
            // The network namespace belongs to others: its sysfs may be looked at, but not mounted.
            Err(Errno::EPERM) if row.kind == "sysfs" => {
                self.log.warn("showing the host's /sys: a new one may not be mounted here");
                let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
                mount(Some("/sys"), target.path(), None::<&str>, flags, None::<&str>)?;
            }
            mounted => mounted?,
        }
        self.propagate(&row.destination, options)
    }

    fn propagate(&self, destination: &Path, options: &MountOptions) -> Result<()> {
        for &flags in &options.propagation {
            let target = self.root.present(destination)?;
            mount(None::<&str>, target.path(), None::<&str>, flags, None::<&str>)?;
        }
        Ok(())
    }

    /// Makes what is mounted on `destination` as restricted as `flags` say.
    fn restrict(&self, destination: &Path, flags: MsFlags) -> Result<()> {
        // Looked up again: the earlier handle is on what the mount has covered.
        let target = self.root.present(destination)?;
        let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        match mount(None::<&str>, target.path(), None::<&str>, flags, None::<&str>) {
            // In a user namespace the restrictions that came with the mount are locked and have to be said again.
            Err(Errno::EPERM) => {
                let locked = locked_flags(statvfs(target.path())?.flags());
                mount(None::<&str>, target.path(), None::<&str>, flags | locked, None::<&str>)?;
            }
            restricted => restricted?,
        }
        Ok(())
    }

    /// The container's view of its groups. A test double goes on without when it cannot be had.
    fn cgroups(&self, row: &Mount, options: &MountOptions) {
        let shown = match self.cgroup {
            Cgroup::Absent => Err(anyhow::anyhow!("the container has no cgroup")),
            Cgroup::V1(v1) => self.show_v1(row, options, v1.directories()),
            Cgroup::V2(v2) => self.show(&v2.path, &row.destination, options.flags),
        };
        if let Err(error) = shown {
            self.log.warn(format!("no cgroups on {}: {error:#}", row.destination.display()));
        }
    }

    fn show_v1<'c>(
        &self,
        row: &Mount,
        options: &MountOptions,
        directories: impl Iterator<Item = (&'c [String], &'c Path)>,
    ) -> Result<()> {
        let target = self.root.directory(&row.destination)?;
        let flags = options.flags - MsFlags::MS_RDONLY;
        mount(Some("tmpfs"), target.path(), Some("tmpfs"), flags, Some("mode=755"))?;
        for (controllers, directory) in directories {
            let joined = controllers.join(",");
            let name = joined.strip_prefix("name=").unwrap_or(&joined);
            self.show(directory, &row.destination.join(name), options.flags)?;
        }
        if options.flags.contains(MsFlags::MS_RDONLY) {
            self.restrict(&row.destination, options.flags)?;
        }
        Ok(())
    }

    fn show(&self, directory: &Path, destination: &Path, flags: MsFlags) -> Result<()> {
        let target = self.root.directory(destination)?;
        mount(Some(directory), target.path(), None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        self.restrict(destination, flags)
    }

    /// Covers a path so that nothing can be read there.
    pub(super) fn mask(&self, path: &Path) -> Result<()> {
        let Some(target) = self.root.find(path)? else {
            return Ok(());
        };
        match mount(Some("/dev/null"), target.path(), None::<&str>, MsFlags::MS_BIND, None::<&str>) {
            Err(Errno::ENOTDIR) => mount(Some("tmpfs"), target.path(), Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>),
            masked => masked,
        }
        .with_context(|| format!("cannot mask {}", path.display()))
    }

    /// Takes away the right to write at and below a path.
    pub(super) fn make_readonly(&self, path: &Path) -> Result<()> {
        let Some(target) = self.root.find(path)? else {
            return Ok(());
        };
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        let made = mount(Some(target.path()), target.path(), None::<&str>, flags, None::<&str>);
        made.with_context(|| format!("cannot bind {} to itself", path.display()))?;
        let kept =
            locked_flags(statvfs(target.path()).with_context(|| format!("cannot look at {}", path.display()))?.flags());
        self.restrict(path, kept | MsFlags::MS_RDONLY)
            .with_context(|| format!("cannot make {} read-only", path.display()))
    }
}

/// Leaves out a group that the user namespace does not map: devpts would be refused for its `gid=5`.
fn known_here(kind: &str, data: &str, log: &Log) -> Result<String> {
    if kind != "devpts" || !data.contains("gid=") {
        return Ok(data.to_owned());
    }
    let map = fs::read_to_string("/proc/self/gid_map").context("cannot read the own gid map")?;
    let is_known = |option: &&str| {
        let gid = option.strip_prefix("gid=").and_then(|gid| gid.parse().ok());
        gid.is_none_or(|gid| is_mapped(&map, gid))
    };
    let known: Vec<&str> = data.split(',').filter(is_known).collect();
    let known = known.join(",");
    if known != data {
        log.warn(format!("devpts without its group, which is not mapped here: {data}"));
    }
    Ok(known)
}

fn locked_flags(flags: FsFlags) -> MsFlags {
    let pairs = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let locked = pairs.into_iter().filter(|(there, _)| flags.contains(*there));
    locked.map(|(_, flag)| flag).collect()
}
