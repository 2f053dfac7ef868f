//! What a fault is, as plain data: nothing here acts.
//!
//! A [`Fault`] says where it happens ([`Seam`]), on which occasion ([`Trigger`]), what is done ([`Action`]) and which
//! duties of the shim are not judged meanwhile ([`Obligation`]). The modules under [`crate::seam`] carry it out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One disturbance of the world around an unmodified shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Slug of the form `seam/what`; survives insertions, never reused.
    pub id: &'static str,
    /// One sentence for a person who reads `list` or a failing report.
    pub summary: &'static str,
    /// Where it is applied.
    pub seam: Seam,
    /// On which occasion, counted from the moment of installation.
    pub when: Trigger,
    /// What is done on that occasion.
    pub does: Action,
    /// What the shim may stop owing while the fault lasts. Everything else stays due.
    pub excuses: &'static [Obligation],
}

impl Fault {
    /// Whether the seam can carry out the action on that occasion. Every catalogued fault passes; one made by hand may not.
    ///
    /// # Errors
    ///
    /// [`Unfit`] says which part of the fault contradicts which.
    pub fn check(&self) -> Result<(), Unfit> {
        let unfit = |because| Err(Unfit::new(self, because));
        match (self.seam, self.does) {
            (Seam::Process, Action::Signal(Party::Containerd, _)) => {
                return unfit("containerd is signalled through its own seam");
            }
            (Seam::Containerd, Action::Signal(to, _)) if to != Party::Containerd => {
                return unfit("the containerd seam reaches nobody but containerd");
            }
            (Seam::Process | Seam::Containerd, Action::Signal(..))
            | (Seam::TaskSocket | Seam::Events, Action::Frame(..))
            | (Seam::Runtime, Action::Runtime(_))
            | (Seam::Syscall, Action::Syscall(_))
            | (Seam::Resource, Action::Limit(_))
            | (Seam::Disk, Action::Damage(_)) => {}
            (Seam::Events, Action::Refuse(_)) if self.when == Trigger::Now => {}
            (Seam::Events, Action::Refuse(_)) => return unfit("refusing starts at once"),
            _ => return unfit("the seam cannot carry out this action"),
        }
        match (self.when, self.does) {
            (Trigger::Nth(0), _) => unfit("occasions are counted from one"),
            (Trigger::Now | Trigger::Nth(_), Action::Runtime(_)) => unfit("the runtime is told apart by subcommand"),
            (Trigger::Before(_) | Trigger::After(_), Action::Syscall(_)) => {
                unfit("system calls are told apart by the aim")
            }
            (Trigger::Nth(_) | Trigger::Before(_) | Trigger::After(_), Action::Limit(_) | Action::Damage(_)) => {
                unfit("what is taken away is gone at once")
            }
            (Trigger::Before(_), Action::Frame(Direction::Answers, _)) => unfit("an answer is after its call"),
            (Trigger::After(_), Action::Frame(Direction::Requests, _)) => unfit("a request is before its call"),
            (Trigger::Now | Trigger::Nth(_) | Trigger::Before(_) | Trigger::After(_), _) => Ok(()),
        }
    }

    /// What ends the fault.
    pub fn heal(&self) -> Heal {
        match self.does {
            Action::Signal(_, Signal::Kill | Signal::Terminate) | Action::Syscall(Strike::Kill) => Heal::Restart,
            Action::Signal(_, Signal::Stop)
            | Action::Frame(..)
            | Action::Refuse(_)
            | Action::Runtime(_)
            | Action::Limit(_)
            | Action::Damage(_)
            | Action::Syscall(Strike::Fail(_)) => Heal::Guard,
        }
    }

    /// The same fault on another occasion.
    #[must_use]
    pub fn at(self, when: Trigger) -> Self {
        Self { when, ..self }
    }

    /// Whether the shim may neglect `obligation` while this fault lasts.
    pub fn excuses(&self, obligation: Obligation) -> bool {
        self.excuses.contains(&obligation)
    }
}

/// A fault that asks its seam for something the seam cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("fault {id}: {because}")]
pub struct Unfit {
    /// The fault's [`Fault::id`].
    pub id: &'static str,
    /// The contradiction.
    pub because: &'static str,
}

impl Unfit {
    pub(crate) const fn new(fault: &Fault, because: &'static str) -> Self {
        Self { id: fault.id, because }
    }
}

/// Where in the shim's surroundings a fault is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seam {
    /// The shim and the processes it answers for.
    Process,
    /// The socket on which the shim serves the Task API.
    TaskSocket,
    /// The socket on which containerd takes the shim's events.
    Events,
    /// The OCI runtime which the shim executes.
    Runtime,
    /// The process that plays containerd.
    Containerd,
    /// The system calls of the shim itself, not of its children.
    Syscall,
    /// What the kernel grants to the shim and to its containers.
    Resource,
    /// The files that a shim and containerd share.
    Disk,
}

impl Seam {
    /// The first half of the ids of its faults.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::TaskSocket => "task-socket",
            Self::Events => "events",
            Self::Runtime => "runtime",
            Self::Containerd => "containerd",
            Self::Syscall => "syscall",
            Self::Resource => "resource",
            Self::Disk => "disk",
        }
    }
}

/// The occasion on which an installed fault acts. On a socket, each frame in the fault's direction is one; for the runtime, each
/// execution; at the system calls, each call that is aimed at; a signal is sent when the caller says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// At once, and on every occasion as long as the fault is installed.
    Now,
    /// On the n-th occasion, counted from one, and on no other.
    Nth(u32),
    /// Every time this call (`Create`, or `create` for the runtime) is about to reach its server.
    Before(&'static str),
    /// Every time the server's answer to this call is about to reach the caller.
    After(&'static str),
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Nth(n) => write!(f, "occasion {n}"),
            Self::Before(call) => write!(f, "before {call}"),
            Self::After(call) => write!(f, "after {call}"),
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Sends a signal to a process.
    Signal(Party, Signal),
    /// Interferes with the frame that triggers; frames of the other direction are not even counted.
    Frame(Direction, Tamper),
    /// Closes the listening socket and every connection.
    Refuse(Leftover),
    /// Makes the runtime misbehave.
    Runtime(Misstep),
    /// Interferes with a system call before it takes effect.
    Syscall(Strike),
    /// Takes something away that the kernel grants.
    Limit(Limit),
    /// Does something to files.
    Damage(Damage),
}

/// What the kernel refuses from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The shim gets no further file descriptor (the soft RLIMIT_NOFILE): EMFILE.
    Descriptors,
    /// The shim gets no further process and no thread (`pids.max` of a cgroup around it): EAGAIN.
    Processes,
    /// The shim gets no further memory (the limit of a cgroup around it): the kernel kills it, or what it starts.
    Memory,
    /// The processes of the container get no time: their cgroup is frozen, and nobody asked the shim.
    Time,
}

/// What happens to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// The file system of bundles, sockets and the runtime's state has no room: ENOSPC.
    Full,
    /// Bundles, sockets and the runtime's state are mounted read-only: EROFS.
    ReadOnly,
    /// The path of the shim's socket is gone.
    SocketGone,
    /// The file in the bundle that names the address is gone.
    AddressGone,
    /// The whole bundle is gone.
    BundleGone,
}

/// Who can be signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// The shim's daemon.
    Shim,
    /// The container's PID 1.
    Init,
    /// A process added to the container.
    Exec,
    /// The runtime while the shim waits for it.
    Runtime,
    /// The process that plays containerd.
    Containerd,
}

/// The signals faults are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// SIGKILL.
    Kill,
    /// SIGSTOP; SIGCONT follows when the fault heals.
    Stop,
    /// SIGTERM.
    Terminate,
}

/// The two directions of a ttrpc connection, named by what travels in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the client, who connected, to the server.
    Requests,
    /// From the server back to the client.
    Answers,
}

/// What happens to the frame that triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tamper {
    /// Kept back until the fault heals; later frames overtake it.
    Hold,
    /// Kept back until the fault heals, and everything behind it in this direction of this connection too.
    Stall,
    /// Sent up to the point; then both sides of the connection are closed.
    Cut(Point),
    /// Sent up to the point; then this direction ends while the other one goes on.
    HalfClose(Point),
    /// Sent up to the point; then the server is gone: every connection closed, new ones refused until the fault heals.
    Leave(Point),
    /// Sent one byte at a time.
    Split,
    /// Sent twice.
    Duplicate,
    /// Sent with one field changed.
    Corrupt(Corruption),
}

/// How much of a frame still goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Nothing.
    BeforeFrame,
    /// The length and no more.
    InHeader,
    /// The header and half the payload.
    InPayload,
    /// Everything.
    AfterFrame,
}

/// What the file system still shows of a listening socket that was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leftover {
    /// Its path, as after a SIGKILL: who connects gets ECONNREFUSED.
    Path,
    /// Nothing, as after an orderly exit: who connects gets ENOENT.
    Nothing,
}

/// A field of a frame and what it becomes. The rest of the frame, payload included, stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corruption {
    /// Length: one less than the payload, so that its last byte begins the next header.
    LengthShort,
    /// Length: one more than the payload, so that the next header begins in the payload.
    LengthLong,
    /// Length: one more than the protocol allows.
    LengthOversize,
    /// Stream id: even, which is not a client's to use.
    StreamEven,
    /// Stream id: odd, and on nobody's books.
    StreamUnknown,
    /// Type: no type of the protocol.
    KindUnknown,
    /// Type: data, on a stream that carries none.
    KindData,
    /// Flags: every bit set.
    FlagsAll,
    /// Payload: its first byte inverted, which breaks the outermost protobuf tag.
    Payload,
}

/// What happens to a system call, which then never takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strike {
    /// Its process dies of SIGKILL.
    Kill,
    /// It fails; calls whose manual does not know this error are no occasion.
    Fail(Errno),
}

/// The errors that system calls are made to fail with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Errno {
    /// Too many processes or threads.
    Eagain,
    /// A signal came first.
    Eintr,
    /// The device failed.
    Eio,
    /// The process has too many descriptors.
    Emfile,
    /// The kernel has no memory.
    Enomem,
    /// The file system is full.
    Enospc,
}

impl Errno {
    /// As errno(3) spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eagain => "EAGAIN",
            Self::Eintr => "EINTR",
            Self::Eio => "EIO",
            Self::Emfile => "EMFILE",
            Self::Enomem => "ENOMEM",
            Self::Enospc => "ENOSPC",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the runtime misbehaves, before its work or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misstep {
    /// Takes longer.
    Delay {
        /// By how much, in milliseconds.
        ms: u32,
    },
    /// Exits; before its work, in place of it.
    Fail {
        /// Its exit status.
        status: u8,
    },
    /// Neither works nor exits until the fault heals, and then goes on.
    Hang,
    /// Dies of SIGKILL.
    Die,
}

/// How a fault ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heal {
    /// With its guard.
    Guard,
    /// When the party that died is started again. The guard has nothing to undo.
    Restart,
}

/// A duty of the shim that a fault may suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obligation {
    /// Every call is answered within its deadline.
    AnswersInTime,
    /// A legal call succeeds. (A refusal must still be true and must still change nothing.)
    CallsSucceed,
    /// The shim keeps the connection open.
    ConnectionLasts,
    /// Every event reaches containerd in time. (Order, and no invention, stay due.)
    EventsArrive,
    /// An event reaches containerd only once.
    EventsArriveOnce,
    /// The processes of the container live until they end by themselves or are told to.
    ProcessesSurvive,
    /// The shim lives until it is told to go.
    ShimSurvives,
    /// What a process wrote reaches the reader.
    StdioArrives,
    /// Nothing is left behind: no mount, cgroup, socket, file or process. (After `delete` it stays due.)
    LeavesNothing,
}

impl Obligation {
    /// What the shim owes by it, in a few words.
    pub fn says(self) -> &'static str {
        match self {
            Self::AnswersInTime => "every call is answered within its deadline",
            Self::CallsSucceed => "a legal call succeeds",
            Self::ConnectionLasts => "the shim keeps the connection open",
            Self::EventsArrive => "every event reaches containerd in time",
            Self::EventsArriveOnce => "an event reaches containerd only once",
            Self::ProcessesSurvive => "the container's processes live until they end by themselves or are told to",
            Self::ShimSurvives => "the shim lives until it is told to go",
            Self::StdioArrives => "what a process wrote reaches the reader",
            Self::LeavesNothing => "nothing is left behind",
        }
    }
}

impl fmt::Display for Obligation {
    /// As it is serialized.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnswersInTime => "answers-in-time",
            Self::CallsSucceed => "calls-succeed",
            Self::ConnectionLasts => "connection-lasts",
            Self::EventsArrive => "events-arrive",
            Self::EventsArriveOnce => "events-arrive-once",
            Self::ProcessesSurvive => "processes-survive",
            Self::ShimSurvives => "shim-survives",
            Self::StdioArrives => "stdio-arrives",
            Self::LeavesNothing => "leaves-nothing",
        })
    }
}
