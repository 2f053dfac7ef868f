//! How a shim that nobody has connected to yet finds out that nobody will: a containerd that cannot use the answer of `start` removes the
//! bundle, and tells nobody.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
    unistd::read,
};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// A watch over a bundle.
pub(crate) struct Watch {
    notices: AsyncFd<OwnedFd>,
    /// What is there until the bundle is removed, by its path, as the bundle is renamed first: its configuration, which a sandbox may
    /// lack, or the bundle itself.
    sign: PathBuf,
}

impl Watch {
    pub(crate) fn over(bundle: &Path) -> io::Result<Self> {
        let notices = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        notices.add_watch(bundle, AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE)?;
        let config = bundle.join("config.json");
        let sign = if config.exists() { config } else { bundle.to_path_buf() };
        Ok(Self { notices: sys::watch(notices.into())?, sign })
    }

    /// Comes back when the bundle is gone.
    pub(crate) async fn given_up(self) -> io::Result<()> {
        let mut taken = [0; 4096];
        while self.sign.exists() {
            let mut ready = self.notices.readable().await?;
            // That there was one is all that they say.
            if let Ok(result) = ready.try_io(|notices| Ok(read(notices, &mut taken)?)) {
                result?;
            }
        }
        Ok(())
    }
}
