//! Paths of the container, looked up inside its root by the kernel, so that no symbolic link of an image leads out.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2},
    sys::stat::{Mode, mkdirat},
};

/// The container's root, held open.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
}

/// Something inside the root, held open, so that it stays the same whatever is renamed.
#[derive(Debug)]
pub(super) struct Place {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the root as it is mounted now.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).with_context(|| format!("cannot open root {}", path.display()))?;
        Ok(Self { fd })
    }

    /// A handle on what is at `path`; `None` when nothing is.
    pub(super) fn find(&self, path: &Path) -> Result<Option<Place>> {
        match self.resolve(path, OFlag::O_PATH) {
            Ok(found) => Ok(Some(Place::of(found))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot find {} in the root", path.display())),
        }
    }

    /// A handle on the directory at `path`, made with all above it where missing.
    pub(super) fn directory(&self, path: &Path) -> Result<Place> {
        match self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) => {}
            found => {
                let found = found.with_context(|| format!("cannot open directory {} in the root", path.display()))?;
                return Ok(Place::of(found));
            }
        }
        let (parent, name) = self.parent_of(path)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {} in the root", path.display())),
        }
        let found = self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY);
        let found = found.with_context(|| format!("cannot open directory {} in the root", path.display()))?;
        Ok(Place::of(found))
    }

    /// A handle on the file at `path`, made empty if missing.
    pub(super) fn file(&self, path: &Path) -> Result<Place> {
        if let Some(found) = self.find(path)? {
            return Ok(found);
        }
        let (parent, name) = self.parent_of(path)?;
        let flags = OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let made = openat(&parent, name, flags, Mode::from_bits_truncate(0o644));
        let made = made.with_context(|| format!("cannot make {} in the root", path.display()))?;
        Ok(Place::of(made))
    }

    /// A handle on what must be at `path`.
    pub(super) fn present(&self, path: &Path) -> Result<Place> {
        let found = self.find(path)?;
        found.with_context(|| format!("no {} in the root", path.display()))
    }

    /// Opens the file at `path` for writing.
    pub(super) fn writable(&self, path: &Path) -> Result<OwnedFd> {
        let found = self.resolve(path, OFlag::O_WRONLY);
        found.with_context(|| format!("cannot open {} in the root", path.display()))
    }

    /// The directory above `path`, made if missing, and the name in it.
    pub(super) fn parent_of<'p>(&self, path: &'p Path) -> Result<(Place, &'p OsStr)> {
        let name = path.file_name().with_context(|| format!("{} has no name", path.display()))?;
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        Ok((self.directory(parent)?, name))
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        // An empty path is no path, and "/" is the root itself.
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        openat2(&self.fd, path, how)
    }
}

impl Place {
    fn of(fd: OwnedFd) -> Self {
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        Self { fd, path }
    }

    /// A path by which `mount(2)` reaches exactly this place.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
