//! The shim's socket: one path per (containerd, namespace, group), whoever asks.
//!
//! Whoever decides about a path (make it, replace a stale one, remove it) holds the lock on its directory, so twenty
//! starts at once make one socket, and a shim that leaves cannot remove its successor's.

use std::{
    fmt::Write,
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// Where sockets live unless containerd names another directory.
pub(crate) const DIRECTORY: &str = "/run/containerd/s";

/// The longest path that fits into a `sockaddr_un` with its terminating zero.
const PATH_MAX: usize = 107;

const SCHEME: &str = "unix://";

/// What `start` found or made.
pub(crate) enum Claim {
    /// A shim listens here already.
    Taken,
    /// The socket is new and listens; nobody accepts yet.
    Ours(UnixListener),
}

/// The path for a group; stable across builds, since a later `start` has to find the shim of an earlier build.
pub(crate) fn path(directory: &Path, containerd: &str, namespace: &str, group: &str) -> Result<PathBuf, Error> {
    let key = Path::new(containerd).join(namespace).join(group);
    let mut name = String::with_capacity(64);
    for byte in Sha256::digest(key.as_os_str().as_encoded_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    let path = directory.join(name);
    if path.as_os_str().len() >= PATH_MAX {
        return Err(Error::InvalidArgument(format!("socket path {} is too long", path.display())));
    }
    Ok(path)
}

pub(crate) fn address(path: &Path) -> String {
    format!("{SCHEME}{}", path.display())
}

/// The path in an address of ours.
pub(crate) fn path_of(address: &str) -> Option<&Path> {
    address.trim().strip_prefix(SCHEME).map(Path::new)
}

/// Finds the living shim at this path, or makes a listening socket there.
pub(crate) fn claim(path: &Path) -> Result<Claim, Error> {
    let _lock = lock(path)?;
    if UnixStream::connect(path).is_ok() {
        return Ok(Claim::Taken);
    }
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(Error::io("bind", path))?;
    let restricted = fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(Error::io("chmod", path));
    if restricted.is_err() {
        remove_stale(path)?;
    }
    restricted.map(|()| Claim::Ours(listener))
}

/// Removes the socket if it is still the one with this inode.
pub(crate) fn release(path: &Path, inode: u64) -> Result<(), Error> {
    let _lock = lock(path)?;
    match inode_of(path) {
        Ok(found) if found == inode => fs::remove_file(path).map_err(Error::io("remove", path)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("stat", path)(error)),
    }
}

/// Removes the socket of a shim that died without doing so itself.
pub(crate) fn release_dead(path: &Path) -> Result<(), Error> {
    let _lock = lock(path)?;
    if UnixStream::connect(path).is_ok() { Ok(()) } else { remove_stale(path) }
}

pub(crate) fn inode_of(path: &Path) -> io::Result<u64> {
    fs::symlink_metadata(path).map(|metadata| metadata.ino())
}

/// Tells a socket from every other one that was or will be at its path: inode numbers alone may come again.
pub(crate) fn identity(path: &Path) -> Result<String, Error> {
    let metadata = fs::symlink_metadata(path).map_err(Error::io("stat", path))?;
    Ok(format!("{} {} {}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Only a socket is ever removed: a path that is something else was not made by a shim.
fn remove_stale(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(Error::io("remove stale", path)),
        Ok(_) => Err(Error::AlreadyExists(format!("{} is not a socket", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("stat", path)(error)),
    }
}

fn lock(path: &Path) -> Result<Flock<File>, Error> {
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::io("make", directory))?;
    let file = File::open(directory).map_err(Error::io("open", directory))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| Error::io("lock", directory)(errno.into()))
}
