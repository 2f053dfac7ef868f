//! The life of the sandbox that a shim may hold, pure as the [task](crate::task) is.
//!
//! A sandbox is one process that keeps the namespaces of a pod, and the containers beside it are its members. It
//! begins before the first of them and ends after the last; in between all of them live and die each for itself.

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use crate::task::{Exit, Refusal};

/// What a caller may ask about the sandbox. There is one at most, so making it is no question to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Start,
    /// Make a container in it.
    Join,
    Wait,
    Ping,
    /// What it is, where it runs, what it uses.
    Look,
    /// End it with its members: `StopSandbox`, and the first half of `ShutdownSandbox`.
    Stop,
}

/// How a permitted request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Do it, or just answer.
    Run,
    /// Park the caller until the sandbox is over.
    Park,
    /// It is over; this is how.
    Ended(Exit),
}

/// What has to be done next for a sandbox that is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, or not yet.
    Nothing,
    /// Kill the process; its exit will be the sandbox's.
    Kill(u32),
    /// Answer whoever wanted it to end.
    Over(Exit),
}

/// Where the sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Known, without a process.
    Created,
    /// The process runs.
    Ready(u32),
    /// The process has been killed.
    Ending(u32),
    /// Over. A sandbox that was never started has no pid.
    Stopped(u32, Exit),
}

/// A sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    state: State,
    /// Somebody wants it to end: it takes no members any more.
    closing: bool,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { state: State::Created, closing: false }
    }

    /// Its process, while it has one and afterwards; 0 before.
    pub(crate) fn pid(&self) -> u32 {
        match self.state {
            State::Created => 0,
            State::Ready(pid) | State::Ending(pid) | State::Stopped(pid, _) => pid,
        }
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.state {
            State::Stopped(_, exit) => Some(exit),
            State::Created | State::Ready(_) | State::Ending(_) => None,
        }
    }

    /// Whether containers can be made in it.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_)) && !self.closing
    }

    /// Whether somebody wants it to end.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// May this be done now? A permitted request has already changed the state when that is part of it.
    pub(crate) fn request(&mut self, request: Request) -> Result<Next, Refusal> {
        match request {
            Request::Look => Ok(Next::Run),
            Request::Start if self.state == State::Created && !self.closing => Ok(Next::Run),
            Request::Start => Err(Refusal::Precondition("sandbox has been started before")),
            Request::Join | Request::Ping if self.is_ready() => Ok(Next::Run),
            Request::Join | Request::Ping => Err(Refusal::Precondition("sandbox is not running")),
            Request::Wait => Ok(self.exit().map_or(Next::Park, Next::Ended)),
            Request::Stop => {
                self.closing = true;
                Ok(Next::Park)
            }
        }
    }

    /// The process runs.
    pub(crate) fn started(&mut self, pid: u32) {
        self.state = State::Ready(pid);
    }

    /// The process was reaped.
    pub(crate) fn exited(&mut self, exit: Exit) {
        self.state = State::Stopped(self.pid(), exit);
    }

    /// What to do now, given whether any member is alive.
    pub(crate) fn advance(&mut self, members_live: bool, now: SystemTime) -> Step {
        match self.state {
            _ if !self.closing || members_live => Step::Nothing,
            State::Created => {
                let exit = Exit { status: 0, at: now };
                self.state = State::Stopped(0, exit);
                Step::Over(exit)
            }
            State::Ready(pid) => {
                self.state = State::Ending(pid);
                Step::Kill(pid)
            }
            State::Ending(_) => Step::Nothing,
            State::Stopped(_, exit) => Step::Over(exit),
        }
    }
}
