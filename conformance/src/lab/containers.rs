//! Containers: how they are wished for, made, and taken down.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Deref,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::{
    Engine, Lab,
    daemon::Given,
    deadline,
    message::{self, Request, RootMount},
    process::{Identity, identify},
    program::Program,
    residue,
    spec::{self, Spec},
    stdio::{Streams, Wiring},
    syscalls,
    task::Process,
    world::Isolation,
};
use crate::{
    check::Stop,
    history::{Answer, Code, Exit, History, Loss, Method, Ran, Record, Reply, Residue, ShimFact, Target, What},
    invariant::Evidence,
    lie::Lie,
    profile::Listed,
    wire::{self, Bootstrap, CallOutcome, EventsMode, Outcome, Twist, Unusable},
};

/// How long an event may take on an idle host before the shim may be told to leave (contract EVT-14).
const ANNOUNCEMENT: Duration = Duration::from_millis(300);

/// What a check wants of a container.
#[derive(Debug, Clone)]
pub struct Order {
    program: Program,
    wiring: Wiring,
    env: Vec<String>,
    host_pid: bool,
    annotations: BTreeMap<String, String>,
    memory: Option<u64>,
    oom_score_adj: Option<i32>,
    id: Option<String>,
    config: bool,
}

impl Order {
    /// A container that runs `program`, with nothing on its streams.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            wiring: Wiring::Null,
            env: Vec::new(),
            host_pid: false,
            annotations: BTreeMap::new(),
            memory: None,
            oom_score_adj: None,
            id: None,
            config: true,
        }
    }

    /// With these streams.
    #[must_use]
    pub fn wired(self, wiring: Wiring) -> Self {
        Self { wiring, ..self }
    }

    /// With this variable, `KEY=value`.
    #[must_use]
    pub fn env(mut self, variable: &str) -> Self {
        self.env.push(variable.to_owned());
        self
    }

    /// With this annotation.
    #[must_use]
    pub fn annotated(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sharing the world's PID namespace.
    #[must_use]
    pub fn host_pid(self) -> Self {
        Self { host_pid: true, ..self }
    }

    /// In a group: members share a shim (contract BOOT-31).
    #[must_use]
    pub fn group(self, group: &str) -> Self {
        self.annotated("io.containerd.runc.v2.group", group)
    }

    /// In a pod, as Kubernetes says it to a shim (containerd: `internal/cri/annotations`).
    #[must_use]
    pub fn pod(mut self, sandbox: &str, kind: &str) -> Self {
        self.annotations.insert("io.kubernetes.cri.sandbox-id".to_owned(), sandbox.to_owned());
        self.annotations.insert("io.kubernetes.cri.container-type".to_owned(), kind.to_owned());
        self
    }

    /// With a memory limit in bytes.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    /// With this `oomScoreAdj`.
    #[must_use]
    pub fn oom_score_adj(self, score: i32) -> Self {
        Self { oom_score_adj: Some(score), ..self }
    }

    /// With this id.
    #[must_use]
    pub fn id(self, id: &str) -> Self {
        Self { id: Some(id.to_owned()), ..self }
    }

    /// Without a config.json.
    #[must_use]
    pub fn without_config(self) -> Self {
        Self { config: false, ..self }
    }
}

/// What is known of a container.
#[derive(Debug)]
pub(super) struct Facts {
    id: String,
    streams: Rc<Streams>,
    shim: Cell<Option<Identity>>,
    /// Init's pid, as Create told it.
    init: Cell<Option<u32>>,
    bootstrap: RefCell<Option<Bootstrap>>,
    role: Cell<Role>,
    forgotten: Cell<bool>,
}

/// What a container is, which decides how its life is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A container with a shim of its own, or one of a group.
    Alone,
    /// No container: the bundle of a sandbox.
    Sandbox,
    /// A container in a sandbox; whether `start` was executed for it.
    Member {
        /// Otherwise containerd has only dialled the shim, and executes no `delete` either.
        started: bool,
    },
}

/// A container of the lab.
#[derive(Clone)]
pub struct Container<'l> {
    lab: &'l Lab,
    facts: Rc<Facts>,
    init: Process<'l>,
}

/// The verbs of init are the container's own.
impl<'l> Deref for Container<'l> {
    type Target = Process<'l>;

    fn deref(&self) -> &Process<'l> {
        &self.init
    }
}

impl Lab {
    /// Lays out a bundle, and nothing more.
    ///
    /// # Errors
    ///
    /// When it cannot be laid out; the suite's fault.
    pub async fn bundle(&self, order: Order) -> Result<Container<'_>, Stop> {
        let number = self.ids.replace(self.ids.get() + 1);
        let id = order.id.unwrap_or_else(|| format!("c{number}"));
        let target = Target::init(&id);
        let streams = Rc::new(Streams::open(self, &target, order.wiring)?);
        let spec = Spec {
            program: order.program,
            terminal: order.wiring == Wiring::Terminal,
            env: order.env,
            host_pid: order.host_pid,
            annotations: order.annotations,
            memory: order.memory,
            oom_score_adj: order.oom_score_adj,
            cgroup: self.job.cgroups.then(|| self.cgroup_of(&id)),
            user_namespace: self.job.unprivileged && self.job.engine != Engine::Ours,
            payload: self.places.payload.display().to_string(),
        };
        let config = order.config.then(|| spec.config());
        self.obey(wire::Order::Bundle { id: id.clone(), config }).await?;
        let facts = Rc::new(Facts {
            id,
            streams,
            shim: Cell::new(None),
            init: Cell::new(None),
            bootstrap: RefCell::default(),
            role: Cell::new(Role::Alone),
            forgotten: Cell::new(false),
        });
        self.containers.borrow_mut().push(facts.clone());
        Ok(Container { lab: self, facts, init: Process::new(self, target) })
    }

    fn cgroup_of(&self, id: &str) -> String {
        let parent = residue::cgroup_parent(&self.job.unique);
        match self.is_neighbour {
            false => format!("{parent}/{id}"),
            true => format!("{parent}/{}/{id}", residue::NEIGHBOUR),
        }
    }

    /// A bundle whose shim serves.
    ///
    /// # Errors
    ///
    /// A violation when `start` fails or its answer cannot be used.
    pub async fn serve(&self, order: Order) -> Result<Container<'_>, Stop> {
        let container = self.bundle(order).await?;
        container.start_shim().await?;
        Ok(container)
    }

    /// A created task that runs `program`.
    ///
    /// # Errors
    ///
    /// A violation when the shim refuses.
    pub async fn create(&self, order: Order) -> Result<Container<'_>, Stop> {
        let container = self.serve(order).await?;
        container.create().await?;
        Ok(container)
    }

    /// A running task.
    ///
    /// # Errors
    ///
    /// A violation when the shim refuses.
    pub async fn run(&self, order: Order) -> Result<Container<'_>, Stop> {
        let container = self.create(order).await?;
        container.start().await?;
        Ok(container)
    }

    /// Executes the shim binary with `args` alone and `input` on its standard input; how it ended and what it printed.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn execute_print(&self, args: &[&str], input: &[u8]) -> Result<(Ran, Vec<u8>), Stop> {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let order = wire::Order::Print { args, input: input.to_vec() };
        let Outcome::Printed { mut ran, mut stdout } = self.obey(order).await? else {
            return Err(Stop::Error("a run ended as something else".to_owned()));
        };
        match self.lie() {
            Some(Lie::PrintFails) => ran.code = Some(1),
            Some(Lie::PrintsNothing) => stdout.clear(),
            _ => {}
        }
        Ok((ran, stdout))
    }

    /// The options that name the runtime, encoded.
    pub fn options(&self) -> Vec<u8> {
        let binary = match &self.job.engine {
            Engine::Ours => self.places.engine.display().to_string(),
            // The rules' executable then calls the runtime.
            Engine::Path(_) if self.runtime.borrow().is_some() => self.places.engine.display().to_string(),
            Engine::Path(path) => path.display().to_string(),
            Engine::ShimDefault => return Vec::new(),
        };
        message::options(&binary, &self.places.runtime_root.display().to_string())
    }
}

impl<'l> Container<'l> {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.facts.id
    }

    /// Its laboratory.
    pub fn lab(&self) -> &'l Lab {
        self.lab
    }

    /// Init's streams.
    pub fn streams(&self) -> &Streams {
        &self.facts.streams
    }

    /// Its bundle.
    pub fn bundle(&self) -> PathBuf {
        let setup = self.lab.setup();
        setup.state.join("io.containerd.runtime.v2.task").join(&setup.namespace).join(self.id())
    }

    /// What `start` answered.
    ///
    /// # Errors
    ///
    /// When it has not been started.
    pub fn bootstrap(&self) -> Result<Bootstrap> {
        self.facts.bootstrap.borrow().clone().with_context(|| format!("no shim of {} was started", self.id()))
    }

    /// The shim process.
    ///
    /// # Errors
    ///
    /// When it has not been started.
    pub fn shim(&self) -> Result<Identity> {
        self.facts.shim.get().with_context(|| format!("no shim of {} was started", self.id()))
    }

    /// Init's pid, as a Create that succeeded told it.
    pub(super) fn init_pid(&self) -> Option<u32> {
        self.facts.init.get()
    }

    /// Whether the shim process is alive.
    ///
    /// # Errors
    ///
    /// When it has not been started.
    pub fn shim_is_alive(&self) -> Result<bool> {
        Ok(self.shim()?.is_alive() && self.lab.lie() != Some(Lie::ShimDead))
    }

    /// Whether the shim is in the process group of the `start` that made it, which is executed as the leader of its own.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn shim_shares_group(&self, start: &Ran) -> Result<bool> {
        Ok(self.shim()?.group()? == start.pid || self.lab.lie() == Some(Lie::ShimGroup))
    }

    /// Executes `start` once, and tells how it ended.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn execute_start(&self) -> Result<(Ran, Result<Bootstrap, Unusable>), Stop> {
        self.execute_start_twisted(Twist::default()).await
    }

    /// Executes `start` otherwise than containerd would.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn execute_start_twisted(&self, twist: Twist) -> Result<(Ran, Result<Bootstrap, Unusable>), Stop> {
        self.start_ended(self.begin_start(twist).await?).await
    }

    /// Executes `start` and does not wait for its end.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn begin_start(&self, twist: Twist) -> Result<Given> {
        self.begin_start_with(&self.lab.options(), twist).await
    }

    /// The same with other runtime options, encoded; empty for none.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn begin_start_with(&self, options: &[u8], twist: Twist) -> Result<Given> {
        self.lab.enter(syscalls::START);
        let order = wire::Order::Start { id: self.id().to_owned(), options: options.to_vec(), twist };
        self.lab.containerd()?.give(order).await
    }

    /// Waits for the end of a `start`.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn start_ended(&self, given: Given) -> Result<(Ran, Result<Bootstrap, Unusable>), Stop> {
        let Outcome::Started { mut ran, mut answer } = given.outcome().await? else {
            return Err(Stop::Error("start ended as something else".to_owned()));
        };
        self.lie_about_start(&mut ran, &mut answer);
        self.lab.recorder.record(What::Started { container: self.id().to_owned(), ran: ran.clone() });
        Ok((ran, answer))
    }

    fn lie_about_start(&self, ran: &mut Ran, answer: &mut Result<Bootstrap, Unusable>) {
        match self.lab.lie() {
            Some(Lie::StartFails) => {
                ran.code = Some(1);
                *answer = Err(Unusable::No("a lie".to_owned()));
            }
            Some(Lie::StartHangs) => ran.code = None,
            Some(Lie::StartSucceeds) => ran.code = Some(0),
            Some(Lie::AnswerTwice) => ran.stdout = ran.stdout.repeat(2),
            Some(Lie::StartChatters) => ran.stderr.push_str("a lie"),
            Some(Lie::StartHeldOpen) => ran.held_open = true,
            Some(Lie::AddressChanges) => {
                let calls = self.lab.recorder.history().records.len();
                if let Ok(bootstrap) = answer {
                    bootstrap.address.push_str(&calls.to_string());
                }
            }
            _ => {}
        }
    }

    /// Executes `start`, expects a usable answer, and asks who serves.
    ///
    /// # Errors
    ///
    /// A violation when that fails.
    pub async fn start_shim(&self) -> Result<(), Stop> {
        let (ran, answer) = self.execute_start().await?;
        self.adopt(&ran, answer).await
    }

    /// Expects that a `start` gave a usable answer, and asks who serves.
    ///
    /// # Errors
    ///
    /// A violation when that fails.
    pub async fn adopt(&self, ran: &Ran, answer: Result<Bootstrap, Unusable>) -> Result<(), Stop> {
        let bootstrap = answer.map_err(|reason| {
            let actual = format!("rc {:?}, stdout {:?}, stderr {:?}: {reason}", ran.code, ran.stdout, ran.stderr);
            Stop::violated("start did not give containerd an address", "rc 0 and a usable answer", actual)
        })?;
        self.reached_at(bootstrap).await
    }

    /// Remembers where the shim is, and asks who serves there.
    pub(super) async fn reached_at(&self, bootstrap: Bootstrap) -> Result<(), Stop> {
        if self.lab.job.isolation == Isolation::None {
            residue::remember_address(&self.lab.places.base, &bootstrap.address)?;
        }
        *self.facts.bootstrap.borrow_mut() = Some(bootstrap);
        self.meet().await
    }

    pub(super) fn role(&self) -> Role {
        self.facts.role.get()
    }

    pub(super) fn takes(&self, role: Role) {
        self.facts.role.set(role);
    }

    /// Makes the connection anew, and asks who serves.
    ///
    /// # Errors
    ///
    /// A violation when nobody does.
    pub async fn meet_again(&self) -> Result<(), Stop> {
        self.redial().await.map_err(|e| {
            Stop::violated("the shim takes no connection", "a connection at its address", format!("{e:#}"))
        })?;
        self.meet().await
    }

    /// Asks Connect for the shim's pid and remembers it.
    async fn meet(&self) -> Result<(), Stop> {
        let reply = self.call(Method::Connect).await?.done("Connect")?;
        let pid = reply.shim_pid.unwrap_or(0);
        let shim = identify(pid).ok_or_else(|| {
            Stop::violated("Connect names a shim process that does not exist", "the shim's pid", pid.to_string())
        })?;
        self.facts.shim.set(Some(shim));
        self.record_of_shim(shim, ShimFact::Serves);
        Ok(self.look_at_shim().await?)
    }

    /// The Create request of this container.
    ///
    /// # Errors
    ///
    /// When it cannot be encoded; the suite's fault.
    pub fn create_request(&self) -> Result<Request> {
        self.create_request_wired(&self.streams().paths)
    }

    /// The same, with other streams than the container has.
    ///
    /// # Errors
    ///
    /// When it cannot be encoded; the suite's fault.
    pub fn create_request_wired(&self, stdio: &message::Stdio) -> Result<Request> {
        let rootfs = self.lab.places().rootfs.display().to_string();
        let bundle = self.bundle().display().to_string();
        message::create(self.target(), &bundle, Some(&rootfs), stdio, &self.lab.options())
    }

    /// The same, with this root instead of the usual one.
    ///
    /// # Errors
    ///
    /// When it cannot be encoded; the suite's fault.
    pub fn create_request_mounted(&self, mounts: &[RootMount]) -> Result<Request> {
        let bundle = self.bundle().display().to_string();
        message::create_mounted(self.target(), &bundle, mounts, &self.streams().paths, &self.lab.options())
    }

    /// Create over the connection of `other`, whose shim serves this container too.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn create_over(&self, other: &Container<'_>) -> Result<Answer> {
        self.lab.begin_over(other.id(), self.create_request()?).await?.answer().await
    }

    /// Create; the pid.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn create(&self) -> Result<u32, Stop> {
        let reply = self.lab.call(self.create_request()?).await?.done("Create")?;
        self.facts.init.set(reply.pid);
        reply.pid.filter(|&pid| pid > 0).ok_or_else(|| Stop::violated("Create named no pid", "a pid above 0", "0"))
    }

    /// An exec of this container that has been added.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn exec(&self, id: &str, program: &Program, wiring: Wiring) -> Result<Exec<'l>, Stop> {
        let exec = self.plan_exec(id, wiring)?;
        let request = exec.request(program);
        self.lab.call(request).await?.done("Exec")?;
        Ok(exec)
    }

    /// An exec that nobody has been told of.
    ///
    /// # Errors
    ///
    /// When its FIFOs cannot be made; the suite's fault.
    pub fn plan_exec(&self, id: &str, wiring: Wiring) -> Result<Exec<'l>> {
        let target = Target::exec(self.id(), id);
        let streams = Rc::new(Streams::open(self.lab, &target, wiring)?);
        Ok(Exec { process: Process::new(self.lab, target), streams })
    }

    /// The process `exec`, without streams, known to the shim or not.
    pub fn exec_named(&self, exec: &str) -> Process<'l> {
        Process::new(self.lab, Target::exec(self.id(), exec))
    }

    /// Dials the shim once more and keeps that connection as `name`; init over it.
    ///
    /// # Errors
    ///
    /// A violation when the shim takes no other connection.
    pub async fn joined(&self, name: &str) -> Result<Process<'l>, Stop> {
        let order = wire::Order::Join { id: self.id().to_owned(), name: name.to_owned() };
        let refused = |e| Stop::violated("the shim takes no other connection", "a connection", format!("{e:#}"));
        self.lab.obey(order).await.map_err(refused)?;
        Ok(Process::over(self.lab, self.target().clone(), name))
    }

    /// Whether the shim knows a task of this id.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn state_is_known(&self) -> Result<bool> {
        Ok(!matches!(self.call(Method::State).await?, Answer::Refused { code: Code::NotFound, .. }))
    }

    /// The init of a container `id`, known to this container's shim or not.
    pub fn container_named(&self, id: &str) -> Process<'l> {
        Process::over(self.lab, Target::init(id), self.id())
    }

    /// Sends a signal to the shim process.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal_shim(&self, signal: Signal) -> Result<()> {
        self.shim()?.signal(signal)?;
        self.record_signal(signal)
    }

    /// Records that the shim was sent a signal.
    pub(super) fn record_signal(&self, signal: Signal) -> Result<()> {
        self.record_of_shim(self.shim()?, ShimFact::Signalled(signal as i32));
        Ok(())
    }

    /// Waits until the shim process is gone.
    ///
    /// # Errors
    ///
    /// A violation when it is still there after `limit`.
    pub async fn shim_gone(&self, limit: Duration) -> Result<(), Stop> {
        let shim = self.shim()?;
        let limit = self.lab.scaled(limit);
        let gone = shim.gone(limit).await? && self.lab.lie() != Some(Lie::ShimUndead);
        self.record_of_shim(shim, if gone { ShimFact::Gone } else { ShimFact::Stays });
        if gone {
            return Ok(());
        }
        Err(Stop::violated(
            "the shim process stays",
            format!("gone within {} ms", limit.as_millis()),
            format!("process {} is alive", shim.pid),
        ))
    }

    /// Shutdown; a connection that ends instead of an answer is an answer (contract LIFE-04).
    ///
    /// # Errors
    ///
    /// A violation when it is refused or not answered.
    pub async fn shutdown(&self) -> Result<(), Stop> {
        let answer = self.call(Method::Shutdown).await?;
        if answer == Answer::Lost(Loss::Disconnected) { Ok(()) } else { answer.done("Shutdown").map(drop) }
    }

    /// Waits for a quiet point, and records what the shim then holds: everything that calls have told has been announced, and nothing of
    /// the shim's is a zombie. The invariants judge what did not come to rest in time.
    ///
    /// # Errors
    ///
    /// When /proc cannot be read.
    pub async fn settle(&self) -> Result<()> {
        let lab = self.lab;
        let terms = lab.terms();
        let history = lab.recorder.history();
        let patience = if Evidence::new(&history, &terms).had_outage() { super::REDELIVERY } else { ANNOUNCEMENT };
        let announced = |history: &History| Evidence::new(history, &terms).unannounced().is_empty().then_some(());
        _ = lab.recorder.until(lab.scaled(patience), announced).await;
        self.look_at_shim().await
    }

    /// Records the shim's zombies, when it keeps any for longer than it may, and its footprint.
    async fn look_at_shim(&self) -> Result<()> {
        let Some(shim) = self.facts.shim.get().filter(|shim| shim.is_alive()) else {
            return Ok(());
        };
        let reaped = || match shim.zombies() {
            Ok(zombies) if zombies.is_empty() => Some(Ok(zombies)),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        };
        let zombies = deadline::until(self.lab.scaled(super::NOTICE), reaped).await;
        let mut zombies = zombies.unwrap_or_else(|| shim.zombies())?;
        if self.lab.lie() == Some(Lie::Zombie) {
            zombies.push(shim.pid);
        }
        self.record_of_shim(shim, ShimFact::Zombies(zombies));
        // One that ends while it is looked at holds nothing.
        if let Ok((mut fds, threads, rss_kb)) = shim.footprint() {
            if self.lab.lie() == Some(Lie::DescriptorsGrow) {
                fds += self.lab.recorder.history().records.len() * 10;
            }
            self.record_of_shim(shim, ShimFact::Footprint { fds, threads, rss_kb });
        }
        Ok(())
    }

    /// Records what was learned of a process that is, or was to be, the shim of this container.
    pub fn record_of_process(&self, pid: u32, fact: ShimFact) {
        self.lab.recorder.record(What::Shim { container: self.id().to_owned(), pid, fact });
    }

    fn record_of_shim(&self, shim: Identity, fact: ShimFact) {
        self.lab.recorder.record(What::Shim { container: self.id().to_owned(), pid: shim.pid, fact });
    }

    /// Executes the `delete` action; how it ended and the exit it tells, when its answer parses.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn execute_delete(&self) -> Result<(Ran, Option<Exit>), Stop> {
        self.delete_ended(self.begin_delete().await?).await
    }

    /// Executes the `delete` action and does not wait for its end.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn begin_delete(&self) -> Result<Given> {
        self.begin_delete_with(false).await
    }

    /// The same, with `-debug` in any case.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn begin_delete_with(&self, debug: bool) -> Result<Given> {
        self.lab.recorder.record(What::Cleaning(self.id().to_owned()));
        self.lab.enter(syscalls::DELETE_ACTION);
        let order = wire::Order::Delete { id: self.id().to_owned(), debug };
        self.lab.containerd()?.give(order).await
    }

    /// Waits for the end of a `delete` action.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn delete_ended(&self, given: Given) -> Result<(Ran, Option<Exit>), Stop> {
        let Outcome::Deleted { mut ran, mut stdout } = given.outcome().await? else {
            return Err(Stop::Error("delete ended as something else".to_owned()));
        };
        match self.lab.lie() {
            Some(Lie::DeleteFails) => ran.code = Some(1),
            Some(Lie::DeleteHangs) => ran.code = None,
            Some(Lie::DeleteSilent) => stdout.clear(),
            _ => {}
        }
        let mut exit = if stdout.is_empty() { None } else { message::deleted(&stdout).ok().map(|(_, exit)| exit) };
        if let (Some(lie), Some(exit)) = (self.lab.lie(), &mut exit) {
            lie.delete(exit);
        }
        let container = self.id().to_owned();
        self.lab.recorder.record(What::Cleaned { container, ran: ran.clone(), exit });
        Ok((ran, exit))
    }

    /// Executes `delete`, which must succeed and tell an exit.
    ///
    /// # Errors
    ///
    /// A violation otherwise.
    pub async fn cleaned(&self) -> Result<Exit, Stop> {
        let (ran, exit) = self.execute_delete().await?;
        if ran.code != Some(0) {
            let actual = format!("rc {:?}: {}", ran.code, ran.stderr.trim());
            return Err(Stop::violated("the delete action failed", "rc 0", actual));
        }
        exit.ok_or_else(|| Stop::violated("the delete action told no exit", "a DeleteResponse on stdout", "none"))
    }

    /// Lets the shim go on when a check has left it stopped.
    fn wake_shim(&self) -> Result<()> {
        let Ok(shim) = self.shim() else { return Ok(()) };
        let history = self.lab.recorder.history();
        let was_sent = |record: &Record, signal: i32| matches!(&record.what, What::Shim { pid, fact: ShimFact::Signalled(sent), .. } if *pid == shim.pid && *sent == signal);
        let last =
            history.records.iter().rfind(|record| was_sent(record, libc::SIGSTOP) || was_sent(record, libc::SIGCONT));
        if last.is_some_and(|record| was_sent(record, libc::SIGSTOP)) && shim.is_alive() {
            self.signal_shim(Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// Records that the shim is gone when nobody has noticed yet.
    fn notice_death(&self) {
        let Ok(shim) = self.shim() else { return };
        let known = self
            .lab
            .recorder
            .history()
            .records
            .iter()
            .any(|record| matches!(&record.what, What::Shim { pid, fact: ShimFact::Gone, .. } if *pid == shim.pid));
        let alive = shim.is_alive() && self.lab.lie() != Some(Lie::ShimDead);
        if !alive && !known {
            self.record_of_shim(shim, ShimFact::Gone);
        }
    }

    /// Drops the connection and removes the bundle.
    ///
    /// # Errors
    ///
    /// A violation when something is still mounted there.
    pub async fn forget(&self) -> Result<(), Stop> {
        self.facts.forgotten.set(true);
        let removed = self.lab.obey(wire::Order::Forget { id: self.id().to_owned() }).await;
        removed.map(drop).map_err(|e| {
            Stop::violated("the bundle cannot be removed", "an empty rootfs and nothing in use", format!("{e:#}"))
        })
    }

    /// Whether its rootfs is still mounted.
    ///
    /// # Errors
    ///
    /// When mountinfo cannot be read.
    pub fn rootfs_is_mounted(&self) -> Result<bool> {
        let rootfs = self.bundle().join("rootfs");
        let mounts = procfs::process::Process::myself().and_then(|own| own.mountinfo()).context("read mountinfo")?;
        Ok(mounts.into_iter().any(|mount| mount.mount_point == rootfs))
    }

    /// The limit in the file of this name, v1's or v2's, of its cgroup; `None` when it is unlimited.
    ///
    /// # Errors
    ///
    /// When its cgroup has neither.
    pub fn limit(&self, v1: &str, v2: &str) -> Result<Option<u64>> {
        if self.lab.lie() == Some(Lie::LimitIgnored) {
            return Ok(None);
        }
        let cgroup = residue::cgroup_parent(&self.lab.job.unique);
        let cgroup = PathBuf::from(cgroup.trim_start_matches('/')).join(self.id());
        for hierarchy in residue::hierarchies()? {
            for file in [v1, v2] {
                if let Ok(text) = std::fs::read_to_string(hierarchy.join(&cgroup).join(file)) {
                    return Ok(text.trim().parse().ok());
                }
            }
        }
        anyhow::bail!("the cgroup of {} has neither {v1} nor {v2}", self.id())
    }

    /// Delete, Shutdown, the shim's end, and the `delete` action, as containerd does when a stopped task is removed. containerd leaves no
    /// time between Delete and Shutdown; here the shim gets as much as it is owed to announce the deletion (contract EVT-14).
    ///
    /// # Errors
    ///
    /// A violation when one of them fails.
    pub async fn remove(&self) -> Result<(), Stop> {
        self.delete().await?;
        self.settle().await?;
        self.shutdown().await?;
        self.shim_gone(super::SHUTDOWN).await?;
        self.cleaned().await?;
        self.forget().await
    }
}

/// An exec and its streams.
#[derive(Clone)]
pub struct Exec<'l> {
    process: Process<'l>,
    streams: Rc<Streams>,
}

impl<'l> Deref for Exec<'l> {
    type Target = Process<'l>;

    fn deref(&self) -> &Process<'l> {
        &self.process
    }
}

impl Exec<'_> {
    /// Its streams.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The Exec request.
    pub fn request(&self, program: &Program) -> Request {
        self.request_of(&spec::process(program, self.streams.paths.terminal, &[]))
    }

    /// The Exec request of this OCI process.
    pub fn request_of(&self, process: &serde_json::Value) -> Request {
        message::exec(self.target(), Some(process), &self.streams.paths)
    }
}

impl Lab {
    /// What the containerd that serves now found out about `container` when it came up: who the shim says it is, and init's pid.
    ///
    /// # Errors
    ///
    /// A violation when the shim could not be found again.
    pub fn reattached(&self, container: &Container<'_>) -> Result<Reply, Stop> {
        let containerd = self.containerd()?;
        let found = containerd.reloaded().iter().find(|reloaded| reloaded.id == container.id());
        let found = found.with_context(|| format!("containerd found no bundle of {}", container.id()))?;
        let outcome = match &found.connect {
            Ok(outcome) => outcome.clone(),
            Err(reason) => {
                let expected = "a shim that answers where the files of the bundle say";
                return Err(Stop::violated("the shim cannot be found after a restart", expected, reason.clone()));
            }
        };
        let outcome = if self.lie() == Some(Lie::NotFoundAgain) { CallOutcome::Deadline } else { outcome };
        Ok(*message::answer(Method::Connect, outcome).done("Connect after a restart")?)
    }

    /// What the shim of `container` answered to Pids when the containerd that serves now came up; none where that asks for none.
    ///
    /// # Errors
    ///
    /// When that containerd found no such bundle.
    pub fn listed(&self, container: &Container<'_>) -> Result<Option<Listed>> {
        let containerd = self.containerd()?;
        let found = containerd.reloaded().iter().find(|reloaded| reloaded.id == container.id());
        let listed = found.with_context(|| format!("containerd found no bundle of {}", container.id()))?.listed;
        Ok(if self.lie() == Some(Lie::Refused(Method::Pids)) { listed.and(Some(Listed::Failed)) } else { listed })
    }

    /// Ends every life that is left, as containerd would, and looks at what remains.
    ///
    /// # Errors
    ///
    /// When the suite fails; what the shim does wrong is in the history for the invariants to judge.
    pub async fn clear_away(&self) -> Result<()> {
        if self.containerd.borrow().is_none() {
            self.start_containerd().await?;
        }
        self.obey(wire::Order::DrainLogs(true)).await?;
        if !self.events_served() {
            self.obey(wire::Order::Events(EventsMode::Serve)).await?;
        }
        let containers = self.containers.borrow().clone();
        let is_member = |facts: &&Rc<Facts>| matches!(facts.role.get(), Role::Member { .. });
        // A sandbox ends after its members.
        let (members, others): (Vec<_>, Vec<_>) = containers.iter().partition(is_member);
        for facts in members.into_iter().chain(others).filter(|facts| !facts.forgotten.get()) {
            let init = Process::new(self, Target::init(&facts.id));
            let container = Container { lab: self, facts: facts.clone(), init };
            container.wake_shim()?;
            container.notice_death();
            match container.role() {
                Role::Sandbox => self.end_sandbox(&container).await?,
                Role::Alone | Role::Member { .. } => self.end_life(&container).await?,
            }
        }
        // Nobody is left to remove the socket of a shim that was killed, so there is no use in waiting for it.
        let killed = |record: &Record| matches!(&record.what, What::Shim { fact: ShimFact::Signalled(signal), .. } if *signal == libc::SIGKILL);
        let killed = self.recorder.history().records.iter().any(killed);
        let unawaited = |residue: &mut Residue| {
            if killed {
                residue.sockets.clear();
            }
        };
        residue::settled(self, Duration::from_secs(2), unawaited).await?;
        self.tell_supervision();
        self.recorder.record(What::Left(residue::look(self)?));
        Ok(())
    }

    /// Ends one container however far it got. Refusals are in the history; here they only choose the way.
    async fn end_life(&self, container: &Container<'_>) -> Result<()> {
        if let Some(shim) = container.facts.shim.get().filter(|shim| shim.is_alive()) {
            if !matches!(container.call(Method::State).await?, Answer::Refused { code: Code::NotFound, .. }) {
                container.try_kill(libc::SIGKILL).await?;
                let wait = container.begin(Method::Wait).await?;
                // Whether the exit is told in time is judged where it is the question.
                _ = wait.answer_within(self.scaled(super::NOTICE * 5), "an exit after SIGKILL").await;
                container.call(Method::Delete).await?;
            }
            container.settle().await?;
            let held = self.holders(shim);
            if container.role() != (Role::Member { started: false }) {
                container.call(Method::Shutdown).await?;
            }
            if held == 1 {
                // A shim that stays is in the history.
                _ = container.shim_gone(self.leave_limit()).await;
            }
        }
        if container.role() != (Role::Member { started: false }) {
            // Judged by the invariants.
            _ = container.execute_delete().await;
        }
        if let Err(Stop::Violated(violation)) = container.forget().await {
            self.note(violation.to_string());
        }
        Ok(())
    }

    /// Expects that by now nothing of any shim is left in the world, sockets excepted where `after` is a violent end
    /// (contract, part 4, I5).
    ///
    /// # Errors
    ///
    /// A violation naming what is left after `limit`.
    pub async fn left_nothing(&self, after: &str, limit: Duration, sockets_may_stay: bool) -> Result<(), Stop> {
        let excuse = |residue: &mut Residue| {
            if sockets_may_stay {
                residue.sockets.clear();
            }
        };
        let residue = residue::settled(self, limit, excuse).await?;
        if residue == Default::default() {
            return Ok(());
        }
        let expected = format!("nothing within {} ms", self.scaled(limit).as_millis());
        Err(Stop::violated(format!("something is left after {after}"), expected, residue.to_string()))
    }

    /// The socket paths that shims answered.
    pub(super) fn sockets(&self) -> Vec<String> {
        let containers = self.containers.borrow();
        let addresses = containers.iter().filter_map(|facts| Some(facts.bootstrap.borrow().as_ref()?.address.clone()));
        let mut paths: Vec<String> =
            addresses.filter_map(|address| address.strip_prefix("unix://").map(str::to_owned)).collect();
        paths.dedup();
        paths
    }

    /// How long a shim may take to leave: longer while it may still try to deliver events (contract LIFE-07).
    pub fn leave_limit(&self) -> Duration {
        match Evidence::new(&self.recorder.history(), &self.terms()).had_outage() {
            true => super::SHUTDOWN_UNHEARD,
            false => super::SHUTDOWN,
        }
    }

    /// Whether the last thing that was done to the events service lets it serve.
    fn events_served(&self) -> bool {
        let history = self.recorder.history();
        let back = |record: &Record| matches!(record.what, What::EventsBack | What::ContainerdUp(_));
        let turn = history.records.iter().rfind(|record| record.what == What::EventsAway || back(record));
        turn.is_none_or(back)
    }

    /// How many containers that still exist are served by `shim`.
    fn holders(&self, shim: Identity) -> usize {
        let containers = self.containers.borrow();
        containers.iter().filter(|facts| !facts.forgotten.get() && facts.shim.get() == Some(shim)).count()
    }
}
