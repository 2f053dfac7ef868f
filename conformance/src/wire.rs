//! What the lab and the fake containerd say to each other: JSON lines over a socket pair.
//!
//! The socket outlives the fake containerd, so what it had written before a SIGKILL still arrives: an event that was acknowledged to a
//! shim is never lost to the history.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use ttrpc::proto::Response;

use crate::{
    history::{Event, Moment, Ran},
    profile::{Listed, Profile},
};

/// What a fake containerd is told when it is executed; the same for all its lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The shim binary.
    pub shim: PathBuf,
    /// Where a supervisor of system calls listens when there is one: `start` and `delete` are then executed under it.
    pub supervisor: PathBuf,
    /// The containerd to play.
    pub profile: Profile,
    /// containerd's state directory; bundles lie below it.
    pub state: PathBuf,
    /// containerd's root directory; work directories lie below it.
    pub root: PathBuf,
    /// The gRPC address given to shims; nobody listens there.
    pub address: PathBuf,
    /// Where shims are told to send events.
    pub ttrpc: PathBuf,
    /// Where the events service listens: there, unless something stands in front of it.
    pub events: PathBuf,
    /// The directory in which shims are told to make their sockets, where they are told of one.
    pub sockets: PathBuf,
    /// containerd's namespace.
    pub namespace: String,
    /// Whether to pass `-debug`.
    pub debug: bool,
    /// Extra environment for the shim binary.
    pub env: Vec<(String, String)>,
    /// Factor on all deadlines.
    pub timeout_scale: f64,
}

/// An order to the fake containerd.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Lay out a bundle: config.json, rootfs, work, log FIFO with a reader.
    Bundle {
        /// Container id.
        id: String,
        /// The text of config.json; `None` leaves it out.
        config: Option<String>,
    },
    /// Execute `start`, write what containerd writes, dial the answer.
    Start {
        /// Container id.
        id: String,
        /// Bytes of the runtime options Any, empty for none.
        options: Vec<u8>,
        /// What is done otherwise than this containerd would.
        twist: Twist,
    },
    /// Execute the shim binary away from any bundle, e.g. for `-v`.
    Print {
        /// All its arguments.
        args: Vec<String>,
        /// What to write to its standard input.
        input: Vec<u8>,
    },
    /// Send one call over the container's connection.
    Call {
        /// Container id whose connection to use.
        id: String,
        /// The service; `None` for the Task service of the version that the shim named.
        service: Option<String>,
        /// Method name.
        method: String,
        /// The request message.
        payload: Vec<u8>,
        /// Deadline, milliseconds.
        deadline_ms: u64,
        /// Tell the shim about the deadline as well.
        tell_deadline: bool,
    },
    /// Dial the shim of the container once more, and keep that connection under another name.
    Join {
        /// Container id.
        id: String,
        /// The connection's name, which calls can name in place of an id.
        name: String,
    },
    /// Make a container a member of a sandbox: write what containerd writes, and dial the sandbox's shim.
    Member {
        /// Container id.
        id: String,
        /// Id of the sandbox.
        sandbox: String,
    },
    /// Drop the connection of the container, and dial again.
    Redial {
        /// Container id.
        id: String,
        /// The socket to dial instead of the shim's own.
        via: Option<PathBuf>,
    },
    /// Execute `delete`.
    Delete {
        /// Container id.
        id: String,
        /// With `-debug` in any case.
        debug: bool,
    },
    /// Drop the connection and remove the bundle and the work directory.
    Forget {
        /// Container id.
        id: String,
    },
    /// How the events service behaves from now on.
    Events(EventsMode),
    /// Where the events service listens from now on.
    EventsAt(PathBuf),
    /// Whether the log FIFO of every bundle is drained.
    DrainLogs(bool),
}

/// What is written to a helper's standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Input {
    /// These bytes; nothing at all when there are none, not even a pipe.
    Bytes(Vec<u8>),
    /// So many zeros.
    Zeros(usize),
}

/// What about a `start` is otherwise than the containerd that is played would do it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Twist {
    /// What is written to its standard input.
    pub input: Option<Input>,
    /// `-debug` is passed in any case.
    pub debug: bool,
    /// Variables that its environment has as well.
    pub with: Vec<(String, String)>,
    /// Variables that its environment has not.
    pub without: Vec<String>,
    /// Its answer cannot be used, whatever it is: nobody connects.
    pub unusable: bool,
}

impl Twist {
    /// Only the standard input is another.
    pub fn fed(input: Input) -> Self {
        Self { input: Some(input), ..Self::default() }
    }

    /// Only the answer is of no use.
    pub fn unusable() -> Self {
        Self { unusable: true, ..Self::default() }
    }
}

/// How the events service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventsMode {
    /// Answers at once.
    Serve,
    /// Nobody listens.
    Refuse,
    /// Accepts and never answers.
    Stall,
}

/// An order with its number.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Numbered {
    /// Pairs the order with its outcome.
    pub number: u64,
    /// The order.
    pub order: Order,
}

/// What the fake containerd says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Report {
    /// It serves; these containers were found on disk.
    Up {
        /// One for each bundle.
        reloaded: Vec<Reloaded>,
    },
    /// The order is under way: the helper runs, or the request is about to be written.
    Underway {
        /// Which order.
        number: u64,
        /// The pid of a helper.
        pid: Option<u32>,
    },
    /// The order ended.
    Ended {
        /// Which order.
        number: u64,
        /// When.
        at: Moment,
        /// How.
        outcome: Outcome,
    },
    /// An event arrived; said before it is acknowledged to the shim.
    Event {
        /// When.
        at: Moment,
        /// The event, or why it cannot be read.
        event: Result<Event, String>,
    },
    /// The shim ended a connection by itself.
    Closed {
        /// The container's connection.
        id: String,
    },
    /// The shim logged.
    Log {
        /// The container's FIFO.
        id: String,
        /// Text.
        text: String,
    },
}

/// What reloading one bundle came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reloaded {
    /// Container id.
    pub id: String,
    /// The answer to Connect, or why there is none.
    pub connect: Result<CallOutcome, String>,
    /// The answer to Pids, where this containerd asks for it.
    pub listed: Option<Listed>,
}

/// How an order ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// `start`: the run, and what its answer was taken for.
    Started {
        /// The run.
        ran: Ran,
        /// The address and Task version, or why containerd cannot use the answer.
        answer: Result<Bootstrap, Unusable>,
    },
    /// A call.
    Called(CallOutcome),
    /// A run that is only looked at, and its raw standard output.
    Printed {
        /// The run.
        ran: Ran,
        /// Standard output.
        stdout: Vec<u8>,
    },
    /// `delete`: the run and its raw standard output.
    Deleted {
        /// The run.
        ran: Ran,
        /// Standard output.
        stdout: Vec<u8>,
    },
    /// The order could not be carried out; the suite's fault.
    Failed(String),
}

/// How a call ended on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum CallOutcome {
    /// The response message.
    Response(Vec<u8>),
    /// A status other than OK.
    Status(i32, String),
    /// The deadline passed.
    Deadline,
    /// The connection ended.
    Disconnected,
}

impl From<Response> for CallOutcome {
    fn from(response: Response) -> Self {
        match response.status.as_ref() {
            Some(status) if status.code.value() != 0 => Self::Status(status.code.value(), status.message.clone()),
            Some(_) | None => Self::Response(response.payload),
        }
    }
}

/// The forms in which a shim may answer `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// The address alone.
    Bare,
    /// A JSON object.
    Json,
    /// A `BootstrapResult` message.
    Protobuf,
}

/// What a shim answered to `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// How it was written.
    pub form: Form,
    /// Version of the Task service.
    pub version: u32,
    /// Where to connect.
    pub address: String,
    /// `ttrpc` or `grpc`.
    pub protocol: String,
}

/// Why containerd, or this suite in its place, cannot use what `start` answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unusable {
    /// containerd could, but speaks gRPC then, which this suite does not.
    Grpc(String),
    /// containerd cannot.
    No(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grpc(address) => write!(f, "the shim speaks gRPC at {address}, which this suite does not"),
            Self::No(reason) => f.write_str(reason),
        }
    }
}
