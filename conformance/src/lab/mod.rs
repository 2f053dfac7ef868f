//! One disposable world per check, and the verbs in which checks are written.
//!
//! Everything that a check does goes through a [`Lab`]: it lays out containers, gives orders to the fake containerd, looks at the world, and
//! records all of it. When the check has ended, the lab ends every life that is left, looks at what remains, and hands over the history.

pub mod cgroups;
pub mod chaos;
pub mod containers;
pub mod daemon;
pub mod deadline;
mod deprive;
pub mod diagnosis;
pub mod gate;
pub mod inject;
pub mod message;
pub mod play;
pub mod process;
pub mod program;
pub mod raw;
pub mod recorder;
mod reroute;
pub mod residue;
pub mod runtime;
pub mod sandbox;
pub mod shim;
pub mod spec;
pub mod stdio;
pub mod syscalls;
pub mod task;
mod watch;
pub mod world;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use fault_injector::seam::{runtime::Runtime, syscall::Supervisor};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

pub use self::{
    containers::{Container, Exec, Order},
    inject::{InForce, Upon},
    sandbox::{Sandbox, Stage},
    task::{Pending, Process},
};
use self::{
    daemon::Containerd,
    message::Request,
    recorder::Recorder,
    reroute::{Front, Route},
    world::{Isolation, Places},
};
use crate::{
    chaos::plan::Plan,
    check::{Need, Stop, Verdict},
    crash_points,
    history::{Answer, History, Loss, Method, What},
    invariant::Terms,
    lie::Lie,
    profile::Profile,
    script::Script,
    wire::{self, EventsMode, Outcome, Setup},
};

/// What a world is made for: everything a driver must know, as it travels from the runner.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// The check's id.
    pub check: String,
    /// The script, when the check is a property.
    pub script: Option<Script>,
    /// The plan, when the world is one of chaos.
    pub plan: Option<Plan>,
    /// The lie to tell.
    pub lie: Option<Lie>,
    /// The shim binary.
    pub shim: PathBuf,
    /// The OCI runtime that the shim is told to use.
    pub engine: Engine,
    /// The containerd to play.
    pub profile: Profile,
    /// When the shim is expected to leave.
    pub exit_policy: ExitPolicy,
    /// How the world is kept apart.
    pub isolation: Isolation,
    /// Unique among all worlds of the host; names cgroups and, without isolation, directories (see [`crate::tenancy`]).
    pub unique: String,
    /// Whether the runner is an ordinary user; inside its world it looks like root.
    pub unprivileged: bool,
    /// Whether cgroups can be made here.
    pub cgroups: bool,
    /// Factor on all deadlines.
    pub timeout_scale: f64,
    /// How long the check may take, milliseconds, already scaled.
    pub limit_ms: u64,
    /// Extra environment of the shim binary.
    pub env: Vec<(String, String)>,
    /// Whether the shim gets `-debug`.
    pub debug: bool,
    /// The call at which the shim is struck, when the job is to visit a crash point.
    pub visit: Option<crash_points::Visit>,
}

impl Job {
    /// Why `need` cannot be had on this host; `None` when it can.
    pub fn lacks(&self, need: Need) -> Option<String> {
        let reason = match need {
            Need::Controller(_) | Need::Freezer if !self.cgroups => "no cgroups can be made here",
            Need::Controller(controller) if !residue::has_controller(controller) => {
                return Some(format!("the {controller} controller is not available"));
            }
            Need::Freezer if !residue::has_freezer() => "no freezer is available",
            Need::RuntimeRules if self.engine == Engine::ShimDefault => {
                "the shim chooses its runtime, so none can be put in front of it"
            }
            Need::HostPid if self.isolation == Isolation::None => {
                "without isolation the host's PID namespace is everybody's"
            }
            Need::SyscallFaults => return fault_injector::seam::syscall::available().err(),
            Need::Controller(_) | Need::Freezer | Need::RuntimeRules | Need::HostPid => return None,
        };
        Some(reason.to_owned())
    }
}

/// Which OCI runtime is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// The suite's own.
    Ours,
    /// An executable.
    Path(PathBuf),
    /// Whatever the shim chooses: nothing is said to it.
    ShimDefault,
}

/// When a shim leaves by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum ExitPolicy {
    /// After Shutdown, as containerd's own shims do.
    OnShutdown,
    /// Soon after its container's init has exited and the exit is safe.
    OnInitExit,
}

/// What a driver tells the runner.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Word {
    /// The check has ended.
    Ended(Box<Ending>),
    /// A world was made, and that was all.
    Ready,
    /// System calls were supervised, and this was seen.
    Supervised(Box<crash_points::Calls>),
    /// `start` was tried.
    Probed(Box<crate::probe::Probed>),
}

/// How a check ended, and what is known about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ending {
    /// The verdict.
    pub verdict: Verdict,
    /// Everything that was observed.
    pub history: History,
    /// The end of the shim's log.
    pub log: String,
    /// What the processes were doing, when the check ran into its limit.
    pub diagnosis: Option<String>,
}

/// Deadline of calls that wait for nobody but the runtime.
const CALL: Duration = Duration::from_secs(10);
/// Deadline of Create, which may wait for a runtime and for readers (contract IO-09: 30 s).
const CREATE: Duration = Duration::from_secs(35);
/// Deadline of Delete, which may wait for a process that kept a stream open (clause `stdio/leaked-holder`: 15 s).
const DELETE: Duration = Duration::from_secs(16);
/// containerd's own deadline for Shutdown (`io.containerd.timeout.shim.shutdown`).
pub const SHUTDOWN: Duration = Duration::from_secs(3);
/// How long a shim that has events to deliver, and nobody to take them, may take to leave (contract LIFE-07).
pub const SHUTDOWN_UNHEARD: Duration = Duration::from_secs(20);
/// How soon an exit must be noticed (contract, part 4: "immediately").
pub const NOTICE: Duration = Duration::from_secs(1);
/// How long an event may take when the events service was away: the pauses between attempts grow (contract EVT-13).
pub const REDELIVERY: Duration = Duration::from_secs(6);

/// The laboratory of one check.
pub struct Lab {
    job: Job,
    places: Places,
    setup: Setup,
    /// Whether it is that of a second containerd.
    is_neighbour: bool,
    recorder: Rc<Recorder>,
    containerd: RefCell<Option<Rc<Containerd>>>,
    /// The runtime, once rules stand in front of it.
    runtime: RefCell<Option<Runtime>>,
    /// What stands in front of the events service, if anything.
    front: RefCell<Option<Front>>,
    /// Connections to shims that do not go there directly, by container.
    routes: RefCell<HashMap<String, Route>>,
    /// How many faults there have been.
    faults: Cell<u64>,
    /// The first call that was made when a fault had healed.
    healed: Cell<Option<u64>>,
    /// Ends with the lab: whatever lives under it then gets no answers any more.
    supervisor: RefCell<Option<Rc<Supervisor>>>,
    /// Whether calls belong to no phase any more.
    phases_over: Cell<bool>,
    /// What a reader of a crash point may want to know.
    remarks: RefCell<Vec<String>>,
    lives: Cell<u32>,
    calls: Cell<u64>,
    ids: Cell<u32>,
    containers: RefCell<Vec<Rc<containers::Facts>>>,
}

impl Lab {
    /// Furnishes a laboratory and starts its fake containerd.
    ///
    /// # Errors
    ///
    /// When the world cannot be furnished; the suite's fault.
    pub async fn open(job: Job) -> Result<Self> {
        let base = world::base(&job);
        let places = Places::lay_out(&base)?;
        let state = match job.isolation {
            Isolation::Full => PathBuf::from("/run/containerd"),
            Isolation::None => base.join("containerd"),
        };
        std::fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
        let mut env = job.env.clone();
        env.push(("TMPDIR".to_owned(), base.join("tmp").display().to_string()));
        let address = state.join("containerd.sock");
        let setup = Setup {
            shim: job.shim.clone(),
            supervisor: base.join("supervisor.sock"),
            profile: job.profile,
            events: address.with_extension("sock.ttrpc"),
            ttrpc: address.with_extension("sock.ttrpc"),
            address,
            // The default of `socket_dir` in `[plugins."io.containerd.shim.v1.manager"]`, whatever containerd's state directory.
            sockets: PathBuf::from("/run/containerd/s"),
            root: base.join("containerd-root"),
            state,
            namespace: match job.isolation {
                Isolation::Full => "conformance".to_owned(),
                Isolation::None => format!("conformance-{}", job.unique),
            },
            debug: job.debug,
            env,
            timeout_scale: job.timeout_scale,
        };
        let lab = Self::furnished(job, places, setup);
        lab.start_containerd().await?;
        Ok(lab)
    }

    fn furnished(job: Job, places: Places, setup: Setup) -> Self {
        Self {
            recorder: Rc::new(Recorder::new(job.lie)),
            job,
            places,
            setup,
            is_neighbour: false,
            containerd: RefCell::default(),
            runtime: RefCell::default(),
            front: RefCell::default(),
            routes: RefCell::default(),
            faults: Cell::new(0),
            healed: Cell::new(None),
            supervisor: RefCell::default(),
            phases_over: Cell::new(false),
            remarks: RefCell::default(),
            lives: Cell::new(0),
            calls: Cell::new(0),
            ids: Cell::new(0),
            containers: RefCell::default(),
        }
    }

    /// Another containerd in the same world, with a state directory below `state`, containers and a history of its own. It serves
    /// its own events, and is otherwise what `differs` makes of this one's setup. What is left of its containers is not cleared away:
    /// whoever makes it ends their lives.
    ///
    /// # Errors
    ///
    /// When it does not come up; the suite's fault.
    pub async fn neighbour(&self, state: &str, differs: impl FnOnce(&mut Setup)) -> Result<Self> {
        let mut setup = self.setup.clone();
        setup.state = self.places.base.join(state);
        setup.root = setup.state.join("root");
        setup.ttrpc = self.places.base.join("neighbour.events");
        setup.events.clone_from(&setup.ttrpc);
        std::fs::create_dir_all(&setup.state).with_context(|| format!("create {}", setup.state.display()))?;
        differs(&mut setup);
        // Of one state directory of the runtime, two containers of one id would be the runtime's trouble.
        let runtime_root = self.places.base.join("neighbour.runtime");
        std::fs::create_dir_all(&runtime_root).with_context(|| format!("create {}", runtime_root.display()))?;
        let places = Places { runtime_root, ..self.places.clone() };
        let lab = Self { is_neighbour: true, ..Self::furnished(self.job.clone(), places, setup) };
        lab.start_containerd().await?;
        Ok(lab)
    }

    /// What this world was made for.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Where things lie.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The containerd that is played.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What invariants must know beside the history.
    pub fn terms(&self) -> Terms {
        Terms { exit_policy: self.job.exit_policy, namespace: self.setup.namespace.clone() }
    }

    /// What has been observed so far.
    pub fn recorder(&self) -> &Rc<Recorder> {
        &self.recorder
    }

    /// The lie that is told, if any.
    pub fn lie(&self) -> Option<Lie> {
        self.recorder.lie()
    }

    /// A deadline for this host.
    pub fn scaled(&self, deadline: Duration) -> Duration {
        deadline.mul_f64(self.job.timeout_scale)
    }

    /// Adds a line to the timeline.
    pub fn note(&self, text: impl Into<String>) {
        self.recorder.record(What::Note(text.into()));
    }

    /// How often the program that counts in `/shared/NAME` has done so.
    ///
    /// # Errors
    ///
    /// When it has not begun.
    pub fn count(&self, name: &str) -> Result<u64> {
        let path = self.places.shared.join(name);
        let file = std::fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        match self.lie() {
            Some(Lie::NotFrozen) => Ok(crate::clock::now().0),
            _ => Ok(file.len()),
        }
    }

    /// Waits until a program has created `/shared/NAME`.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`.
    pub async fn touched(&self, name: &str, limit: Duration) -> Result<()> {
        let path = self.places.shared.join(name);
        let touched = deadline::until(self.scaled(limit), || path.exists().then_some(())).await;
        touched.with_context(|| format!("no program has created {}", path.display()))
    }

    /// Asks the host for what a check needs.
    ///
    /// # Errors
    ///
    /// `Skipped` with the reason when it cannot be had.
    pub fn need(&self, need: Need) -> Result<(), Stop> {
        if let Some(reason) = self.job.lacks(need) {
            return Err(Stop::Skipped(reason));
        }
        if need == Need::RuntimeRules {
            self.put_rules_in_front()?;
        }
        if need == Need::SyscallFaults {
            self.supervise()?;
        }
        Ok(())
    }

    /// Starts a fake containerd on what the former one left.
    ///
    /// # Errors
    ///
    /// When it does not come up; the suite's fault.
    pub async fn start_containerd(&self) -> Result<Rc<Containerd>> {
        let life = self.lives.get() + 1;
        self.lives.set(life);
        if life > 1 {
            self.enter(syscalls::REATTACH);
        }
        let setup = Setup { events: self.events_path(), ..self.setup.clone() };
        let containerd = Rc::new(Containerd::start(&setup, life, self.recorder.clone()).await?);
        self.front_opens();
        *self.containerd.borrow_mut() = Some(containerd.clone());
        Ok(containerd)
    }

    /// The same of another release: what has become of the one before by an upgrade.
    ///
    /// # Errors
    ///
    /// When it does not come up; the suite's fault.
    pub async fn start_containerd_as(&self, profile: Profile) -> Result<()> {
        let life = self.lives.get() + 1;
        self.lives.set(life);
        let setup = Setup { profile, ..self.setup.clone() };
        let containerd = Containerd::start(&setup, life, self.recorder.clone()).await?;
        *self.containerd.borrow_mut() = Some(Rc::new(containerd));
        Ok(())
    }

    /// Sends SIGKILL to the fake containerd and waits for its end.
    ///
    /// # Errors
    ///
    /// When none is alive.
    pub async fn kill_containerd(&self) -> Result<()> {
        self.end_containerd(Signal::SIGKILL).await
    }

    /// The same with any signal that ends it.
    pub(super) async fn end_containerd(&self, signal: Signal) -> Result<()> {
        let containerd = self.containerd.borrow_mut().take().context("no containerd is alive")?;
        containerd.end(signal).await?;
        self.front_closes()
    }

    /// The containerd that serves now.
    ///
    /// # Errors
    ///
    /// When none is alive.
    pub fn containerd(&self) -> Result<Rc<Containerd>> {
        self.containerd.borrow().clone().context("no containerd is alive")
    }

    /// Gives an order and waits for its end.
    ///
    /// # Errors
    ///
    /// When containerd died or could not carry it out.
    pub async fn obey(&self, order: wire::Order) -> Result<Outcome> {
        let serves = matches!(order, wire::Order::Events(EventsMode::Serve));
        // The judge of events needs the whole outage: recorded a moment too long, never too short.
        if let wire::Order::Events(EventsMode::Refuse | EventsMode::Stall) = order {
            self.recorder.record(What::EventsAway);
        }
        if let wire::Order::Redial { id, via } = &order {
            self.recorder.record(What::Redialled(id.clone()));
            if via.is_none() {
                self.routes.borrow_mut().remove(id);
            }
        }
        let outcome = self.containerd()?.obey(order).await?;
        if serves {
            self.recorder.record(What::EventsBack);
        }
        Ok(outcome)
    }

    /// Makes a call over the connection of `id` and waits for its answer.
    ///
    /// # Errors
    ///
    /// When the suite fails; a shim that does not answer is an [`Answer::Lost`].
    pub async fn call(&self, request: Request) -> Result<Answer> {
        self.begin(request).await?.answer().await
    }

    /// Makes a call and returns as soon as it is on the wire.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn begin(&self, request: Request) -> Result<Pending<'_>> {
        let via = request.call.target.container.clone();
        self.begin_over(&via, request).await
    }

    /// The same over the connection of the container `via`.
    async fn begin_over(&self, via: &str, request: Request) -> Result<Pending<'_>> {
        let Request { call, payload } = request;
        let number = self.calls.replace(self.calls.get() + 1);
        let deadline = match call.method {
            // A sandbox may give its members a while to end by themselves.
            Method::Create | Method::StopSandbox | Method::ShutdownSandbox => self.scaled(CREATE),
            Method::Delete => self.scaled(DELETE),
            // As long as the check itself may take.
            Method::Wait | Method::WaitSandbox => Duration::from_millis(self.job.limit_ms),
            Method::State
            | Method::Start
            | Method::Pids
            | Method::Pause
            | Method::Resume
            | Method::Checkpoint
            | Method::Kill
            | Method::Exec
            | Method::ResizePty
            | Method::CloseIo
            | Method::Update
            | Method::Stats
            | Method::Connect
            | Method::Shutdown
            | Method::CreateSandbox
            | Method::StartSandbox
            | Method::Platform
            | Method::SandboxStatus
            | Method::PingSandbox
            | Method::SandboxMetrics => self.scaled(CALL),
        };
        let order = wire::Order::Call {
            id: via.to_owned(),
            service: sandbox::is_about(call.method).then(|| sandbox::SERVICE.to_owned()),
            method: call.method.name().to_owned(),
            payload,
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            tell_deadline: call.method == Method::Shutdown,
        };
        let method = call.method;
        if let Some(phase) = syscalls::phase_of(&call) {
            self.enter(phase);
        }
        self.recorder.record(What::Invoke { id: number, call });
        let mut given = self.containerd()?.give(order).await?;
        // `None` when the call ended first or containerd died: the end says which.
        given.underway().await;
        Ok(Pending::new(self, number, method, given))
    }

    /// Records and returns what came of call `number`.
    fn returned(&self, number: u64, method: Method, outcome: Option<Outcome>) -> Result<Answer> {
        let mut answer = match outcome {
            Some(Outcome::Called(outcome)) => message::answer(method, outcome),
            Some(Outcome::Failed(reason)) => anyhow::bail!("fake containerd: {reason}"),
            Some(other) => anyhow::bail!("fake containerd answers a call with {other:?}"),
            None => Answer::Lost(Loss::ContainerdDied),
        };
        match self.lie() {
            Some(Lie::UnansweredWhenHealed) if self.healed.get().is_some_and(|first| number >= first) => {
                answer = Answer::Lost(Loss::Deadline);
            }
            Some(lie) => lie.answer(method, &mut answer),
            None => {}
        }
        self.recorder.record(What::Return { id: number, answer: answer.clone() });
        Ok(answer)
    }
}
