//! What happens to files under the feet of those who use them: no room, no writing, no path.
//!
//! Mounts are changed in the mount namespace of the caller, which should be one of its own.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statvfs::{FsFlags, statvfs},
};

use crate::fault::{Action, Damage, Fault, Unfit};
use crate::guard::Guard;

const NOTHING: Option<&str> = None;
/// A tmpfs that grows while it is measured cannot be made so small; the next measure is likely right.
const ATTEMPTS: usize = 20;

/// Carries out a [`Damage::Full`] fault on the tmpfs that is mounted at `mount_point`: it is made as small as what lies in it, in bytes
/// and in files. What others use of it meanwhile cannot be more; what they delete makes room.
///
/// # Errors
///
/// [`DiskError`] when the fault is another one, or the file system cannot be made smaller.
pub fn fill(fault: &Fault, mount_point: &Path) -> Result<Guard, DiskError> {
    expect(fault, &[Damage::Full])?;
    let failed = |e: Errno| DiskError::io("fill", mount_point, e.into());
    let former = statvfs(mount_point).map_err(failed)?;
    let (size, files) = (former.blocks() * former.fragment_size(), former.files());
    let flags = kept(former.flags());
    let resize = {
        let place = mount_point.to_owned();
        move |size: u64, files: u64| {
            let data = format!("size={size},nr_inodes={files}");
            mount(NOTHING, &place, NOTHING, MsFlags::MS_REMOUNT | flags, Some(data.as_str()))
        }
    };
    let shrink = || {
        let now = statvfs(mount_point)?;
        // Zero would mean without a limit.
        let used = (now.blocks() - now.blocks_free()).max(1) * now.fragment_size();
        resize(used, (now.files() - now.files_free()).max(1))
    };
    let mut shrunk = shrink();
    for _ in 1..ATTEMPTS {
        if shrunk != Err(Errno::EINVAL) {
            break;
        }
        shrunk = shrink();
    }
    shrunk.map_err(failed)?;
    let place = mount_point.to_owned();
    let (guard, bites) = Guard::new(fault.id, move || told(resize(size, files), "make room", &place));
    tried(mount_point, Errno::ENOSPC)?;
    bites.count();
    Ok(guard)
}

/// Carries out a [`Damage::ReadOnly`] fault on everything below `directories`. What is open stays as it was opened.
///
/// # Errors
///
/// [`DiskError`] when the fault is another one, or a directory cannot be mounted anew.
pub fn write_protect(fault: &Fault, directories: &[PathBuf]) -> Result<Guard, DiskError> {
    expect(fault, &[Damage::ReadOnly])?;
    let mut covers = Covers(Vec::new());
    for directory in directories {
        let failed = |e: Errno| DiskError::io("write-protect", directory, e.into());
        mount(Some(directory), directory, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING).map_err(failed)?;
        covers.0.push(directory.clone());
        let flags = kept(statvfs(directory).map_err(failed)?.flags());
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags;
        mount(NOTHING, directory, NOTHING, read_only, NOTHING).map_err(failed)?;
        tried(directory, Errno::EROFS)?;
    }
    let (guard, bites) = Guard::new(fault.id, move || drop(covers));
    bites.count();
    Ok(guard)
}

/// Carries out a fault that takes a path away. It lies under another name until the fault heals; who has it open notices nothing.
///
/// # Errors
///
/// [`DiskError`] when the fault is another one, or there is no such path.
pub fn hide(fault: &Fault, path: &Path) -> Result<Guard, DiskError> {
    expect(fault, &[Damage::SocketGone, Damage::AddressGone, Damage::BundleGone])?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".gone-{name}"));
    fs::rename(path, &aside).map_err(|e| DiskError::io("hide", path, e))?;
    let place = path.to_owned();
    let (guard, bites) = Guard::new(fault.id, move || {
        let healed = match place.symlink_metadata() {
            Err(_) => fs::rename(&aside, &place),
            // Whatever somebody put there meanwhile is newer. A bundle is never put there again while its container is known.
            Ok(_) if aside.is_dir() => Ok(()),
            Ok(_) => fs::remove_file(&aside),
        };
        told(healed.map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0))), "put back", &place);
    });
    bites.count();
    Ok(guard)
}

fn expect(fault: &Fault, damages: &[Damage]) -> Result<(), Unfit> {
    match damages.iter().any(|damage| fault.does == Action::Damage(*damage)) {
        true => Ok(()),
        false => Err(Unfit::new(fault, "another damage is done here")),
    }
}

/// Mounts that go when this is dropped.
#[derive(Debug)]
struct Covers(Vec<PathBuf>);

impl Drop for Covers {
    fn drop(&mut self) {
        for directory in self.0.iter().rev() {
            told(umount2(directory, MntFlags::MNT_DETACH), "unmount", directory);
        }
    }
}

/// A fault that does not heal spoils what comes after it, and must not go unnoticed.
///
/// # Panics
///
/// When undoing failed.
fn told(undone: nix::Result<()>, what: &str, path: &Path) {
    match undone {
        Err(e) if std::thread::panicking() => eprintln!("while unwinding: {what} {}: {e}", path.display()),
        Err(e) => panic!("{what} {}: {e}", path.display()),
        Ok(()) => {}
    }
}

/// A remount drops what it does not repeat.
fn kept(flags: FsFlags) -> MsFlags {
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    pairs.into_iter().filter(|(is, _)| flags.contains(*is)).map(|(_, set)| set).collect()
}

/// Nothing can be made in `directory` any more, for this reason.
fn tried(directory: &Path, reason: Errno) -> Result<(), DiskError> {
    let trial = directory.join(format!(".trial-{}", std::process::id()));
    match fs::write(&trial, "trial") {
        Err(e) if e.raw_os_error() == Some(reason as i32) => {
            // The name may have found room where its content did not.
            match fs::remove_file(&trial) {
                Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ReadOnlyFilesystem) => {
                    Err(DiskError::io("remove a trial in", directory, e))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        }
        Err(e) => Err(DiskError::io("try", directory, e)),
        Ok(()) => {
            _ = fs::remove_file(&trial);
            Err(DiskError::io("try", directory, io::Error::other("a file could be written all the same")))
        }
    }
}

/// Why no damage was done.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The fault is none for this seam.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The kernel refused.
    #[error("{what} {}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl DiskError {
    fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }
}
