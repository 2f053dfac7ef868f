//! Refuses to work inside the directories of a containerd that is alive.
//!
//! Worlds have a `/run` of their own. Without isolation the suite's directories lie below the temporary directory of the host, and whoever
//! points that into containerd's state or root would have the suite's bundles, and their removal, among containerd's own.

use std::{
    fs::File,
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// containerd's socket in its state directory (containerd: defaults/defaults_unix.go).
const SOCKET: &str = "containerd.sock";
/// containerd's database in its root directory, locked while it lives (containerd: plugins/metadata, bbolt).
const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";

/// The directory of a live containerd in which `path` lies; `None` where it is nobody's.
///
/// # Errors
///
/// When `path` does not exist or cannot be resolved.
pub fn of(path: &Path) -> io::Result<Option<PathBuf>> {
    let real = path.canonicalize()?;
    Ok(real
        .ancestors()
        .find(|directory| serves(&directory.join(SOCKET)) || is_locked(&directory.join(DATABASE)))
        .map(Path::to_owned))
}

/// Whether somebody answers at this socket.
fn serves(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// Whether somebody has this file open as its only user: another lock is refused then.
fn is_locked(file: &Path) -> bool {
    File::open(file).is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn a_live_socket_above_is_somebody_s() {
        let state = tempfile::tempdir().unwrap();
        let inside = state.path().join("tmp/deep");
        fs::create_dir_all(&inside).unwrap();
        assert_eq!(of(&inside).unwrap(), None);
        let listener = UnixListener::bind(state.path().join(SOCKET)).unwrap();
        assert_eq!(of(&inside).unwrap(), Some(state.path().canonicalize().unwrap()));
        drop(listener);
        assert_eq!(of(&inside).unwrap(), None, "a socket that a dead daemon left is nobody's");
    }

    #[test]
    fn a_locked_database_above_is_somebody_s() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("tmp");
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(root.path().join(DATABASE).parent().unwrap()).unwrap();
        let database = File::create(root.path().join(DATABASE)).unwrap();
        assert_eq!(of(&inside).unwrap(), None);
        database.lock().unwrap();
        assert_eq!(of(&inside).unwrap(), Some(root.path().canonicalize().unwrap()));
    }
}
