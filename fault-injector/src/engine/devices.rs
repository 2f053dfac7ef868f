//! `/dev` of a container: the nodes and links that the specification promises, and those the configuration adds.

use std::{os::fd::AsFd, path::Path};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, makedev, mknodat},
    unistd::{Gid, Uid, fchownat, symlinkat},
};

use super::{in_root::Root, spec::Device};

/// Name, major, minor (`linux/Documentation/admin-guide/devices.txt`).
const NODES: [(&str, i64, i64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes what is missing; what is there stays.
pub(super) fn populate(root: &Root, devices: &[Device]) -> Result<()> {
    let defaults = NODES.map(|(name, major, minor)| Device {
        path: Path::new("/dev").join(name),
        kind: "c".to_owned(),
        major,
        minor,
        file_mode: Some(0o666),
        uid: None,
        gid: None,
    });
    for device in defaults.iter().chain(devices) {
        make(root, device).with_context(|| format!("cannot make device {}", device.path.display()))?;
    }
    let dev = root.directory(Path::new("/dev"))?;
    for (name, target) in LINKS {
        match symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot link /dev/{name}")),
        }
    }
    Ok(())
}

fn make(root: &Root, device: &Device) -> Result<()> {
    let kind = match device.kind.as_str() {
        "c" | "u" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        "p" => SFlag::S_IFIFO,
        other => bail!("unknown device type {other:?}"),
    };
    let number = makedev(u64::try_from(device.major)?, u64::try_from(device.minor)?);
    let mode = Mode::from_bits_truncate(device.file_mode.unwrap_or(0o666) & 0o7777);
    let (parent, name) = root.parent_of(&device.path)?;
    match mknodat(&parent, name, kind, mode, number) {
        Ok(()) => {}
        Err(Errno::EEXIST) => return Ok(()),
        // A user namespace makes no device nodes, but may show those of the host.
        Err(Errno::EPERM) => return bind(root, &device.path),
        Err(error) => return Err(error.into()),
    }
    // The mode was subject to the umask.
    fchmodat(&parent, name, mode, FchmodatFlags::FollowSymlink)?;
    give(&parent, name, device)
}

fn give(parent: impl AsFd, name: &std::ffi::OsStr, device: &Device) -> Result<()> {
    let (uid, gid) = (device.uid.map(Uid::from_raw), device.gid.map(Gid::from_raw));
    if uid.is_some() || gid.is_some() {
        fchownat(parent, name, uid, gid, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn bind(root: &Root, path: &Path) -> Result<()> {
    let target = root.file(path)?;
    mount(Some(path), target.path(), None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}
