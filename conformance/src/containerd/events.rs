//! The events service `containerd.services.events.ttrpc.v1.Events`, with a switch for each way a dying containerd breaks it.

use std::{cell::RefCell, future::Future, path::PathBuf, pin::Pin, rc::Rc};

use anyhow::{Context as _, Result, anyhow, ensure};
use containerd_shim_protos::{
    api::ForwardRequest,
    events::task::{
        TaskCheckpointed, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskPaused,
        TaskResumed, TaskStart,
    },
    shim::event::Envelope,
};
use fault_injector::{
    frame::{Frame, Kind},
    seam::wire::{Heard, Wire},
};
use protobuf::{Message, MessageField, well_known_types::timestamp::Timestamp};
use tokio::{
    net::{UnixListener, UnixStream},
    task::{AbortHandle, spawn_local},
};
use ttrpc::proto::{Code, Request, Response, Status};

use crate::{
    history::{Event, Exit, Target, Topic, WallTime},
    wire::EventsMode,
};

type Sink = Rc<dyn Fn(Result<Event, String>) -> Pin<Box<dyn Future<Output = Result<()>>>>>;

/// The service and everybody connected to it.
pub(super) struct Events {
    path: RefCell<PathBuf>,
    mode: RefCell<EventsMode>,
    /// The listener and every connection; aborting them closes all sockets.
    tasks: Rc<RefCell<Vec<AbortHandle>>>,
}

impl Events {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: RefCell::new(path), mode: RefCell::new(EventsMode::Serve), tasks: Rc::default() }
    }

    /// Takes effect with the next [`Self::listen`].
    pub(super) fn set_mode(&self, mode: EventsMode) {
        *self.mode.borrow_mut() = mode;
    }

    /// Takes effect with the next [`Self::listen`].
    pub(super) fn set_path(&self, path: PathBuf) {
        *self.path.borrow_mut() = path;
    }

    /// Ends every connection and, unless nobody is to listen, starts anew.
    pub(super) fn listen(
        &self,
        sink: impl Fn(Result<Event, String>) -> Pin<Box<dyn Future<Output = Result<()>>>> + 'static,
    ) -> Result<()> {
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
        let path = self.path.borrow().clone();
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("remove {}", path.display()));
            }
            Ok(()) | Err(_) => {}
        }
        let mode = *self.mode.borrow();
        if mode == EventsMode::Refuse {
            return Ok(());
        }
        let listener = UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))?;
        let sink: Sink = Rc::new(sink);
        let tasks = self.tasks.clone();
        let accepting = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sink = sink.clone();
                let connection = spawn_local(async move {
                    // A connection that breaks is the shim's to make again.
                    _ = serve(stream, mode, &sink).await;
                });
                tasks.borrow_mut().push(connection.abort_handle());
            }
        });
        self.tasks.borrow_mut().push(accepting.abort_handle());
        Ok(())
    }
}

/// Answers one request after the other, until the shim hangs up.
async fn serve(stream: UnixStream, mode: EventsMode, sink: &Sink) -> Result<()> {
    let mut wire = Wire::from(stream);
    while let Heard::Frame(request) = wire.listen().await? {
        if request.header.kind == Kind::Request && mode == EventsMode::Serve {
            let response = answer(&request.payload, sink).await?.write_to_bytes()?;
            wire.send(&Frame::response(request.header.stream, response)).await?;
        }
    }
    Ok(())
}

/// Tells the sink first, then acknowledges.
async fn answer(payload: &[u8], sink: &Sink) -> Result<Response> {
    let request = Request::parse_from_bytes(payload).context("decode a request")?;
    let mut response = Response::new();
    if (request.service.as_str(), request.method.as_str()) == ("containerd.services.events.ttrpc.v1.Events", "Forward")
    {
        let event = read(&request.payload).map_err(|e| format!("{e:#}"));
        let refusal = event.as_ref().err().cloned();
        sink(event).await?;
        response.status = MessageField::from_option(refusal.map(|message| status(Code::INVALID_ARGUMENT, message)));
    } else {
        let message = format!("no such method {}/{}", request.service, request.method);
        response.status = MessageField::some(status(Code::UNIMPLEMENTED, message));
    }
    Ok(response)
}

fn status(code: Code, message: String) -> Status {
    let mut status = Status::new();
    status.set_code(code);
    status.message = message;
    status
}

/// Reads a Forward request, refusing what containerd refuses (containerd: `core/events/exchange/exchange.go`, `validateEnvelope`).
fn read(payload: &[u8]) -> Result<Event> {
    let mut request = ForwardRequest::parse_from_bytes(payload).context("decode Forward")?;
    let envelope: Envelope = request.envelope.take().context("the request has no envelope")?;
    ensure!(envelope.topic.starts_with('/'), "topic {:?} does not begin with a slash", envelope.topic);
    ensure!(!envelope.namespace.is_empty(), "the namespace of {} is empty", envelope.topic);
    let published = wall_time(&envelope.timestamp);
    ensure!(published != WallTime::default(), "the timestamp of {} is zero", envelope.topic);
    let topic = Topic::named(&envelope.topic).ok_or_else(|| anyhow!("unknown topic {}", envelope.topic))?;
    let any = envelope.event.as_ref().context("the envelope has no event")?;
    let (target, pid, exit) = content(topic, &any.type_url, &any.value)?;
    Ok(Event { topic, target, pid, exit, namespace: envelope.namespace, published })
}

/// Container, exec, pid and exit of an event.
fn content(topic: Topic, type_url: &str, value: &[u8]) -> Result<(Target, u32, Option<Exit>)> {
    fn parse<M: Message + DescriptorName>(type_url: &str, value: &[u8]) -> Result<M> {
        ensure!(type_url == M::descriptor_name(), "type {type_url:?} where {} belongs", M::descriptor_name());
        M::parse_from_bytes(value).with_context(|| format!("decode {type_url}"))
    }
    Ok(match topic {
        Topic::Create => {
            let event: TaskCreate = parse(type_url, value)?;
            (Target::init(&event.container_id), event.pid, None)
        }
        Topic::Start => {
            let event: TaskStart = parse(type_url, value)?;
            (Target::init(&event.container_id), event.pid, None)
        }
        Topic::Exit => {
            let event: TaskExit = parse(type_url, value)?;
            let exit = Exit { status: event.exit_status, at: wall_time(&event.exited_at) };
            (of(&event.container_id, &event.id), event.pid, Some(exit))
        }
        Topic::Delete => {
            let event: TaskDelete = parse(type_url, value)?;
            let exit = Exit { status: event.exit_status, at: wall_time(&event.exited_at) };
            (of(&event.container_id, &event.id), event.pid, Some(exit))
        }
        Topic::ExecAdded => {
            let event: TaskExecAdded = parse(type_url, value)?;
            (Target::exec(&event.container_id, &event.exec_id), 0, None)
        }
        Topic::ExecStarted => {
            let event: TaskExecStarted = parse(type_url, value)?;
            (Target::exec(&event.container_id, &event.exec_id), event.pid, None)
        }
        Topic::Oom => (Target::init(&parse::<TaskOOM>(type_url, value)?.container_id), 0, None),
        Topic::Paused => (Target::init(&parse::<TaskPaused>(type_url, value)?.container_id), 0, None),
        Topic::Resumed => (Target::init(&parse::<TaskResumed>(type_url, value)?.container_id), 0, None),
        Topic::Checkpointed => (Target::init(&parse::<TaskCheckpointed>(type_url, value)?.container_id), 0, None),
    })
}

/// `id` names an exec unless it is empty or the container's own (contract EVT-07, EVT-16).
fn of(container: &str, id: &str) -> Target {
    if id.is_empty() || id == container { Target::init(container) } else { Target::exec(container, id) }
}

fn wall_time(at: &MessageField<Timestamp>) -> WallTime {
    at.as_ref().map_or_else(WallTime::default, |t| WallTime { seconds: t.seconds, nanos: t.nanos })
}

/// The name that an Any gives to a message.
trait DescriptorName {
    fn descriptor_name() -> &'static str;
}

macro_rules! named {
    ($($message:ident),+) => {
        $(impl DescriptorName for $message {
            fn descriptor_name() -> &'static str {
                concat!("containerd.events.", stringify!($message))
            }
        })+
    };
}

named!(
    TaskCreate,
    TaskStart,
    TaskExit,
    TaskDelete,
    TaskExecAdded,
    TaskExecStarted,
    TaskOOM,
    TaskPaused,
    TaskResumed,
    TaskCheckpointed
);
