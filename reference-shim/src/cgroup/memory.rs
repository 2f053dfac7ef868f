//! The kernel's notices that a cgroup ran out of memory.

use std::{
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    sys::{
        eventfd::{EfdFlags, EventFd},
        inotify::{AddWatchFlags, InitFlags, Inotify},
    },
    unistd::read,
};
use tokio::io::unix::AsyncFd;

use super::keyed;
use crate::sys;

/// A watch over the memory of one cgroup.
pub(crate) enum MemoryWatch {
    V1 { events: AsyncFd<OwnedFd>, control: PathBuf },
    V2 { events: AsyncFd<OwnedFd>, counters: PathBuf },
}

impl MemoryWatch {
    /// An event descriptor that the kernel counts up when memory is wanted, and once more when the cgroup goes.
    pub(super) fn v1(directory: &Path) -> io::Result<Self> {
        let control = directory.join("memory.oom_control");
        let file = fs::File::open(&control)?;
        let events = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let order = format!("{} {}", events.as_raw_fd(), file.as_raw_fd());
        fs::write(directory.join("cgroup.event_control"), order)?;
        Ok(Self::V1 { events: sys::watch(events.into())?, control })
    }

    /// The kernel "modifies" the file of counters when one of them moves.
    pub(super) fn v2(directory: &Path) -> io::Result<Self> {
        let counters = directory.join("memory.events");
        let events = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        events.add_watch(&counters, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF)?;
        Ok(Self::V2 { events: sys::watch(events.into())?, counters })
    }

    /// Tells of each notice until the cgroup is gone or nobody listens.
    pub(crate) async fn run(self, tell: impl Fn() -> bool) {
        match self {
            Self::V1 { events, control } => while wait(&events).await.is_ok() && control.exists() && tell() {},
            Self::V2 { events, counters } => {
                let mut seen = 0;
                while wait(&events).await.is_ok() {
                    let Ok(values) = keyed(&counters) else { return };
                    let kills = values.get("oom_kill").copied().unwrap_or(0);
                    if kills > seen && !tell() {
                        return;
                    }
                    seen = kills;
                }
            }
        }
    }
}

/// Waits for a notice and takes it; what it says is of no use.
async fn wait(events: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut notices = [0; 4096];
    loop {
        let mut ready = events.readable().await?;
        if let Ok(result) = ready.try_io(|events| Ok(read(events, &mut notices)?)) {
            return result.map(drop);
        }
    }
}
