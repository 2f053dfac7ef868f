//! The container's root file system.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use containerd_shim_protos::types::mount::Mount;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use crate::error::Error;

/// Mounts these in order on `rootfs`; on failure undoes what was mounted.
pub(crate) fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), Error> {
    for entry in mounts {
        if let Err(error) = mount_one(entry, rootfs) {
            return match unmount_all(rootfs) {
                Ok(()) => Err(error),
                Err(also) => Err(Error::Other(format!("{error}; and then {also}"))),
            };
        }
    }
    Ok(())
}

/// Unmounts everything at and below `rootfs`, the last mount first. Nothing mounted, or nothing there, is fine.
pub(crate) fn unmount_all(rootfs: &Path) -> Result<(), Error> {
    for target in mounts_below(rootfs)?.iter().rev() {
        match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Another `delete` of the same container may be at it.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(Error::io("unmount", target)(errno.into())),
        }
    }
    Ok(())
}

fn mount_one(entry: &Mount, rootfs: &Path) -> Result<(), Error> {
    let target = inside(rootfs, &entry.target)?;
    let options = Options::parse(&entry.options)?;
    let kind = entry.type_.as_str();
    let at = |errno: Errno| Error::io("mount", &target)(errno.into());
    let data = (!options.data.is_empty()).then(|| options.data.join(","));
    let bind = options.flags.contains(MsFlags::MS_BIND);
    mount(Some(entry.source.as_str()), &target, Some(kind), options.flags, data.as_deref()).map_err(at)?;
    // A bind mount takes its other flags only when mounted again, and propagation is always a call of its own.
    let again = options.flags - (MsFlags::MS_BIND | MsFlags::MS_REC);
    if bind && !again.is_empty() {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | again;
        mount(None::<&str>, &target, None::<&str>, flags, None::<&str>).map_err(at)?;
    }
    if !options.propagation.is_empty() {
        mount(None::<&str>, &target, None::<&str>, options.propagation, None::<&str>).map_err(at)?;
    }
    Ok(())
}

/// A mount's target below `rootfs`, through no symbolic link that leads out of it.
fn inside(rootfs: &Path, target: &str) -> Result<PathBuf, Error> {
    let root = fs::canonicalize(rootfs).map_err(Error::io("find", rootfs))?;
    let target = root.join(target.trim_start_matches('/'));
    let target = fs::canonicalize(&target).map_err(Error::io("find", &target))?;
    if target.starts_with(&root) {
        Ok(target)
    } else {
        Err(Error::InvalidArgument(format!("mount target {} is outside of the rootfs", target.display())))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    flags: MsFlags,
    propagation: MsFlags,
    data: Vec<String>,
}

impl Options {
    /// The options of mount(8): flags that the kernel knows by bit, and the file system's own.
    fn parse(options: &[String]) -> Result<Self, Error> {
        let mut parsed = Self { flags: MsFlags::empty(), propagation: MsFlags::empty(), data: Vec::new() };
        for option in options {
            if option == "loop" || option.starts_with("uidmap=") || option.starts_with("gidmap=") {
                return Err(Error::Unimplemented(format!("mount option {option}")));
            }
            if let Some((flag, set)) = flag(option) {
                parsed.flags.set(flag, set);
            } else if let Some(propagation) = propagation(option) {
                parsed.propagation |= propagation;
            } else {
                parsed.data.push(option.clone());
            }
        }
        Ok(parsed)
    }
}

/// The flag that an option sets or clears.
fn flag(option: &str) -> Option<(MsFlags, bool)> {
    Some(match option {
        "bind" => (MsFlags::MS_BIND, true),
        "rbind" => (MsFlags::MS_BIND | MsFlags::MS_REC, true),
        "ro" => (MsFlags::MS_RDONLY, true),
        "rw" => (MsFlags::MS_RDONLY, false),
        "nosuid" => (MsFlags::MS_NOSUID, true),
        "suid" => (MsFlags::MS_NOSUID, false),
        "nodev" => (MsFlags::MS_NODEV, true),
        "dev" => (MsFlags::MS_NODEV, false),
        "noexec" => (MsFlags::MS_NOEXEC, true),
        "exec" => (MsFlags::MS_NOEXEC, false),
        "sync" => (MsFlags::MS_SYNCHRONOUS, true),
        "async" => (MsFlags::MS_SYNCHRONOUS, false),
        "dirsync" => (MsFlags::MS_DIRSYNC, true),
        "mand" => (MsFlags::MS_MANDLOCK, true),
        "nomand" => (MsFlags::MS_MANDLOCK, false),
        "noatime" => (MsFlags::MS_NOATIME, true),
        "atime" => (MsFlags::MS_NOATIME, false),
        "nodiratime" => (MsFlags::MS_NODIRATIME, true),
        "diratime" => (MsFlags::MS_NODIRATIME, false),
        "relatime" => (MsFlags::MS_RELATIME, true),
        "norelatime" => (MsFlags::MS_RELATIME, false),
        "strictatime" => (MsFlags::MS_STRICTATIME, true),
        "nostrictatime" => (MsFlags::MS_STRICTATIME, false),
        "remount" => (MsFlags::MS_REMOUNT, true),
        "defaults" => (MsFlags::empty(), true),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<MsFlags> {
    Some(match option {
        "private" => MsFlags::MS_PRIVATE,
        "rprivate" => MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        "shared" => MsFlags::MS_SHARED,
        "rshared" => MsFlags::MS_SHARED | MsFlags::MS_REC,
        "slave" => MsFlags::MS_SLAVE,
        "rslave" => MsFlags::MS_SLAVE | MsFlags::MS_REC,
        "unbindable" => MsFlags::MS_UNBINDABLE,
        "runbindable" => MsFlags::MS_UNBINDABLE | MsFlags::MS_REC,
        _ => return None,
    })
}

/// The mount points at and below a directory, in the order in which they were mounted.
fn mounts_below(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let Ok(directory) = fs::canonicalize(directory) else {
        return Ok(Vec::new());
    };
    let table = fs::read("/proc/self/mountinfo").map_err(Error::io("read", "/proc/self/mountinfo"))?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter(|point| point.starts_with(&directory))
        .collect())
}

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let byte = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&path))
}

/// Runs a step that may block in the kernel where it delays nobody.
pub(crate) async fn aside<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(step)
        .await
        .unwrap_or_else(|cause| Err(Error::Io { what: "run a thread".to_owned(), cause: io::Error::other(cause) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_propagation_and_data() {
        let options = ["rbind", "ro", "rprivate", "lowerdir=/a:/b"].map(String::from);
        let parsed = Options::parse(&options).unwrap();
        assert_eq!(parsed.flags, MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY);
        assert_eq!(parsed.propagation, MsFlags::MS_PRIVATE | MsFlags::MS_REC);
        assert_eq!(parsed.data, ["lowerdir=/a:/b"]);
    }

    #[test]
    fn later_options_win() {
        let options = ["ro", "rw"].map(String::from);
        assert!(Options::parse(&options).unwrap().flags.is_empty());
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(br"/a\040b\134c"), PathBuf::from(r"/a b\c"));
    }
}
