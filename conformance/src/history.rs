//! What was observed, and in which order the suite saw it.
//!
//! A history claims no order that nobody observed: calls carry the moment they were sent and the moment they were answered, events the
//! moment they arrived at the events service of the fake containerd. All moments come from `CLOCK_MONOTONIC`, which every process of a
//! world shares.

use std::fmt;

use fault_injector::fault::Obligation;
use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(pub u64);

impl Moment {
    /// Milliseconds from `earlier` to here; zero when `earlier` is later.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one check fit 53 bits")]
    pub fn ms_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e6
    }
}

/// The 17 calls of the Task service (containerd: `api/runtime/task/v3/shim.proto`), and from `CreateSandbox` on the 9 of the Sandbox
/// service (`api/runtime/sandbox/v1/sandbox.proto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the service's own")]
pub enum Method {
    State,
    Create,
    Start,
    Delete,
    Pids,
    Pause,
    Resume,
    Checkpoint,
    Kill,
    Exec,
    ResizePty,
    CloseIo,
    Update,
    Wait,
    Stats,
    Connect,
    Shutdown,
    CreateSandbox,
    StartSandbox,
    Platform,
    StopSandbox,
    WaitSandbox,
    SandboxStatus,
    PingSandbox,
    ShutdownSandbox,
    SandboxMetrics,
}

impl Method {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "State",
            Self::Create => "Create",
            Self::Start => "Start",
            Self::Delete => "Delete",
            Self::Pids => "Pids",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::Checkpoint => "Checkpoint",
            Self::Kill => "Kill",
            Self::Exec => "Exec",
            Self::ResizePty => "ResizePty",
            Self::CloseIo => "CloseIO",
            Self::Update => "Update",
            Self::Wait => "Wait",
            Self::Stats => "Stats",
            Self::Connect => "Connect",
            Self::Shutdown => "Shutdown",
            Self::CreateSandbox => "CreateSandbox",
            Self::StartSandbox => "StartSandbox",
            Self::Platform => "Platform",
            Self::StopSandbox => "StopSandbox",
            Self::WaitSandbox => "WaitSandbox",
            Self::SandboxStatus => "SandboxStatus",
            Self::PingSandbox => "PingSandbox",
            Self::ShutdownSandbox => "ShutdownSandbox",
            Self::SandboxMetrics => "SandboxMetrics",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whom a call or an event is about: a container's init (`exec` empty) or one of its execs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Container id.
    pub container: String,
    /// Exec id; empty for init.
    pub exec: String,
}

impl Target {
    /// The init process of `container`.
    pub fn init(container: &str) -> Self {
        Self { container: container.to_owned(), exec: String::new() }
    }

    /// The exec `exec` of `container`.
    pub fn exec(container: &str, exec: &str) -> Self {
        Self { container: container.to_owned(), exec: exec.to_owned() }
    }

    /// Whether this is a container's init.
    pub fn is_init(&self) -> bool {
        self.exec.is_empty()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exec.as_str() {
            "" => f.write_str(&self.container),
            exec => write!(f, "{}/{exec}", self.container),
        }
    }
}

/// One call as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Which call.
    pub method: Method,
    /// About whom.
    pub target: Target,
    /// The remaining arguments, for people.
    pub args: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, args } = self;
        if args.is_empty() { write!(f, "{method}({target})") } else { write!(f, "{method}({target}, {args})") }
    }
}

/// gRPC status codes, as ttrpc carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are gRPC's own")]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
    /// A number that gRPC does not define.
    Undefined,
}

impl Code {
    /// The code with this number; `None` for 0, which is success.
    pub const fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => return None,
            1 => Self::Cancelled,
            2 => Self::Unknown,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Undefined,
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Undefined => "an undefined code",
        })
    }
}

/// A point of wall-clock time as protobuf carries it; the zero value and Go's zero time both mean "not yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct WallTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds of the second.
    pub nanos: i32,
}

impl WallTime {
    /// Whether a shim means "has not exited" by it: absent, zero, or Go's zero time (contract TASK-13).
    pub const fn is_unset(self) -> bool {
        matches!(self.seconds, 0 | -62_135_596_800)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, or 128 + signal.
    pub status: u32,
    /// When.
    pub at: WallTime,
}

/// Task states (containerd: `api/types/task/task.proto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the message's own")]
pub enum Status {
    Unknown,
    Created,
    Running,
    Stopped,
    Paused,
    Pausing,
}

/// One process of a Pids answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedProcess {
    /// In the shim's PID namespace.
    pub pid: u32,
    /// The exec id that the shim attached, if any.
    pub exec: Option<String>,
}

/// The fields of a successful answer that anybody judges; a field that the answer's message does not have is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reply {
    /// Create, Start, State, Delete, StartSandbox, SandboxStatus.
    pub pid: Option<u32>,
    /// State.
    pub status: Option<Status>,
    /// Wait, State and Delete of something that ended; WaitSandbox.
    pub exit: Option<Exit>,
    /// Pids.
    pub processes: Vec<ListedProcess>,
    /// Connect.
    pub shim_pid: Option<u32>,
    /// Connect.
    pub task_pid: Option<u32>,
    /// State: id, bundle, stdin, stdout, stderr as the shim tells them.
    pub described: Option<Described>,
    /// Stats: the type of the metrics and their size in bytes.
    pub stats: Option<(String, usize)>,
    /// The calls about a sandbox.
    pub sandbox: Option<SandboxFacts>,
}

/// What the calls about a sandbox tell; a field that the answer's message does not have is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxFacts {
    /// SandboxStatus, SandboxMetrics.
    pub id: String,
    /// SandboxStatus.
    pub state: String,
    /// StartSandbox, SandboxStatus.
    pub created: WallTime,
    /// SandboxStatus.
    pub exited: WallTime,
    /// Platform: operating system and architecture.
    pub platform: Option<(String, String)>,
}

/// What State repeats of the request that made the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the message's own")]
pub struct Described {
    pub id: String,
    pub bundle: String,
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// The suite's deadline passed.
    Deadline,
    /// The connection to the shim ended first.
    Disconnected,
    /// The fake containerd died first; the shim may or may not have seen the call.
    ContainerdDied,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Status OK.
    Done(Box<Reply>),
    /// Any other status.
    Refused {
        /// The status.
        code: Code,
        /// The text beside it.
        message: String,
    },
    /// No answer at all.
    Lost(Loss),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(reply) => {
                f.write_str("ok")?;
                if let Some(pid) = reply.pid {
                    write!(f, " pid={pid}")?;
                }
                if let Some(status) = reply.status {
                    write!(f, " {status:?}")?;
                }
                if let Some(exit) = reply.exit {
                    write!(f, " exit={}", exit.status)?;
                }
                match &reply.sandbox {
                    Some(sandbox) if !sandbox.state.is_empty() => write!(f, " {}", sandbox.state)?,
                    Some(_) | None => {}
                }
                Ok(())
            }
            Self::Refused { code, message } => write!(f, "{code}: {message}"),
            Self::Lost(Loss::Deadline) => f.write_str("no answer within the deadline"),
            Self::Lost(Loss::Disconnected) => f.write_str("the connection ended without an answer"),
            Self::Lost(Loss::ContainerdDied) => f.write_str("unknown: containerd died first"),
        }
    }
}

/// Event topics of a task (containerd: `core/runtime/events.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are containerd's own")]
pub enum Topic {
    Create,
    Start,
    Exit,
    Delete,
    ExecAdded,
    ExecStarted,
    Oom,
    Paused,
    Resumed,
    Checkpointed,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Start,
        Self::Exit,
        Self::Delete,
        Self::ExecAdded,
        Self::ExecStarted,
        Self::Oom,
        Self::Paused,
        Self::Resumed,
        Self::Checkpointed,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "/tasks/create",
            Self::Start => "/tasks/start",
            Self::Exit => "/tasks/exit",
            Self::Delete => "/tasks/delete",
            Self::ExecAdded => "/tasks/exec-added",
            Self::ExecStarted => "/tasks/exec-started",
            Self::Oom => "/tasks/oom",
            Self::Paused => "/tasks/paused",
            Self::Resumed => "/tasks/resumed",
            Self::Checkpointed => "/tasks/checkpointed",
        }
    }

    /// The topic with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One event as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The topic.
    pub topic: Topic,
    /// Container and, for exec events, exec.
    pub target: Target,
    /// The pid it names; 0 where the message has none.
    pub pid: u32,
    /// Exit and Delete.
    pub exit: Option<Exit>,
    /// The envelope's namespace.
    pub namespace: String,
    /// The envelope's timestamp.
    pub published: WallTime,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.topic, self.target)?;
        if self.pid != 0 {
            write!(f, " pid={}", self.pid)?;
        }
        if let Some(exit) = self.exit {
            write!(f, " status={}", exit.status)?;
        }
        Ok(())
    }
}

/// How one execution of the shim binary ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The exit code, or 128 + signal; `None` when it was still running at its deadline and was killed, or containerd died.
    pub code: Option<i32>,
    /// The helper's own pid.
    pub pid: u32,
    /// Standard output, lossily as text.
    pub stdout: String,
    /// Standard error, lossily as text.
    pub stderr: String,
    /// Somebody kept standard output open after the helper had ended.
    pub held_open: bool,
}

/// What still exists after a life has ended; every entry names the thing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Residue {
    /// Processes of the world beside the suite's own, as "pid comm (state)".
    pub processes: Vec<String>,
    /// Mounts below the bundles.
    pub mounts: Vec<String>,
    /// cgroup directories below the world's prefix.
    pub cgroups: Vec<String>,
    /// Listening or lingering sockets.
    pub sockets: Vec<String>,
    /// Files below the runtime's state directory and the shim's socket directory.
    pub files: Vec<String>,
}

impl fmt::Display for Residue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, mounts, cgroups, sockets, files } = self;
        let kinds =
            [("process", processes), ("mount", mounts), ("cgroup", cgroups), ("socket", sockets), ("file", files)];
        let mut all = kinds.iter().flat_map(|(kind, things)| things.iter().map(move |thing| format!("{kind} {thing}")));
        match all.next() {
            None => f.write_str("nothing"),
            Some(first) => {
                f.write_str(&first)?;
                all.try_for_each(|thing| write!(f, ", {thing}"))
            }
        }
    }
}

/// How the process that serves a container is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShimFact {
    /// It answered as `pid` at the end of `start`.
    Serves,
    /// It was seen to be gone.
    Gone,
    /// It was still there when a deadline for its going passed.
    Stays,
    /// The suite sent it this signal.
    Signalled(i32),
    /// Zombies among its children at a quiet point, by pid.
    Zombies(Vec<u32>),
    /// Descriptors, threads and resident kilobytes at a quiet point.
    Footprint {
        /// Open file descriptors.
        fds: usize,
        /// Threads.
        threads: usize,
        /// Resident memory, kB.
        rss_kb: u64,
    },
    /// Resident memory and its share of it, where a benchmark asked (proc(5), smaps_rollup).
    Memory {
        /// Resident, kB.
        rss_kb: u64,
        /// Resident, each page divided by who else maps it, kB.
        pss_kb: u64,
    },
}

impl fmt::Display for ShimFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serves => f.write_str("serves"),
            Self::Gone => f.write_str("is gone"),
            Self::Stays => f.write_str("is still there"),
            Self::Signalled(signal) => write!(f, "gets signal {signal}"),
            Self::Zombies(pids) if pids.is_empty() => f.write_str("keeps no zombies"),
            Self::Zombies(pids) => write!(f, "keeps zombies {pids:?}"),
            Self::Footprint { fds, threads, rss_kb } => {
                write!(f, "holds {fds} descriptors, {threads} threads, {rss_kb} kB")
            }
            Self::Memory { rss_kb, pss_kb } => write!(f, "holds {rss_kb} kB, {pss_kb} kB of them its own share"),
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A call was sent.
    Invoke {
        /// Pairs it with its return.
        id: u64,
        /// The call.
        call: Call,
    },
    /// A call ended.
    Return {
        /// Pairs it with its invocation.
        id: u64,
        /// How.
        answer: Answer,
    },
    /// An event arrived.
    Event(Event),
    /// `start` ended.
    Started {
        /// For this container.
        container: String,
        /// How.
        ran: Ran,
    },
    /// The `delete` action of this container is about to be executed.
    Cleaning(String),
    /// The `delete` action ended.
    Cleaned {
        /// For this container.
        container: String,
        /// How.
        ran: Ran,
        /// What its answer says, when it parses.
        exit: Option<Exit>,
    },
    /// A fake containerd serves; the number counts its lives.
    ContainerdUp(u32),
    /// The fake containerd was killed.
    ContainerdKilled(u32),
    /// From now on the events service does not answer, or nobody listens there.
    EventsAway,
    /// The events service answers again.
    EventsBack,
    /// An event arrived that containerd refuses, and why.
    EventRefused(String),
    /// The connection of this container was dropped and dialled again.
    Redialled(String),
    /// About the shim process `pid`, which serves (at least) this container.
    Shim {
        /// A container it serves.
        container: String,
        /// The process.
        pid: u32,
        /// What was seen.
        fact: ShimFact,
    },
    /// A fault begins; recorded a moment too early, never too late.
    FaultInjected {
        /// Pairs its beginning with its end.
        number: u64,
        /// Its id in the catalogue, or of the same form.
        fault: String,
        /// The container whose process, shim or connection it strikes; `None` when it strikes what all of them share.
        container: Option<String>,
        /// What the shim may stop owing while it lasts.
        excuses: Vec<Obligation>,
    },
    /// A fault has ended; recorded a moment too late, never too early.
    FaultHealed {
        /// Pairs its end with its beginning.
        number: u64,
        /// Its id.
        fault: String,
        /// How often it took effect.
        bites: u32,
    },
    /// What a finished life left.
    Left(Residue),
    /// Anything a reader of the timeline wants to know.
    Note(String),
}

/// The note that is made when a story ends with a violation; what follows is only the world being taken down.
pub const VIOLATION_SEEN: &str = "the violation is seen";

/// A moment and what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When the suite saw it.
    pub at: Moment,
    /// What it saw.
    pub what: What,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invoke { id, call } => write!(f, "#{id} → {call}"),
            Self::Return { id, answer } => write!(f, "#{id} ← {answer}"),
            Self::Event(event) => write!(f, "event {event}"),
            Self::Started { container, ran } => write!(f, "start {container} {}", ran.brief()),
            Self::Cleaning(container) => write!(f, "delete {container} begins"),
            Self::Cleaned { container, ran, exit } => {
                write!(f, "delete {container} {}", ran.brief())?;
                exit.map_or(Ok(()), |exit| write!(f, ", says exit={}", exit.status))
            }
            Self::ContainerdUp(life) => write!(f, "containerd is up (life {life})"),
            Self::ContainerdKilled(life) => write!(f, "containerd is killed (life {life})"),
            Self::EventsAway => f.write_str("the events service is away"),
            Self::EventsBack => f.write_str("the events service is back"),
            Self::EventRefused(reason) => write!(f, "containerd refuses an event: {reason}"),
            Self::Redialled(container) => write!(f, "the connection of {container} is made anew"),
            Self::Shim { container, pid, fact } => write!(f, "shim {pid} of {container} {fact}"),
            Self::FaultInjected { number, fault, container, excuses: _ } => {
                write!(f, "fault {number} begins: {fault}")?;
                container.as_ref().map_or(Ok(()), |container| write!(f, " upon {container}"))
            }
            Self::FaultHealed { number, fault, bites } => {
                write!(f, "fault {number} has ended: {fault}, it bit {bites} times")
            }
            Self::Left(residue) => write!(f, "left: {residue}"),
            Self::Note(text) => f.write_str(text),
        }
    }
}

impl Ran {
    fn brief(&self) -> String {
        match self.code {
            Some(0) => "rc 0".to_owned(),
            Some(code) => format!("rc {code}: {}", self.stderr.trim()),
            None => "did not end".to_owned(),
        }
    }
}

/// Everything that was observed of one check, in the order of observation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The records.
    pub records: Vec<Record>,
}

/// A call together with its end.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// When it was sent.
    pub invoked: Moment,
    /// The call.
    pub call: &'a Call,
    /// When it ended and how; `None` while it is open.
    pub returned: Option<(Moment, &'a Answer)>,
}

impl Exchange<'_> {
    /// The reply, when the call succeeded.
    pub fn reply(&self) -> Option<&Reply> {
        match self.returned {
            Some((_, Answer::Done(reply))) => Some(reply),
            Some((_, Answer::Refused { .. } | Answer::Lost(_))) | None => None,
        }
    }
}

impl History {
    /// All calls in the order they were sent.
    pub fn exchanges(&self) -> Vec<Exchange<'_>> {
        let mut exchanges: Vec<(u64, Exchange<'_>)> = Vec::new();
        for record in &self.records {
            match &record.what {
                What::Invoke { id, call } => {
                    exchanges.push((*id, Exchange { invoked: record.at, call, returned: None }));
                }
                What::Return { id, answer } => {
                    if let Some((_, exchange)) = exchanges.iter_mut().rev().find(|(open, _)| open == id) {
                        exchange.returned = Some((record.at, answer));
                    }
                }
                What::Event(_)
                | What::Started { .. }
                | What::Cleaning(_)
                | What::Cleaned { .. }
                | What::ContainerdUp(_)
                | What::ContainerdKilled(_)
                | What::EventsAway
                | What::EventsBack
                | What::EventRefused(_)
                | What::Redialled(_)
                | What::Shim { .. }
                | What::FaultInjected { .. }
                | What::FaultHealed { .. }
                | What::Left(_)
                | What::Note(_) => {}
            }
        }
        exchanges.into_iter().map(|(_, exchange)| exchange).collect()
    }

    /// All events in the order they arrived.
    pub fn events(&self) -> impl Iterator<Item = (Moment, &Event)> {
        self.records.iter().filter_map(|record| match &record.what {
            What::Event(event) => Some((record.at, event)),
            What::Invoke { .. }
            | What::Return { .. }
            | What::Started { .. }
            | What::Cleaning(_)
            | What::Cleaned { .. }
            | What::ContainerdUp(_)
            | What::ContainerdKilled(_)
            | What::Shim { .. }
            | What::FaultInjected { .. }
            | What::FaultHealed { .. }
            | What::Left(_)
            | What::EventsAway
            | What::EventsBack
            | What::EventRefused(_)
            | What::Redialled(_)
            | What::Note(_) => None,
        })
    }
}
