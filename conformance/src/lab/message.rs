//! Task messages: requests as bytes, answers as the fields that somebody judges.

use anyhow::{Context as _, Result};
use containerd_shim_protos::{
    api::{
        CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
        DeleteRequest, DeleteResponse, ExecProcessRequest, KillRequest, Mount, PauseRequest, PidsRequest, PidsResponse,
        ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse,
        StatsRequest, StatsResponse, Status as WireStatus, UpdateTaskRequest, WaitRequest, WaitResponse,
    },
    shim::oci::{Options, ProcessDetails},
};
use protobuf::{
    EnumOrUnknown, Message, MessageField,
    well_known_types::{any::Any, timestamp::Timestamp},
};

use super::sandbox;
use crate::{
    history::{Answer, Call, Code, Described, Exit, ListedProcess, Loss, Method, Reply, Status, Target, WallTime},
    wire::CallOutcome,
};

/// A call with everything that goes over the wire.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the history tells of it.
    pub call: Call,
    /// The message.
    pub payload: Vec<u8>,
}

/// Paths of a process's standard streams; empty for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Stdio {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub terminal: bool,
}

/// The request of `method` for `target`, where the target is all there is to say.
pub fn plain(method: Method, target: &Target) -> Request {
    macro_rules! with_exec {
        ($message:ident) => {{
            let mut message = $message::new();
            message.id.clone_from(&target.container);
            message.exec_id.clone_from(&target.exec);
            bytes(&message)
        }};
    }
    macro_rules! without_exec {
        ($message:ident) => {{
            let mut message = $message::new();
            message.id.clone_from(&target.container);
            bytes(&message)
        }};
    }
    let payload = match method {
        Method::State => with_exec!(StateRequest),
        Method::Create => without_exec!(CreateTaskRequest),
        Method::Start => with_exec!(StartRequest),
        Method::Delete => with_exec!(DeleteRequest),
        Method::Pids => without_exec!(PidsRequest),
        Method::Pause => without_exec!(PauseRequest),
        Method::Resume => without_exec!(ResumeRequest),
        Method::Checkpoint => without_exec!(CheckpointTaskRequest),
        Method::Kill => with_exec!(KillRequest),
        Method::Exec => with_exec!(ExecProcessRequest),
        Method::ResizePty => with_exec!(ResizePtyRequest),
        Method::CloseIo => with_exec!(CloseIORequest),
        Method::Update => without_exec!(UpdateTaskRequest),
        Method::Wait => with_exec!(WaitRequest),
        Method::Stats => without_exec!(StatsRequest),
        Method::Connect => without_exec!(ConnectRequest),
        Method::Shutdown => without_exec!(ShutdownRequest),
        Method::CreateSandbox
        | Method::StartSandbox
        | Method::Platform
        | Method::StopSandbox
        | Method::WaitSandbox
        | Method::SandboxStatus
        | Method::PingSandbox
        | Method::ShutdownSandbox
        | Method::SandboxMetrics => sandbox::plain(method, &target.container),
    };
    request(method, target, String::new(), payload)
}

/// A mount of a container's root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootMount {
    /// The file system's type.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where, below the root; empty for the root itself.
    pub target: String,
    /// Its options.
    pub options: Vec<String>,
}

impl RootMount {
    /// `source` itself as the root, writable.
    pub fn bind(source: &str) -> Self {
        let options = vec!["bind".to_owned(), "rw".to_owned()];
        Self { kind: "bind".to_owned(), source: source.to_owned(), target: String::new(), options }
    }
}

/// Create with `rootfs` as the root, or with the bundle's directory as it is.
pub fn create(target: &Target, bundle: &str, rootfs: Option<&str>, stdio: &Stdio, options: &[u8]) -> Result<Request> {
    let mounts: Vec<RootMount> = rootfs.map(RootMount::bind).into_iter().collect();
    create_mounted(target, bundle, &mounts, stdio, options)
}

/// Create with these mounts as the root, in their order.
pub fn create_mounted(
    target: &Target,
    bundle: &str,
    mounts: &[RootMount],
    stdio: &Stdio,
    options: &[u8],
) -> Result<Request> {
    let mut message = CreateTaskRequest::new();
    message.id.clone_from(&target.container);
    bundle.clone_into(&mut message.bundle);
    for RootMount { kind, source, target, options } in mounts {
        let mut mount = Mount::new();
        mount.type_.clone_from(kind);
        mount.source.clone_from(source);
        mount.target.clone_from(target);
        mount.options.clone_from(options);
        message.rootfs.push(mount);
    }
    message.stdin.clone_from(&stdio.stdin);
    message.stdout.clone_from(&stdio.stdout);
    message.stderr.clone_from(&stdio.stderr);
    message.terminal = stdio.terminal;
    if !options.is_empty() {
        message.options = MessageField::some(Any::parse_from_bytes(options).context("decode the options")?);
    }
    let args = if stdio.terminal { "terminal".to_owned() } else { String::new() };
    Ok(request(Method::Create, target, args, bytes(&message)))
}

/// Exec with an OCI process.
pub fn exec(target: &Target, process: Option<&serde_json::Value>, stdio: &Stdio) -> Request {
    let mut message = ExecProcessRequest::new();
    message.id.clone_from(&target.container);
    message.exec_id.clone_from(&target.exec);
    message.stdin.clone_from(&stdio.stdin);
    message.stdout.clone_from(&stdio.stdout);
    message.stderr.clone_from(&stdio.stderr);
    message.terminal = stdio.terminal;
    if let Some(process) = process {
        let any = any("types.containerd.io/opencontainers/runtime-spec/1/Process", process.to_string().into_bytes());
        message.spec = MessageField::some(any);
    }
    let args = process.map_or_else(|| "no spec".to_owned(), |process| process["args"].to_string());
    request(Method::Exec, target, args, bytes(&message))
}

/// Kill.
pub fn kill(target: &Target, signal: u32, all: bool) -> Request {
    let mut message = KillRequest::new();
    message.id.clone_from(&target.container);
    message.exec_id.clone_from(&target.exec);
    message.signal = signal;
    message.all = all;
    let args = format!("signal {signal}{}", if all { ", all" } else { "" });
    request(Method::Kill, target, args, bytes(&message))
}

/// ResizePty.
pub fn resize(target: &Target, width: u32, height: u32) -> Request {
    let mut message = ResizePtyRequest::new();
    message.id.clone_from(&target.container);
    message.exec_id.clone_from(&target.exec);
    message.width = width;
    message.height = height;
    request(Method::ResizePty, target, format!("{width}x{height}"), bytes(&message))
}

/// CloseIO of stdin.
pub fn close_stdin(target: &Target) -> Request {
    let mut message = CloseIORequest::new();
    message.id.clone_from(&target.container);
    message.exec_id.clone_from(&target.exec);
    message.stdin = true;
    request(Method::CloseIo, target, "stdin".to_owned(), bytes(&message))
}

/// Update with LinuxResources as JSON, or without any.
pub fn update(target: &Target, resources: Option<&serde_json::Value>) -> Request {
    let mut message = UpdateTaskRequest::new();
    message.id.clone_from(&target.container);
    if let Some(resources) = resources {
        let url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
        message.resources = MessageField::some(any(url, resources.to_string().into_bytes()));
    }
    let args = resources.map_or_else(|| "no resources".to_owned(), ToString::to_string);
    request(Method::Update, target, args, bytes(&message))
}

/// Checkpoint into `path`.
pub fn checkpoint(target: &Target, path: &str) -> Request {
    let mut message = CheckpointTaskRequest::new();
    message.id.clone_from(&target.container);
    path.clone_into(&mut message.path);
    request(Method::Checkpoint, target, path.to_owned(), bytes(&message))
}

/// `containerd.runc.v1.Options` with a runtime, as an encoded Any.
pub fn options(binary: &str, root: &str) -> Vec<u8> {
    let mut options = Options::new();
    binary.clone_into(&mut options.binary_name);
    root.clone_into(&mut options.root);
    bytes(&any("containerd.runc.v1.Options", bytes(&options)))
}

fn any(type_url: &str, value: Vec<u8>) -> Any {
    let mut any = Any::new();
    type_url.clone_into(&mut any.type_url);
    any.value = value;
    any
}

pub(super) fn request(method: Method, target: &Target, args: String, payload: Vec<u8>) -> Request {
    Request { call: Call { method, target: target.clone(), args }, payload }
}

pub(super) fn bytes(message: &impl Message) -> Vec<u8> {
    // Encoding fails only over 2 GiB or with an uninitialised required field, and proto3 has none.
    message.write_to_bytes().unwrap_or_default()
}

/// Reads the outcome of a call of `method`.
pub fn answer(method: Method, outcome: CallOutcome) -> Answer {
    match outcome {
        CallOutcome::Response(payload) => match reply(method, &payload) {
            Ok(reply) => Answer::Done(Box::new(reply)),
            Err(e) => Answer::Refused { code: Code::Undefined, message: format!("the answer does not parse: {e:#}") },
        },
        CallOutcome::Status(number, message) => {
            Answer::Refused { code: Code::from_number(number).unwrap_or(Code::Undefined), message }
        }
        CallOutcome::Deadline => Answer::Lost(Loss::Deadline),
        CallOutcome::Disconnected => Answer::Lost(Loss::Disconnected),
    }
}

/// The exit that a `delete` action printed.
pub fn deleted(stdout: &[u8]) -> Result<(u32, Exit)> {
    let message = DeleteResponse::parse_from_bytes(stdout).context("decode the answer of delete")?;
    Ok((message.pid, Exit { status: message.exit_status, at: wall_time(&message.exited_at) }))
}

fn reply(method: Method, payload: &[u8]) -> Result<Reply> {
    let mut reply = Reply::default();
    match method {
        Method::State => state(&mut reply, StateResponse::parse_from_bytes(payload)?),
        Method::Create => reply.pid = Some(CreateTaskResponse::parse_from_bytes(payload)?.pid),
        Method::Start => reply.pid = Some(StartResponse::parse_from_bytes(payload)?.pid),
        Method::Delete => {
            let message = DeleteResponse::parse_from_bytes(payload)?;
            reply.pid = Some(message.pid);
            reply.exit = Some(Exit { status: message.exit_status, at: wall_time(&message.exited_at) });
        }
        Method::Pids => {
            for process in PidsResponse::parse_from_bytes(payload)?.processes {
                let exec = process
                    .info
                    .as_ref()
                    .and_then(|info| ProcessDetails::parse_from_bytes(&info.value).ok().map(|details| details.exec_id));
                reply.processes.push(ListedProcess { pid: process.pid, exec });
            }
        }
        Method::Wait => {
            let message = WaitResponse::parse_from_bytes(payload)?;
            reply.exit = Some(Exit { status: message.exit_status, at: wall_time(&message.exited_at) });
        }
        Method::Stats => {
            let message = StatsResponse::parse_from_bytes(payload)?;
            reply.stats = message.stats.as_ref().map(|any| (any.type_url.clone(), any.value.len()));
        }
        Method::Connect => {
            let message = ConnectResponse::parse_from_bytes(payload)?;
            reply.shim_pid = Some(message.shim_pid);
            reply.task_pid = Some(message.task_pid);
        }
        Method::Pause
        | Method::Resume
        | Method::Checkpoint
        | Method::Kill
        | Method::Exec
        | Method::ResizePty
        | Method::CloseIo
        | Method::Update
        | Method::Shutdown => {}
        Method::CreateSandbox
        | Method::StartSandbox
        | Method::Platform
        | Method::StopSandbox
        | Method::WaitSandbox
        | Method::SandboxStatus
        | Method::PingSandbox
        | Method::ShutdownSandbox
        | Method::SandboxMetrics => sandbox::reply(&mut reply, method, payload)?,
    }
    Ok(reply)
}

fn state(reply: &mut Reply, message: StateResponse) {
    let status = status(message.status);
    reply.pid = Some(message.pid);
    reply.status = Some(status);
    if status == Status::Stopped {
        reply.exit = Some(Exit { status: message.exit_status, at: wall_time(&message.exited_at) });
    }
    reply.described = Some(Described {
        id: message.id,
        bundle: message.bundle,
        stdin: message.stdin,
        stdout: message.stdout,
        stderr: message.stderr,
        terminal: message.terminal,
    });
}

fn status(status: EnumOrUnknown<WireStatus>) -> Status {
    match status.enum_value_or(WireStatus::UNKNOWN) {
        WireStatus::UNKNOWN => Status::Unknown,
        WireStatus::CREATED => Status::Created,
        WireStatus::RUNNING => Status::Running,
        WireStatus::STOPPED => Status::Stopped,
        WireStatus::PAUSED => Status::Paused,
        WireStatus::PAUSING => Status::Pausing,
    }
}

pub(super) fn wall_time(at: &MessageField<Timestamp>) -> WallTime {
    at.as_ref().map_or_else(WallTime::default, |t| WallTime { seconds: t.seconds, nanos: t.nanos })
}
