//! The container's file system, built in its new mount namespace and then made `/`.

use std::{io::Write as _, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, chroot, pivot_root},
};

use super::{
    cgroup::Cgroup,
    devices,
    in_root::Root,
    log::Log,
    mount_options::{MountOptions, propagation},
    mounts::Table,
    spec::Spec,
};

/// Where the pieces are.
#[derive(Debug)]
pub(super) struct Rootfs<'a> {
    pub(super) spec: &'a Spec,
    pub(super) bundle: &'a Path,
    pub(super) path: &'a Path,
    pub(super) cgroup: &'a Cgroup,
    pub(super) no_pivot: bool,
    pub(super) log: &'a Log,
}

impl Rootfs<'_> {
    /// Builds the tree below its path on the host.
    pub(super) fn build(&self) -> Result<()> {
        self.isolate()?;
        let root = Root::open(self.path)?;
        let table = Table { root: &root, bundle: self.bundle, cgroup: self.cgroup, log: self.log };
        self.spec.mounts.iter().try_for_each(|row| table.mount(row))?;
        if !self.shows_host_devices() {
            devices::populate(&root, &self.spec.linux.devices)?;
        }
        self.set_sysctls(&root)?;
        let linux = &self.spec.linux;
        linux.readonly_paths.iter().try_for_each(|path| table.make_readonly(path))?;
        linux.masked_paths.iter().try_for_each(|path| table.mask(path))?;
        self.ensure_working_directory(&root)
    }

    /// Makes the tree `/`, and the host's unreachable.
    pub(super) fn enter(&self) -> Result<()> {
        chdir(self.path).with_context(|| format!("cannot enter {}", self.path.display()))?;
        if self.no_pivot {
            mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).context("cannot move the root")?;
            chroot(".").context("cannot change the root")?;
        } else {
            // The old root ends up mounted over the new one, where one unmount takes it off (pivot_root(2), NOTES).
            pivot_root(".", ".").context("cannot pivot the root")?;
            umount2(".", MntFlags::MNT_DETACH).context("cannot take off the old root")?;
        }
        chdir("/").context("cannot enter the new root")?;
        if self.spec.root.as_ref().is_some_and(|root| root.readonly) {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("cannot make the root read-only")?;
        }
        Ok(())
    }

    /// Nothing that is mounted from here on is seen outside, and the root is a mount of its own.
    fn isolate(&self) -> Result<()> {
        let asked = self.spec.linux.rootfs_propagation.as_deref().unwrap_or("rslave");
        let flags = propagation(asked).with_context(|| format!("unknown rootfs propagation {asked:?}"))?;
        // Sharing with the host would show it the container's mounts, and pivot_root refuses a shared parent.
        let flags = if flags.contains(MsFlags::MS_SHARED) { MsFlags::MS_SLAVE | MsFlags::MS_REC } else { flags };
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("cannot isolate mounts")?;
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        let bound = mount(Some(self.path), self.path, None::<&str>, bind, None::<&str>);
        bound.with_context(|| format!("cannot bind root {}", self.path.display()))
    }

    fn shows_host_devices(&self) -> bool {
        let is_bound_dev = |row: &super::spec::Mount| {
            row.destination == Path::new("/dev") && MountOptions::parse(&row.options).is_bind()
        };
        self.spec.mounts.iter().any(is_bound_dev)
    }

    fn set_sysctls(&self, root: &Root) -> Result<()> {
        for (name, value) in &self.spec.linux.sysctl {
            let path = Path::new("/proc/sys").join(name.replace('.', "/"));
            let mut file = std::fs::File::from(root.writable(&path)?);
            file.write_all(value.as_bytes()).with_context(|| format!("cannot set sysctl {name} to {value:?}"))?;
        }
        Ok(())
    }

    fn ensure_working_directory(&self, root: &Root) -> Result<()> {
        let cwd = &self.spec.process()?.cwd;
        if root.find(cwd)?.is_none() {
            root.directory(cwd)?;
        }
        Ok(())
    }
}
