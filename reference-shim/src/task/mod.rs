//! The life of one container, pure: no IO, no clock, nothing asynchronous.
//!
//! The [supervisor](crate::supervisor) asks [`Task::request`] whether a caller may do something now, and tells
//! [`Task::settle`] what happened; the answer is what must follow. State changes nowhere else, and whatever is to be
//! announced is part of the answer that changed the state, so announcements cannot overtake each other.

mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use state::{Exit, State};

/// Which process of the container is meant. Requests name init by an empty exec id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Init,
    Exec(String),
}

impl From<&str> for Who {
    fn from(exec_id: &str) -> Self {
        if exec_id.is_empty() {
            Self::Init
        } else {
            Self::Exec(exec_id.to_owned())
        }
    }
}

impl Who {
    /// The exec id of the wire, which is empty for init.
    pub(crate) fn exec_id(&self) -> &str {
        match self {
            Self::Init => "",
            Self::Exec(id) => id,
        }
    }
}

/// What a caller may ask about one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    State,
    Start,
    Delete,
    /// `all`: every process of the container, and not init alone.
    Kill {
        all: bool,
    },
    Pause,
    Resume,
    Checkpoint,
    /// Register an exec; asked of init.
    Exec,
    ResizePty,
    CloseIo,
    Update,
    Wait,
    Stats,
    Pids,
}

/// How a permitted request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing has to be done but to answer.
    Answer,
    /// Do it. When the state depends on it, tell [`Task::settle`] how it went.
    Run,
    /// The process is over; this is how.
    Ended(Exit),
    /// Park the caller; a [`Effect::Release`] answers it.
    Park,
    /// Kill this pid; its exit will ask for the removal.
    KillFirst(u32),
    /// The exec never ran and is gone already.
    Forgotten,
}

/// Why a request is refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such process, or no longer.
    NotFound(&'static str),
    /// It exists, but not in a state for this.
    Precondition(&'static str),
    /// The exec id is taken.
    Exists,
}

/// Something that happened outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The runtime made the container with this init.
    Created(u32),
    /// The runtime started the process; an exec has its pid from now on.
    Started(u32),
    /// The runtime could not start it.
    StartFailed,
    /// The runtime froze the container, or failed to.
    Paused(bool),
    /// The runtime thawed the container, or failed to.
    Resumed(bool),
    /// The process was reaped.
    Exited(Exit),
    /// Killing what shared init's fate is done.
    Swept,
    /// The time for execs to follow init is over.
    GraceOver,
    /// The removal is done, or failed.
    Deleted(bool),
}

/// What must follow, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Tell the world.
    Publish(Notice),
    /// Answer everybody parked on this process with its exit, or with the reason why there will be none.
    Release(Who, Result<Exit, Refusal>),
    /// Init is dead: kill these execs, and everything else if the container has no PID namespace of its own.
    Sweep { execs: Vec<u32>, everything: bool },
    /// Report [`Outcome::GraceOver`] when the execs have had their moment to follow init.
    AwaitExecs,
    /// The process has ended and the runtime still says that it is starting it: give it up after a moment.
    AwaitStart,
    /// Remove the process and report [`Outcome::Deleted`].
    Remove(Who),
}

/// What the world is told. The words are those of containerd's topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Create { pid: u32 },
    Start { pid: u32 },
    ExecAdded { exec: String },
    ExecStarted { exec: String, pid: u32 },
    Exit { who: Who, pid: u32, exit: Exit },
    Delete { who: Who, pid: u32, exit: Exit },
    Paused,
    Resumed,
    OutOfMemory,
    Checkpointed { path: String },
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) state: State,
    /// 0 while there is none.
    pub(crate) pid: u32,
}

/// One container.
#[derive(Debug)]
pub(crate) struct Task {
    init: Process,
    execs: BTreeMap<String, Process>,
    /// Without a PID namespace of its own the kernel kills nobody when init dies, so the shim must.
    shares_pids: bool,
    /// Killing what shared init's fate is under way.
    sweeping: bool,
    /// A created container is to be removed once its init is dead and reported.
    removing: bool,
}

impl Task {
    /// A container that the runtime is being asked to make.
    pub(crate) fn new(shares_pids: bool) -> Self {
        let init = Process {
            state: State::Creating,
            pid: 0,
        };
        Self {
            init,
            execs: BTreeMap::new(),
            shares_pids,
            sweeping: false,
            removing: false,
        }
    }

    pub(crate) fn init(&self) -> &Process {
        &self.init
    }

    /// The process, unless there is none of this name.
    pub(crate) fn process(&self, who: &Who) -> Option<&Process> {
        match who {
            Who::Init => Some(&self.init),
            Who::Exec(id) => self.execs.get(id),
        }
    }

    /// The running execs and their pids.
    pub(crate) fn running_execs(&self) -> impl Iterator<Item = (&str, u32)> {
        self.execs
            .iter()
            .filter(|(_, exec)| exec.state == State::Running)
            .map(|(id, exec)| (id.as_str(), exec.pid))
    }

    /// May this be done now? A permitted request has already changed the state when that is part of it.
    pub(crate) fn request(&mut self, who: &Who, request: Request) -> Result<Next, Refusal> {
        if self.init.state == State::Creating {
            return match request {
                Request::Delete => Ok(Next::Park),
                Request::State
                | Request::Start
                | Request::Kill { .. }
                | Request::Pause
                | Request::Resume
                | Request::Checkpoint
                | Request::Exec
                | Request::ResizePty
                | Request::CloseIo
                | Request::Update
                | Request::Wait
                | Request::Stats
                | Request::Pids => Err(Refusal::NotFound("container is still being created")),
            };
        }
        match who {
            Who::Init => self.request_init(request),
            Who::Exec(id) => self.request_exec(id, request),
        }
    }

    /// Registers an exec that [`Request::Exec`] permitted.
    pub(crate) fn add_exec(&mut self, id: &str) -> Result<Vec<Effect>, Refusal> {
        if self.execs.contains_key(id) {
            return Err(Refusal::Exists);
        }
        self.execs.insert(
            id.to_owned(),
            Process {
                state: State::Created,
                pid: 0,
            },
        );
        Ok(vec![Effect::Publish(Notice::ExecAdded { exec: id.to_owned() })])
    }

    fn request_init(&mut self, request: Request) -> Result<Next, Refusal> {
        let state = self.init.state;
        match request {
            Request::State | Request::Stats | Request::Pids | Request::CloseIo | Request::ResizePty => Ok(Next::Run),
            Request::Start => match state {
                State::Created => self.enter(State::Starting { early: None }),
                State::Starting { .. } => Err(Refusal::Precondition("container is already being started")),
                State::Running | State::Pausing | State::Paused | State::Resuming => {
                    Err(Refusal::Precondition("container is already running"))
                }
                State::Creating | State::Stopping(_) | State::Stopped(_) | State::Failed | State::Deleting { .. } => {
                    Err(Refusal::Precondition("container has stopped"))
                }
            },
            Request::Delete => self.request_delete(),
            Request::Kill { all } => match state {
                State::Created
                | State::Starting { .. }
                | State::Running
                | State::Pausing
                | State::Paused
                | State::Resuming => Ok(Next::Run),
                State::Creating | State::Stopping(_) | State::Stopped(_) | State::Failed | State::Deleting { .. } => {
                    // Nothing of a stopped container is left alive, so "all of it" is already dead.
                    if all {
                        Ok(Next::Answer)
                    } else {
                        Err(Refusal::NotFound("process already finished"))
                    }
                }
            },
            Request::Pause => match state {
                State::Running => self.enter(State::Pausing),
                _ => Err(not_running(state)),
            },
            Request::Resume => match state {
                State::Paused => self.enter(State::Resuming),
                _ => Err(Refusal::Precondition("container is not paused")),
            },
            Request::Checkpoint => match state {
                State::Running | State::Paused => Ok(Next::Run),
                _ => Err(not_running(state)),
            },
            Request::Exec => self.exec_allowed().map(|()| Next::Run),
            Request::Update => match state {
                State::Created | State::Starting { .. } | State::Running | State::Paused => Ok(Next::Run),
                _ => Err(not_running(state)),
            },
            Request::Wait => Ok(state.exit().map_or(Next::Park, Next::Ended)),
        }
    }

    fn request_delete(&mut self) -> Result<Next, Refusal> {
        match self.init.state {
            State::Created => {
                self.init.state = State::Deleting { exit: None };
                self.removing = true;
                Ok(Next::KillFirst(self.init.pid))
            }
            State::Stopped(exit) => self.enter(State::Deleting { exit: Some(exit) }),
            State::Deleting { .. } => Ok(Next::Park),
            State::Stopping(_) if self.removing => Ok(Next::Park),
            State::Stopping(_)
            | State::Starting { .. }
            | State::Running
            | State::Pausing
            | State::Paused
            | State::Resuming
            | State::Creating
            | State::Failed => Err(Refusal::Precondition("container is running")),
        }
    }

    fn request_exec(&mut self, id: &str, request: Request) -> Result<Next, Refusal> {
        let container = self.exec_allowed();
        let Some(exec) = self.execs.get_mut(id) else {
            return Err(Refusal::NotFound("no such exec"));
        };
        match request {
            Request::State | Request::CloseIo | Request::ResizePty => Ok(Next::Run),
            Request::Start => match exec.state {
                State::Created => {
                    container?;
                    exec.state = State::Starting { early: None };
                    Ok(Next::Run)
                }
                State::Failed => Err(Refusal::Precondition(
                    "exec could not be started and can only be deleted",
                )),
                _ => Err(Refusal::Precondition("exec has already been started")),
            },
            Request::Delete => match exec.state {
                State::Created | State::Failed => {
                    self.execs.remove(id);
                    Ok(Next::Forgotten)
                }
                State::Stopped(exit) => {
                    exec.state = State::Deleting { exit: Some(exit) };
                    Ok(Next::Run)
                }
                State::Deleting { .. } => Ok(Next::Park),
                _ => Err(Refusal::Precondition("exec is running")),
            },
            Request::Kill { .. } => match exec.state {
                State::Running => Ok(Next::Run),
                State::Created | State::Starting { .. } | State::Failed => {
                    Err(Refusal::Precondition("exec is not running"))
                }
                _ => Err(Refusal::NotFound("process already finished")),
            },
            Request::Wait => match exec.state {
                State::Failed => Err(NEVER_STARTED),
                // It cannot start any more, so nobody would ever answer the caller.
                State::Created if !self.init.state.is_alive() && self.init.state != State::Created => {
                    Err(NEVER_STARTED)
                }
                state => Ok(state.exit().map_or(Next::Park, Next::Ended)),
            },
            Request::Pause
            | Request::Resume
            | Request::Checkpoint
            | Request::Exec
            | Request::Update
            | Request::Stats
            | Request::Pids => Err(Refusal::NotFound("execs know no such call")),
        }
    }

    /// Execs may be added and started from the moment the container exists until it is frozen or over.
    fn exec_allowed(&self) -> Result<(), Refusal> {
        match self.init.state {
            State::Created | State::Starting { .. } | State::Running => Ok(()),
            State::Pausing | State::Paused | State::Resuming => Err(Refusal::Precondition("container is paused")),
            State::Creating | State::Stopping(_) | State::Stopped(_) | State::Failed | State::Deleting { .. } => {
                Err(Refusal::Precondition("container has stopped"))
            }
        }
    }

    fn enter(&mut self, state: State) -> Result<Next, Refusal> {
        self.init.state = state;
        Ok(Next::Run)
    }

    /// What happened, and so what must follow.
    pub(crate) fn settle(&mut self, who: &Who, outcome: Outcome) -> Vec<Effect> {
        match who {
            Who::Init => self.settle_init(outcome),
            Who::Exec(id) => self.settle_exec(id, outcome),
        }
    }

    fn settle_init(&mut self, outcome: Outcome) -> Vec<Effect> {
        let state = self.init.state;
        match outcome {
            Outcome::Created(pid) => {
                self.init = Process {
                    state: State::Created,
                    pid,
                };
                vec![Effect::Publish(Notice::Create { pid })]
            }
            Outcome::Started(pid) => {
                let State::Starting { early } = state else {
                    return Vec::new();
                };
                self.init = Process {
                    state: State::Running,
                    pid,
                };
                let mut effects = vec![Effect::Publish(Notice::Start { pid })];
                effects.extend(early.into_iter().flat_map(|exit| self.init_died(exit)));
                effects
            }
            Outcome::StartFailed => match state {
                State::Starting { early: Some(exit) } => self.init_died(exit),
                State::Starting { early: None } => {
                    self.init.state = State::Created;
                    Vec::new()
                }
                _ => Vec::new(),
            },
            Outcome::Paused(done) => {
                if state != State::Pausing {
                    return Vec::new();
                }
                self.init.state = if done { State::Paused } else { State::Running };
                done.then_some(Effect::Publish(Notice::Paused)).into_iter().collect()
            }
            Outcome::Resumed(done) => {
                if state != State::Resuming {
                    return Vec::new();
                }
                self.init.state = if done { State::Running } else { State::Paused };
                done.then_some(Effect::Publish(Notice::Resumed)).into_iter().collect()
            }
            Outcome::Exited(exit) => self.init_exited(exit),
            Outcome::Swept => {
                self.sweeping = false;
                self.finish_stopping(false)
            }
            Outcome::GraceOver => self.finish_stopping(true),
            Outcome::Deleted(done) => {
                let State::Deleting { exit: Some(exit) } = state else {
                    return Vec::new();
                };
                if !done {
                    self.init.state = State::Stopped(exit);
                    self.removing = false;
                    return Vec::new();
                }
                vec![Effect::Publish(Notice::Delete {
                    who: Who::Init,
                    pid: self.init.pid,
                    exit,
                })]
            }
        }
    }

    fn init_exited(&mut self, exit: Exit) -> Vec<Effect> {
        match self.init.state {
            State::Starting { early: None } => {
                self.init.state = State::Starting { early: Some(exit) };
                vec![Effect::AwaitStart]
            }
            State::Created
            | State::Running
            | State::Pausing
            | State::Paused
            | State::Resuming
            | State::Deleting { exit: None } => self.init_died(exit),
            State::Creating
            | State::Starting { early: Some(_) }
            | State::Stopping(_)
            | State::Stopped(_)
            | State::Failed
            | State::Deleting { exit: Some(_) } => Vec::new(),
        }
    }

    /// Execs are to be reported before init: kill them and wait a moment for their exits.
    fn init_died(&mut self, exit: Exit) -> Vec<Effect> {
        let execs: Vec<u32> = self.running_execs().map(|(_, pid)| pid).collect();
        self.init.state = State::Stopping(exit);
        self.sweeping = self.shares_pids;
        if self.sweeping || self.awaits_execs() {
            return vec![
                Effect::Sweep {
                    execs,
                    everything: self.shares_pids,
                },
                Effect::AwaitExecs,
            ];
        }
        self.finish_stopping(false)
    }

    fn awaits_execs(&self) -> bool {
        self.execs.values().any(|exec| exec.state.is_alive())
    }

    fn finish_stopping(&mut self, whatever: bool) -> Vec<Effect> {
        let State::Stopping(exit) = self.init.state else {
            return Vec::new();
        };
        if !whatever && (self.sweeping || self.awaits_execs()) {
            return Vec::new();
        }
        self.init.state = State::Stopped(exit);
        let never = self.execs.iter().filter(|(_, exec)| exec.state == State::Created);
        let mut effects: Vec<Effect> = never
            .map(|(id, _)| Effect::Release(Who::Exec(id.clone()), Err(NEVER_STARTED)))
            .collect();
        effects.push(Effect::Publish(Notice::Exit {
            who: Who::Init,
            pid: self.init.pid,
            exit,
        }));
        effects.push(Effect::Release(Who::Init, Ok(exit)));
        if self.removing {
            self.init.state = State::Deleting { exit: Some(exit) };
            effects.push(Effect::Remove(Who::Init));
        }
        effects
    }

    fn settle_exec(&mut self, id: &str, outcome: Outcome) -> Vec<Effect> {
        let who = Who::Exec(id.to_owned());
        let Some(exec) = self.execs.get_mut(id) else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        match outcome {
            Outcome::Started(pid) => {
                *exec = Process {
                    state: State::Running,
                    pid,
                };
                effects.push(Effect::Publish(Notice::ExecStarted {
                    exec: id.to_owned(),
                    pid,
                }));
                if let State::Stopping(_) = self.init.state {
                    effects.push(Effect::Sweep {
                        execs: vec![pid],
                        everything: false,
                    });
                }
            }
            Outcome::StartFailed => {
                exec.state = State::Failed;
                effects.push(Effect::Release(who, Err(NEVER_STARTED)));
                effects.extend(self.finish_stopping(false));
            }
            Outcome::Exited(exit) => {
                if exec.state != State::Running {
                    return Vec::new();
                }
                exec.state = State::Stopped(exit);
                effects.push(Effect::Publish(Notice::Exit {
                    who: who.clone(),
                    pid: exec.pid,
                    exit,
                }));
                effects.push(Effect::Release(who, Ok(exit)));
                effects.extend(self.finish_stopping(false));
            }
            Outcome::Deleted(_) => {
                let State::Deleting { exit: Some(exit) } = exec.state else {
                    return Vec::new();
                };
                let pid = exec.pid;
                self.execs.remove(id);
                effects.push(Effect::Publish(Notice::Delete { who, pid, exit }));
            }
            Outcome::Created(_) | Outcome::Paused(_) | Outcome::Resumed(_) | Outcome::Swept | Outcome::GraceOver => {}
        }
        effects
    }
}

const NEVER_STARTED: Refusal = Refusal::Precondition("exec was never started");

fn not_running(state: State) -> Refusal {
    match state {
        State::Creating | State::Created | State::Starting { .. } => Refusal::Precondition("container has not started"),
        State::Running => Refusal::Precondition("container is running"),
        State::Pausing | State::Paused | State::Resuming => Refusal::Precondition("container is paused"),
        State::Stopping(_) | State::Stopped(_) | State::Failed | State::Deleting { .. } => {
            Refusal::Precondition("container has stopped")
        }
    }
}
