//! The one loop of the shim. It owns all containers; whatever happens reaches it as an [`Event`] and is dealt with
//! before the next one, so state and announcements cannot get out of step.
//!
//! The loop itself never waits for anything slow. Calls of the runtime, mounts and openings of FIFOs are done by
//! [workers](work) whose result is an event too.

mod calls;
mod container;
mod sandbox;
mod work;

use std::{
    collections::HashMap,
    io,
    time::{Duration, SystemTime},
};

use containerd_shim_protos::api;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

pub(crate) use self::calls::runtime_options;
use self::{
    container::{Container, Ticket},
    sandbox::Pod,
};
use crate::{
    bundle::{ExitRecord, InitRecord},
    cleanup,
    error::Error,
    events::Outbox,
    process,
    reaper::Reaper,
    service::{Call, Reply},
    stdio::Io,
    sys,
    task::{Effect, Exit, Notice, Outcome, Refusal, State, View, Who},
};

/// Whatever the shim has to react to, but for signals.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client called.
    Call(Call, Reply),
    /// A client connected.
    Connected,
    /// A worker has finished.
    Done(Done),
    /// Execs have had their moment to follow init.
    GraceOver(Ticket),
    /// The runtime has had its moment to say that it started a process that has ended.
    StartOverdue(Ticket),
    /// The kernel killed something in the container for want of memory.
    OutOfMemory(Ticket),
}

/// What a worker brings home.
pub(crate) enum Done {
    Created {
        ticket: Ticket,
        result: Result<(u32, Io), Error>,
        reply: Reply,
    },
    /// A creation that failed has been undone.
    NotCreated {
        ticket: Ticket,
        error: Error,
        reply: Reply,
    },
    Started {
        ticket: Ticket,
        who: Who,
        result: Result<(u32, Io), Error>,
        reply: Reply,
    },
    Paused {
        ticket: Ticket,
        result: Result<(), Error>,
        reply: Reply,
    },
    Resumed {
        ticket: Ticket,
        result: Result<(), Error>,
        reply: Reply,
    },
    Checkpointed {
        ticket: Ticket,
        path: String,
        result: Result<(), Error>,
        reply: Reply,
    },
    Swept {
        ticket: Ticket,
    },
    Deleted {
        ticket: Ticket,
        who: Who,
        result: Result<(), Error>,
    },
}

impl std::fmt::Debug for Done {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, ticket) = match self {
            Self::Created { ticket, .. } => ("Created", ticket),
            Self::NotCreated { ticket, .. } => ("NotCreated", ticket),
            Self::Started { ticket, .. } => ("Started", ticket),
            Self::Paused { ticket, .. } => ("Paused", ticket),
            Self::Resumed { ticket, .. } => ("Resumed", ticket),
            Self::Checkpointed { ticket, .. } => ("Checkpointed", ticket),
            Self::Swept { ticket } => ("Swept", ticket),
            Self::Deleted { ticket, .. } => ("Deleted", ticket),
        };
        formatter.debug_tuple(name).field(ticket).finish()
    }
}

/// When the shim leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitPolicy {
    /// On `Shutdown` while it holds no container, as containerd's own shims do.
    OnShutdown,
    /// By itself once no container's init is alive; the exit is in the bundle by then.
    OnInitExit,
}

/// What the shim is told when it begins.
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) policy: ExitPolicy,
}

/// How long a shim waits for its first client. Whoever started it could not use the answer.
const UNUSED_LIMIT: Duration = Duration::from_secs(30);

/// How long execs may take to follow init before init's exit is announced regardless.
const EXECS_GRACE: Duration = Duration::from_millis(500);

/// How long the runtime may take to notice that what it is starting has ended.
const START_GRACE: Duration = Duration::from_secs(2);

/// The owner of all containers.
pub(crate) struct Supervisor {
    settings: Settings,
    reaper: Reaper,
    outbox: Outbox,
    /// For workers and timers.
    events: mpsc::UnboundedSender<Event>,
    containers: HashMap<String, Container>,
    /// The sandbox, once there is one; the containers are its members then.
    pod: Option<Pod>,
    serial: u64,
    /// Whose the living processes are.
    pids: HashMap<u32, (Ticket, Who)>,
    /// Calls of the runtime under way that will bring a process.
    births: usize,
    /// Exits of processes that nobody claims. One may belong to a birth whose pid is not known yet; without births
    /// they are orphans' and forgotten, lest a pid that comes again be taken for the old one.
    strays: HashMap<u32, Exit>,
    /// A client has connected, so the shim can be used.
    used: bool,
    /// A `Shutdown` came while the only containers were half made.
    shutdown_missed: bool,
    /// Somebody sent a signal to leave, which is done when no container is left.
    leave_when_empty: bool,
    leaving: bool,
}

impl Supervisor {
    pub(crate) fn new(
        settings: Settings,
        reaper: Reaper,
        outbox: Outbox,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            settings,
            reaper,
            outbox,
            events,
            containers: HashMap::new(),
            pod: None,
            serial: 0,
            pids: HashMap::new(),
            births: 0,
            strays: HashMap::new(),
            used: false,
            shutdown_missed: false,
            leave_when_empty: false,
            leaving: false,
        }
    }

    /// Reacts until it is time to leave. That it is `given_up` counts as long as nobody has connected.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        given_up: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let unused = sleep(UNUSED_LIMIT);
        tokio::pin!(unused);
        let mut given_up = Some(Box::pin(given_up));
        while !self.leaving {
            select! {
                biased;
                _ = children.recv() => self.reap(),
                Some(event) = events.recv() => self.handle(event),
                _ = terminate.recv() => self.asked_to_leave("SIGTERM"),
                _ = interrupt.recv() => self.asked_to_leave("SIGINT"),
                () = async { if let Some(given_up) = &mut given_up { given_up.await } }, if given_up.is_some() => {
                    log!("nobody has connected, and the bundle is gone");
                    self.leaving = true;
                }
                () = &mut unused, if !self.used => {
                    log!("nobody has connected for {UNUSED_LIMIT:?}");
                    self.leaving = true;
                }
            }
            self.end_sandbox();
            // What it watches is of no interest any more.
            given_up = given_up.filter(|_| !self.used);
            self.leaving = self.leaving || self.is_done();
        }
        Ok(())
    }

    /// Whether the shim holds nothing that anybody may still ask for.
    fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.pod.is_none()
    }

    /// Whether it is time to leave without being told so.
    fn is_done(&self) -> bool {
        match self.settings.policy {
            _ if self.is_empty() => self.leave_when_empty,
            // A sandbox is kept until it is shut down.
            _ if self.pod.is_some() => false,
            ExitPolicy::OnShutdown => false,
            ExitPolicy::OnInitExit => self.containers.values().all(Container::is_over),
        }
    }

    /// The containers would go on without anybody to report their exits, so the shim stays as long as it has any.
    fn asked_to_leave(&mut self, signal: &str) {
        let sandbox = if self.pod.is_some() { " and the sandbox shut down" } else { "" };
        log!("{signal}: leaving when the last of {} containers is deleted{sandbox}", self.containers.len());
        self.leave_when_empty = true;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Call(Call::Task(call), reply) => self.call(call, reply),
            Event::Call(Call::Sandbox(call), reply) => self.sandbox_call(call, reply),
            Event::Connected => self.used = true,
            Event::Done(done) => self.done(done),
            Event::GraceOver(ticket) => {
                self.abandon_starts(&ticket);
                self.settle(&ticket, &Who::Init, Outcome::GraceOver);
            }
            Event::StartOverdue(ticket) => self.abandon_starts(&ticket),
            Event::OutOfMemory(ticket) => self.out_of_memory(&ticket),
        }
    }

    /// Whatever died, died at this moment as far as anybody can know.
    fn reap(&mut self) {
        let at = SystemTime::now();
        let mut inits = Vec::new();
        for death in self.reaper.collect() {
            let exit = Exit { status: death.status, at };
            match self.pids.remove(&death.pid) {
                Some((ticket, Who::Init)) => inits.push((ticket, death.pid, exit)),
                Some((ticket, who)) => self.settle(&ticket, &who, Outcome::Exited(exit)),
                None if self.sandbox_exited(death.pid, exit) => {}
                None if self.births > 0 => drop(self.strays.insert(death.pid, exit)),
                None => {}
            }
        }
        for (ticket, pid, exit) in inits {
            self.init_exited(&ticket, pid, exit);
        }
    }

    fn init_exited(&mut self, ticket: &Ticket, pid: u32, exit: Exit) {
        let Some(container) = self.find(ticket) else { return };
        // On disk first: from here on the truth survives the shim.
        if let Err(error) = container.engine.bundle.write_exit(&ExitRecord::new(pid, exit, false)) {
            log!("{}: {error}", ticket.id);
        }
        if container.out_of_memory_unreported() {
            self.out_of_memory(ticket);
        }
        self.settle(ticket, &Who::Init, Outcome::Exited(exit));
    }

    fn out_of_memory(&mut self, ticket: &Ticket) {
        if let Some(container) = self.find(ticket) {
            container.out_of_memory = true;
            self.publish(ticket, &Notice::OutOfMemory);
        }
    }

    /// Takes a new process into the books, or says why it cannot be one.
    fn claim(&mut self, ticket: &Ticket, who: &Who, pid: u32) -> Result<Option<Exit>, Error> {
        if let Some(exit) = self.strays.remove(&pid) {
            return Ok(Some(exit));
        }
        if !sys::is_child(pid) {
            return Err(Error::Other(format!("runtime reported pid {pid}, which is no child of this shim")));
        }
        self.pids.insert(pid, (ticket.clone(), who.clone()));
        Ok(None)
    }

    fn birth_over(&mut self) {
        self.births -= 1;
        if self.births == 0 {
            self.strays.clear();
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Created { ticket, result, reply } => self.created(ticket, result, reply),
            Done::NotCreated { ticket, error, reply } => self.not_created(&ticket, error, reply),
            Done::Started { ticket, who, result, reply } => self.started(&ticket, &who, result, reply),
            Done::Paused { ticket, result, reply } => {
                self.settle(&ticket, &Who::Init, Outcome::Paused(result.is_ok()));
                answer(reply, result);
            }
            Done::Resumed { ticket, result, reply } => {
                self.settle(&ticket, &Who::Init, Outcome::Resumed(result.is_ok()));
                answer(reply, result);
            }
            Done::Checkpointed { ticket, path, result, reply } => {
                if result.is_ok() {
                    self.publish(&ticket, &Notice::Checkpointed { path });
                }
                answer(reply, result);
            }
            Done::Swept { ticket } => self.settle(&ticket, &Who::Init, Outcome::Swept),
            Done::Deleted { ticket, who, result } => self.deleted(&ticket, &who, result),
        }
    }

    fn created(&mut self, ticket: Ticket, result: Result<(u32, Io), Error>, reply: Reply) {
        let claimed = result.and_then(|(pid, io)| Ok((pid, io, self.claim(&ticket, &Who::Init, pid)?)));
        self.birth_over();
        let (pid, io, early) = match claimed {
            Ok(claimed) => claimed,
            Err(error) => return self.undo_create(ticket, error, reply),
        };
        self.shutdown_missed = false;
        let events = self.events.clone();
        let Some(container) = self.find(&ticket) else { return };
        container.init.io = Some(io);
        container.watch(pid, &ticket, events);
        let record = process::start_time(pid).map(|start_time| InitRecord { pid, start_time });
        if let Some(Err(error)) = record.map(|record| container.engine.bundle.write_init(&record)) {
            log!("{}: {error}", ticket.id);
        }
        let parked = std::mem::take(&mut container.init.deleters);
        self.settle(&ticket, &Who::Init, Outcome::Created(pid));
        reply.ok(&api::CreateTaskResponse { pid, ..api::CreateTaskResponse::default() });
        if let Some(exit) = early {
            self.init_exited(&ticket, pid, exit);
        }
        if self.pod.as_ref().is_some_and(Pod::is_closing) {
            // It was being made when the end was wanted.
            self.kill_members();
        }
        for reply in parked {
            self.delete(&ticket.id, "", reply);
        }
    }

    /// Removes what a creation that failed has left; until then its id is taken.
    fn undo_create(&mut self, ticket: Ticket, error: Error, reply: Reply) {
        let Some(container) = self.find(&ticket) else {
            return reply.fail(error);
        };
        let engine = container.engine.clone();
        self.work(async move {
            cleanup::undo_create(&engine).await;
            Done::NotCreated { ticket, error, reply }
        });
    }

    fn not_created(&mut self, ticket: &Ticket, error: Error, reply: Reply) {
        let Some(container) = self.containers.remove(&ticket.id) else {
            return reply.fail(error);
        };
        for parked in container.init.deleters {
            parked.fail(Error::NotFound(format!("container {}", ticket.id)));
        }
        reply.fail(error);
        self.record_members();
        if self.is_empty() && self.shutdown_missed {
            self.leaving = true;
        }
    }

    fn started(&mut self, ticket: &Ticket, who: &Who, result: Result<(u32, Io), Error>, reply: Reply) {
        // Init is known since it was created; an exec is only known now.
        let claimed = result.and_then(|(pid, io)| match who {
            Who::Init => Ok((pid, io, None)),
            Who::Exec(_) => Ok((pid, io, self.claim(ticket, who, pid)?)),
        });
        if matches!(who, Who::Exec(_)) {
            self.birth_over();
        }
        match claimed {
            Ok((pid, io, early)) => {
                if let Some(side) = self.find(ticket).and_then(|container| container.side(who)) {
                    side.abort = None;
                    if matches!(who, Who::Exec(_)) {
                        let io = side.io.insert(io);
                        if side.stdin_closed {
                            io.close_stdin();
                        }
                    }
                }
                self.settle(ticket, who, Outcome::Started(pid));
                reply.ok(&api::StartResponse { pid, ..api::StartResponse::default() });
                if let Some(exit) = early {
                    self.settle(ticket, who, Outcome::Exited(exit));
                }
            }
            Err(error) => {
                self.settle(ticket, who, Outcome::StartFailed);
                reply.fail(error);
            }
        }
    }

    fn deleted(&mut self, ticket: &Ticket, who: &Who, result: Result<(), Error>) {
        let Some(container) = self.find(ticket) else { return };
        let gone = container.task.view(who);
        let deleters = container.side(who).map(|side| std::mem::take(&mut side.deleters)).unwrap_or_default();
        self.settle(ticket, who, Outcome::Deleted(result.is_ok()));
        if result.is_ok() {
            match who {
                Who::Init => self.forget(ticket, gone),
                Who::Exec(id) => drop(self.find(ticket).and_then(|container| container.execs.remove(id))),
            }
        }
        let response = calls::delete_response(gone);
        for reply in deleters {
            match &result {
                Ok(()) => reply.ok(&response),
                Err(error) => reply.fail(Error::Other(error.to_string())),
            }
        }
    }

    /// A container that is no more. Its exit stays in the bundle, for a `delete` that comes later.
    fn forget(&mut self, ticket: &Ticket, init: Option<View>) {
        let Some(container) = self.containers.remove(&ticket.id) else {
            return;
        };
        let ended = init.and_then(|init| Some((init.pid, init.exit?)));
        if let Some((pid, exit)) = ended {
            let record = ExitRecord::new(pid, exit, true);
            if let Err(error) = container.engine.bundle.write_exit(&record) {
                log!("{}: {error}", ticket.id);
            }
        }
        self.record_members();
    }

    fn settle(&mut self, ticket: &Ticket, who: &Who, outcome: Outcome) {
        let Some(container) = self.find(ticket) else { return };
        let effects = container.task.settle(who, outcome);
        self.apply(ticket, effects);
    }

    fn apply(&mut self, ticket: &Ticket, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish(notice) => self.publish(ticket, &notice),
                Effect::Release(who, ending) => self.release(ticket, &who, ending),
                Effect::Sweep { execs, everything } => self.sweep(ticket, &execs, everything),
                Effect::AwaitExecs => self.later(EXECS_GRACE, Event::GraceOver(ticket.clone())),
                Effect::AwaitStart => self.later(START_GRACE, Event::StartOverdue(ticket.clone())),
                Effect::Remove(who) => self.remove(ticket, &who),
            }
        }
    }

    fn publish(&self, ticket: &Ticket, notice: &Notice) {
        if let Some(container) = self.containers.get(&ticket.id) {
            self.outbox.publish(&container.subject(&ticket.id), notice);
        }
    }

    fn release(&mut self, ticket: &Ticket, who: &Who, ending: Result<Exit, Refusal>) {
        let Some(side) = self.find(ticket).and_then(|container| container.side(who)) else {
            return;
        };
        for reply in std::mem::take(&mut side.waiters) {
            match ending {
                Ok(exit) => reply.ok(&calls::wait_response(exit)),
                Err(refusal) => reply.fail(Error::refused(refusal, &ticket.id, who.exec_id())),
            }
        }
    }

    fn sweep(&mut self, ticket: &Ticket, execs: &[u32], everything: bool) {
        for pid in execs {
            kill_child(*pid);
        }
        if !everything {
            return;
        }
        let Some((engine, cgroup)) = self.find(ticket).map(|found| (found.engine.clone(), found.cgroup.clone())) else {
            return;
        };
        let ticket = ticket.clone();
        self.work(async move {
            if let Err(error) = engine.kill(Signal::SIGKILL as u32, true).await {
                // Some runtimes do not kill in a container whose init is dead.
                log!("{}: kill all: {error}", ticket.id);
                if let Some(cgroup) = cgroup {
                    cgroup.kill();
                }
            }
            Done::Swept { ticket }
        });
    }

    /// Gives up calls of the runtime that are starting something in a container whose init has ended.
    fn abandon_starts(&mut self, ticket: &Ticket) {
        let Some(container) = self.find(ticket) else { return };
        if matches!(container.task.state(), State::Starting { early: Some(_) } | State::Stopping(_)) {
            container.init.abort = None;
            for side in container.execs.values_mut() {
                side.abort = None;
            }
        }
    }

    /// Does something beside the loop.
    fn work(&self, work: impl Future<Output = Done> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let done = work.await;
            // Fails only when the shim is leaving.
            drop(events.send(Event::Done(done)));
        });
    }

    fn later(&self, delay: Duration, event: Event) {
        let events = self.events.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            // Fails only when the shim is leaving.
            drop(events.send(event));
        });
    }

    /// The container that is meant, and not a later one of the same id.
    fn find(&mut self, ticket: &Ticket) -> Option<&mut Container> {
        self.containers.get_mut(&ticket.id).filter(|container| container.serial == ticket.serial)
    }
}

fn answer(reply: Reply, result: Result<(), Error>) {
    match result {
        Ok(()) => reply.done(),
        Err(error) => reply.fail(error),
    }
}

/// Kills a child that has not been reaped, so the pid is certainly its own.
fn kill_child(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
    // A zombie takes the signal as well, so this cannot fail.
    let _ = kill(pid, Signal::SIGKILL);
}
