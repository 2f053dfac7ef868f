//! The states of one process of a container, the init process or an exec.

use std::time::SystemTime;

/// How a process ended, as the kernel told it: the one truth that Wait, State, Delete and the exit event repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit code, or 128 plus the number of the signal that killed the process.
    pub(crate) status: u32,
    /// When the shim reaped the process.
    pub(crate) at: SystemTime,
}

/// Where a process is in its life. States that end in "-ing" have a call of the runtime under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The runtime is making the container. Nobody but its creator knows of it yet.
    Creating,
    /// The container exists, or the exec is registered; the user's program has not run.
    Created,
    /// The runtime is starting it. A program may be over before the runtime says that it started it: such an exit waits here.
    Starting { early: Option<Exit> },
    /// The user's program runs.
    Running,
    /// The runtime is freezing the container.
    Pausing,
    /// Frozen.
    Paused,
    /// The runtime is thawing the container.
    Resuming,
    /// Only init: it is dead, and its exit is held back until its execs are reported, so that it is the last one.
    Stopping(Exit),
    /// Dead and reported.
    Stopped(Exit),
    /// Only execs: the runtime could not start it, so there will never be an exit.
    Failed,
    /// Being removed. Without an exit, it was created, never started, and killed for the removal.
    Deleting { exit: Option<Exit> },
}

impl State {
    /// The exit, once it has been announced.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Self::Stopped(exit) => Some(exit),
            Self::Deleting { exit } => exit,
            Self::Creating
            | Self::Created
            | Self::Starting { .. }
            | Self::Running
            | Self::Pausing
            | Self::Paused
            | Self::Resuming
            | Self::Stopping(_)
            | Self::Failed => None,
        }
    }

    /// Whether the process exists, or may come to exist by a call that is under way.
    pub(crate) fn is_alive(self) -> bool {
        match self {
            Self::Starting { .. } | Self::Running | Self::Pausing | Self::Paused | Self::Resuming => true,
            Self::Creating
            | Self::Created
            | Self::Stopping(_)
            | Self::Stopped(_)
            | Self::Failed
            | Self::Deleting { .. } => false,
        }
    }
}
