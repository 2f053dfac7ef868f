//! The life of one container, pure: no IO, no clock, nothing asynchronous.
//!
//! The [supervisor](crate::supervisor) asks [`Task::request`] whether a caller may do something now, and tells
//! [`Task::settle`] what happened; the answer is what must follow. State changes nowhere else, and whatever is to be
//! announced is part of the answer that changed the state, so announcements cannot overtake each other.

mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use state::{ExecState, Exit, Stage, State, Status};

/// Which process of the container is meant. Requests name init by an empty exec id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Init,
    Exec(String),
}

impl From<&str> for Who {
    fn from(exec_id: &str) -> Self {
        if exec_id.is_empty() { Self::Init } else { Self::Exec(exec_id.to_owned()) }
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

/// What can be seen of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) status: Status,
    /// 0 while there is none.
    pub(crate) pid: u32,
    pub(crate) exit: Option<Exit>,
}

#[derive(Clone, Copy, Debug)]
struct Exec {
    state: ExecState,
    pid: u32,
}

/// One container.
#[derive(Debug)]
pub(crate) struct Task {
    state: State,
    pid: u32,
    execs: BTreeMap<String, Exec>,
    /// Without a PID namespace of its own the kernel kills nobody when init dies, so the shim must.
    shares_pids: bool,
    /// Killing what shares init's fate is under way.
    sweeping: bool,
    /// To be removed as soon as its init is dead and told.
    discarded: bool,
}

impl Task {
    /// A container that the runtime is being asked to make.
    pub(crate) fn new(shares_pids: bool) -> Self {
        Self { state: State::Creating, pid: 0, execs: BTreeMap::new(), shares_pids, sweeping: false, discarded: false }
    }

    /// The state of init.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The pid of init; 0 while there is none.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// A process, if there is one of this name.
    pub(crate) fn view(&self, who: &Who) -> Option<View> {
        match who {
            Who::Init => Some(View { status: self.state.status(), pid: self.pid, exit: self.state.exit() }),
            Who::Exec(id) => self.execs.get(id).map(|exec| View {
                status: exec.state.status(),
                pid: exec.pid,
                exit: exec.state.exit(),
            }),
        }
    }

    /// The running execs and their pids.
    pub(crate) fn running_execs(&self) -> impl Iterator<Item = (&str, u32)> {
        let running = self.execs.iter().filter(|(_, exec)| exec.state == ExecState::Running);
        running.map(|(id, exec)| (id.as_str(), exec.pid))
    }

    /// May this be done now? A permitted request has already changed the state when that is part of it.
    pub(crate) fn request(&mut self, who: &Who, request: Request) -> Result<Next, Refusal> {
        match (self.state, who) {
            (State::Creating, _) if request == Request::Delete => Ok(Next::Park),
            (State::Creating, _) => Err(Refusal::NotFound("container is still being created")),
            (_, Who::Init) => self.request_init(request),
            (_, Who::Exec(id)) => self.request_exec(id, request),
        }
    }

    /// Registers an exec that [`Request::Exec`] permitted.
    pub(crate) fn add_exec(&mut self, id: &str) -> Result<Vec<Effect>, Refusal> {
        if self.execs.contains_key(id) {
            return Err(Refusal::Exists);
        }
        self.execs.insert(id.to_owned(), Exec { state: ExecState::Created, pid: 0 });
        Ok(vec![Effect::Publish(Notice::ExecAdded { exec: id.to_owned() })])
    }

    fn request_init(&mut self, request: Request) -> Result<Next, Refusal> {
        let stage = self.state.stage();
        match request {
            Request::State | Request::Stats | Request::Pids | Request::CloseIo | Request::ResizePty => Ok(Next::Run),
            Request::Start if stage == Stage::Created => self.enter(State::Starting { early: None }),
            Request::Pause if stage == Stage::Running => self.enter(State::Pausing),
            Request::Resume if self.state == State::Paused => self.enter(State::Resuming),
            Request::Checkpoint if stage == Stage::Running || self.state == State::Paused => Ok(Next::Run),
            Request::Start | Request::Pause | Request::Resume | Request::Checkpoint => Err(unfit(stage)),
            Request::Exec => self.exec_allowed().map(|()| Next::Run),
            Request::Update if stage != Stage::Over => Ok(Next::Run),
            Request::Update => Err(unfit(stage)),
            Request::Kill { .. } if stage != Stage::Over => Ok(Next::Run),
            // Nothing of a dead container is left alive, so all of it is dead already.
            Request::Kill { all: true } => Ok(Next::Answer),
            Request::Kill { all: false } => Err(FINISHED),
            Request::Wait => Ok(self.state.exit().map_or(Next::Park, Next::Ended)),
            Request::Delete => self.request_delete(),
        }
    }

    fn request_delete(&mut self) -> Result<Next, Refusal> {
        match self.state {
            State::Created => {
                self.discarded = true;
                self.state = State::Discarding;
                Ok(Next::KillFirst(self.pid))
            }
            State::Stopped(exit) => self.enter(State::Deleting(exit)),
            State::Discarding | State::Deleting(_) => Ok(Next::Park),
            State::Stopping(_) if self.discarded => Ok(Next::Park),
            State::Creating
            | State::Starting { .. }
            | State::Running
            | State::Pausing
            | State::Paused
            | State::Resuming
            | State::Stopping(_) => Err(unfit(Stage::Running)),
        }
    }

    fn request_exec(&mut self, id: &str, request: Request) -> Result<Next, Refusal> {
        let container = self.exec_allowed();
        let over = self.state.stage() == Stage::Over;
        let exec = self.execs.get_mut(id).ok_or(Refusal::NotFound("no such exec"))?;
        match (request, exec.state) {
            (Request::State | Request::CloseIo | Request::ResizePty, _) => Ok(Next::Run),
            (Request::Start, ExecState::Created) => {
                container?;
                exec.state = ExecState::Starting;
                Ok(Next::Run)
            }
            (Request::Start, ExecState::Failed) => {
                Err(Refusal::Precondition("exec could not be started and can only be deleted"))
            }
            (Request::Start, _) => Err(Refusal::Precondition("exec has already been started")),
            (Request::Delete, ExecState::Created | ExecState::Failed) => {
                self.execs.remove(id);
                Ok(Next::Forgotten)
            }
            (Request::Delete, ExecState::Stopped(exit)) => {
                exec.state = ExecState::Deleting(exit);
                Ok(Next::Run)
            }
            (Request::Delete, ExecState::Deleting(_)) => Ok(Next::Park),
            (Request::Delete, ExecState::Starting | ExecState::Running) => {
                Err(Refusal::Precondition("exec is running"))
            }
            (Request::Kill { .. }, ExecState::Running) => Ok(Next::Run),
            (Request::Kill { .. }, ExecState::Stopped(_) | ExecState::Deleting(_)) => Err(FINISHED),
            (Request::Kill { .. }, ExecState::Created | ExecState::Starting | ExecState::Failed) => {
                Err(Refusal::Precondition("exec is not running"))
            }
            // It cannot start any more, so nobody would ever answer the caller.
            (Request::Wait, ExecState::Failed) => Err(NEVER_STARTED),
            (Request::Wait, ExecState::Created) if over => Err(NEVER_STARTED),
            (Request::Wait, state) => Ok(state.exit().map_or(Next::Park, Next::Ended)),
            (
                Request::Pause
                | Request::Resume
                | Request::Checkpoint
                | Request::Exec
                | Request::Update
                | Request::Stats
                | Request::Pids,
                _,
            ) => Err(Refusal::NotFound("no such call for an exec")),
        }
    }

    /// Execs may be added and started from when the container exists until it is frozen or over.
    fn exec_allowed(&self) -> Result<(), Refusal> {
        match self.state.stage() {
            Stage::Created | Stage::Starting | Stage::Running => Ok(()),
            stage @ (Stage::Creating | Stage::Frozen | Stage::Over) => Err(unfit(stage)),
        }
    }

    fn enter(&mut self, state: State) -> Result<Next, Refusal> {
        self.state = state;
        Ok(Next::Run)
    }

    /// What happened, and so what must follow.
    pub(crate) fn settle(&mut self, who: &Who, outcome: Outcome) -> Vec<Effect> {
        match who {
            Who::Init => self.settle_init(outcome),
            Who::Exec(id) => self.settle_exec(id, outcome),
        }
    }

    /// An outcome that does not fit the state came too late: init died while the runtime was at something else.
    fn settle_init(&mut self, outcome: Outcome) -> Vec<Effect> {
        match (outcome, self.state) {
            (Outcome::Created(pid), State::Creating) => {
                self.pid = pid;
                self.state = State::Created;
                vec![Effect::Publish(Notice::Create { pid })]
            }
            (Outcome::Started(pid), State::Starting { early }) => {
                self.state = State::Running;
                let mut effects = vec![Effect::Publish(Notice::Start { pid })];
                effects.extend(early.into_iter().flat_map(|exit| self.init_died(exit)));
                effects
            }
            (Outcome::StartFailed, State::Starting { early: Some(exit) }) => self.init_died(exit),
            (Outcome::StartFailed, State::Starting { early: None }) => self.back_to(State::Created),
            (Outcome::Paused(true), State::Pausing) => {
                self.state = State::Paused;
                vec![Effect::Publish(Notice::Paused)]
            }
            (Outcome::Resumed(true), State::Resuming) => {
                self.state = State::Running;
                vec![Effect::Publish(Notice::Resumed)]
            }
            (Outcome::Paused(false), State::Pausing) => self.back_to(State::Running),
            (Outcome::Resumed(false), State::Resuming) => self.back_to(State::Paused),
            (Outcome::Exited(exit), state) => self.init_exited(state, exit),
            (Outcome::Swept, _) => {
                self.sweeping = false;
                self.finish_stopping(false)
            }
            (Outcome::GraceOver, _) => self.finish_stopping(true),
            (Outcome::Deleted(true), State::Deleting(exit)) => {
                vec![Effect::Publish(Notice::Delete { who: Who::Init, pid: self.pid, exit })]
            }
            (Outcome::Deleted(false), State::Deleting(exit)) => {
                self.discarded = false;
                self.back_to(State::Stopped(exit))
            }
            (
                Outcome::Created(_)
                | Outcome::Started(_)
                | Outcome::StartFailed
                | Outcome::Paused(_)
                | Outcome::Resumed(_)
                | Outcome::Deleted(_),
                _,
            ) => Vec::new(),
        }
    }

    fn back_to(&mut self, state: State) -> Vec<Effect> {
        self.state = state;
        Vec::new()
    }

    fn init_exited(&mut self, state: State, exit: Exit) -> Vec<Effect> {
        match state {
            State::Starting { early: None } => {
                self.state = State::Starting { early: Some(exit) };
                vec![Effect::AwaitStart]
            }
            State::Created | State::Running | State::Pausing | State::Paused | State::Resuming | State::Discarding => {
                self.init_died(exit)
            }
            State::Creating
            | State::Starting { early: Some(_) }
            | State::Stopping(_)
            | State::Stopped(_)
            | State::Deleting(_) => Vec::new(),
        }
    }

    /// Execs are to be told before init: kill them and wait a moment for their exits.
    fn init_died(&mut self, exit: Exit) -> Vec<Effect> {
        self.state = State::Stopping(exit);
        self.sweeping = self.shares_pids;
        if self.sweeping || self.awaits_execs() {
            let execs = self.running_execs().map(|(_, pid)| pid).collect();
            return vec![Effect::Sweep { execs, everything: self.shares_pids }, Effect::AwaitExecs];
        }
        self.finish_stopping(false)
    }

    fn awaits_execs(&self) -> bool {
        self.execs.values().any(|exec| exec.state.is_alive())
    }

    /// Tells init's exit if nothing has to be waited for any more, or in any case.
    fn finish_stopping(&mut self, in_any_case: bool) -> Vec<Effect> {
        let State::Stopping(exit) = self.state else {
            return Vec::new();
        };
        if !in_any_case && (self.sweeping || self.awaits_execs()) {
            return Vec::new();
        }
        self.state = State::Stopped(exit);
        let never = self.execs.iter().filter(|(_, exec)| exec.state == ExecState::Created);
        let mut effects: Vec<Effect> =
            never.map(|(id, _)| Effect::Release(Who::Exec(id.clone()), Err(NEVER_STARTED))).collect();
        effects.push(Effect::Publish(Notice::Exit { who: Who::Init, pid: self.pid, exit }));
        effects.push(Effect::Release(Who::Init, Ok(exit)));
        if self.discarded {
            self.state = State::Deleting(exit);
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
        match (outcome, exec.state) {
            (Outcome::Started(pid), ExecState::Starting) => {
                *exec = Exec { state: ExecState::Running, pid };
                effects.push(Effect::Publish(Notice::ExecStarted { exec: id.to_owned(), pid }));
                if let State::Stopping(_) = self.state {
                    effects.push(Effect::Sweep { execs: vec![pid], everything: false });
                }
            }
            (Outcome::StartFailed, ExecState::Starting) => {
                exec.state = ExecState::Failed;
                effects.push(Effect::Release(who, Err(NEVER_STARTED)));
                effects.extend(self.finish_stopping(false));
            }
            (Outcome::Exited(exit), ExecState::Running) => {
                exec.state = ExecState::Stopped(exit);
                effects.push(Effect::Publish(Notice::Exit { who: who.clone(), pid: exec.pid, exit }));
                effects.push(Effect::Release(who, Ok(exit)));
                effects.extend(self.finish_stopping(false));
            }
            (Outcome::Deleted(_), ExecState::Deleting(exit)) => {
                let pid = exec.pid;
                self.execs.remove(id);
                effects.push(Effect::Publish(Notice::Delete { who, pid, exit }));
            }
            (
                Outcome::Created(_)
                | Outcome::Started(_)
                | Outcome::StartFailed
                | Outcome::Paused(_)
                | Outcome::Resumed(_)
                | Outcome::Exited(_)
                | Outcome::Swept
                | Outcome::GraceOver
                | Outcome::Deleted(_),
                _,
            ) => {}
        }
        effects
    }
}

const NEVER_STARTED: Refusal = Refusal::Precondition("exec was never started");

const FINISHED: Refusal = Refusal::NotFound("process already finished");

/// The refusal for a call that does not go with where init is.
fn unfit(stage: Stage) -> Refusal {
    Refusal::Precondition(match stage {
        Stage::Creating | Stage::Created => "container has not been started",
        Stage::Starting => "container is being started",
        Stage::Running => "container is running",
        Stage::Frozen => "container is paused",
        Stage::Over => "container has stopped",
    })
}
