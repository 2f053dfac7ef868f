//! The states of the two kinds of process that a container has.

use std::time::SystemTime;

/// How a process ended, as the kernel told it: the one truth that Wait, State, Delete and the exit event repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The exit code, or 128 plus the number of the signal that killed the process.
    pub(crate) status: u32,
    /// When the shim reaped the process.
    pub(crate) at: SystemTime,
}

/// Where init is in its life. States that end in "-ing" have something under way whose outcome will be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The runtime is making the container. Nobody but its creator knows of it yet.
    Creating,
    /// The container exists; the user's program has not run.
    Created,
    /// The runtime is starting it. A program may be over before the runtime says that it runs: its exit waits here.
    Starting { early: Option<Exit> },
    /// The user's program runs.
    Running,
    /// The runtime is freezing the container.
    Pausing,
    /// Frozen.
    Paused,
    /// The runtime is thawing the container.
    Resuming,
    /// Dead, but not yet told: its execs are reported first.
    Stopping(Exit),
    /// Dead and told.
    Stopped(Exit),
    /// Created and never started, and now being killed to be removed.
    Discarding,
    /// Dead and told, and being removed.
    Deleting(Exit),
}

/// What matters about a [`State`] when a caller asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Creating,
    Created,
    Starting,
    Running,
    Frozen,
    Over,
}

impl State {
    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::Creating => Stage::Creating,
            Self::Created => Stage::Created,
            Self::Starting { .. } => Stage::Starting,
            Self::Running => Stage::Running,
            Self::Pausing | Self::Paused | Self::Resuming => Stage::Frozen,
            Self::Stopping(_) | Self::Stopped(_) | Self::Discarding | Self::Deleting(_) => Stage::Over,
        }
    }

    /// The exit, once it has been told.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Self::Stopped(exit) | Self::Deleting(exit) => Some(exit),
            Self::Creating
            | Self::Created
            | Self::Starting { .. }
            | Self::Running
            | Self::Pausing
            | Self::Paused
            | Self::Resuming
            | Self::Stopping(_)
            | Self::Discarding => None,
        }
    }

    pub(super) fn status(self) -> Status {
        match self {
            Self::Creating => Status::Unknown,
            Self::Created | Self::Starting { .. } | Self::Discarding => Status::Created,
            // Until the exit is told, nobody shall see it.
            Self::Running | Self::Stopping(_) => Status::Running,
            Self::Pausing => Status::Pausing,
            Self::Paused | Self::Resuming => Status::Paused,
            Self::Stopped(_) | Self::Deleting(_) => Status::Stopped,
        }
    }
}

/// Where an exec is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecState {
    /// Registered.
    Created,
    /// The runtime is starting it.
    Starting,
    /// Runs.
    Running,
    /// The runtime could not start it, so there will never be an exit.
    Failed,
    /// Dead and told.
    Stopped(Exit),
    /// Dead and told, and being removed.
    Deleting(Exit),
}

impl ExecState {
    pub(super) fn exit(self) -> Option<Exit> {
        match self {
            Self::Stopped(exit) | Self::Deleting(exit) => Some(exit),
            Self::Created | Self::Starting | Self::Running | Self::Failed => None,
        }
    }

    /// Whether init's exit has to wait for this one's.
    pub(super) fn is_alive(self) -> bool {
        match self {
            Self::Starting | Self::Running => true,
            Self::Created | Self::Failed | Self::Stopped(_) | Self::Deleting(_) => false,
        }
    }

    pub(super) fn status(self) -> Status {
        match self {
            Self::Created | Self::Starting | Self::Failed => Status::Created,
            Self::Running => Status::Running,
            Self::Stopped(_) | Self::Deleting(_) => Status::Stopped,
        }
    }
}

/// What a caller of `State` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unknown,
    Created,
    Running,
    Pausing,
    Paused,
    Stopped,
}
