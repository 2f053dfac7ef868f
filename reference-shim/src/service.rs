//! ttrpc on the shim's socket: frames in, [`Call`]s out; replies in, frames out. Nothing is decided here.
//!
//! The frames' codec is the `ttrpc` crate's. The server is not, because that one answers a call to a service it does
//! not have with INVALID_ARGUMENT, where containerd looks for UNIMPLEMENTED to fall back to an older API.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use containerd_shim_protos::{api, protobuf::Message, sandbox_api};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use ttrpc::{
    Request, Response,
    error::get_status,
    proto::{GenMessage, GenMessageError, MESSAGE_TYPE_DATA, MESSAGE_TYPE_REQUEST, MessageHeader},
};

use crate::{error::Error, supervisor::Event};

/// The names under which the Task service is offered; its messages are the same in both.
const TASK: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// The name of the Sandbox service.
const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// A call of any service.
#[derive(Debug)]
pub(crate) enum Call {
    Task(TaskCall),
    Sandbox(SandboxCall),
}

impl Call {
    /// Whether a shim that is leaving anyway does what is asked.
    fn is_goodbye(&self) -> bool {
        matches!(self, Self::Task(TaskCall::Shutdown(_)) | Self::Sandbox(SandboxCall::ShutdownSandbox(_)))
    }
}

macro_rules! calls {
    ($(#[$doc:meta])* $service:ident { $($method:ident($request:ty)),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) enum $service {
            $($method($request)),*
        }

        impl $service {
            /// The call of this method with these arguments; nothing when there is no such method.
            fn parse(method: &str, payload: &[u8]) -> containerd_shim_protos::protobuf::Result<Option<Self>> {
                Ok(match method {
                    $(stringify!($method) => Some(Self::$method(<$request>::parse_from_bytes(payload)?)),)*
                    _ => None,
                })
            }
        }
    };
}

calls! {
    /// A call of the Task API.
    TaskCall {
        State(api::StateRequest),
        Create(api::CreateTaskRequest),
        Start(api::StartRequest),
        Delete(api::DeleteRequest),
        Pids(api::PidsRequest),
        Pause(api::PauseRequest),
        Resume(api::ResumeRequest),
        Checkpoint(api::CheckpointTaskRequest),
        Kill(api::KillRequest),
        Exec(api::ExecProcessRequest),
        ResizePty(api::ResizePtyRequest),
        CloseIO(api::CloseIORequest),
        Update(api::UpdateTaskRequest),
        Wait(api::WaitRequest),
        Stats(api::StatsRequest),
        Connect(api::ConnectRequest),
        Shutdown(api::ShutdownRequest),
    }
}

calls! {
    /// A call of the Sandbox API.
    SandboxCall {
        CreateSandbox(sandbox_api::CreateSandboxRequest),
        StartSandbox(sandbox_api::StartSandboxRequest),
        Platform(sandbox_api::PlatformRequest),
        StopSandbox(sandbox_api::StopSandboxRequest),
        WaitSandbox(sandbox_api::WaitSandboxRequest),
        SandboxStatus(sandbox_api::SandboxStatusRequest),
        PingSandbox(sandbox_api::PingRequest),
        ShutdownSandbox(sandbox_api::ShutdownSandboxRequest),
        SandboxMetrics(sandbox_api::SandboxMetricsRequest),
    }
}

/// An encoded answer, or why there is none.
type Answer = Result<Vec<u8>, Error>;

/// Where a call is answered. Dropping it unanswered tells the caller that the shim is leaving.
#[derive(Debug)]
pub(crate) struct Reply(oneshot::Sender<Answer>);

impl Reply {
    pub(crate) fn ok(self, message: &impl Message) {
        let bytes = message.write_to_bytes().map_err(|cause| Error::Other(format!("encode the answer: {cause}")));
        self.send(bytes);
    }

    /// Answers with a message that has no fields.
    pub(crate) fn done(self) {
        self.send(Ok(Vec::new()));
    }

    pub(crate) fn fail(self, error: Error) {
        self.send(Err(error));
    }

    /// Comes back once the caller has gone or its deadline has passed.
    pub(crate) async fn abandoned(&mut self) {
        self.0.closed().await;
    }

    fn send(self, answer: Answer) {
        // The caller may have gone, which is its right.
        drop(self.0.send(answer));
    }
}

/// What all connections share. Clones are the same service.
#[derive(Clone)]
pub(crate) struct Service {
    calls: mpsc::UnboundedSender<Event>,
    /// Frames that have not been written yet.
    unwritten: Arc<AtomicUsize>,
    written: Arc<Notify>,
}

/// A pause for an `accept` that fails, which it does while there are too many open files: trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Service {
    pub(crate) fn new(calls: mpsc::UnboundedSender<Event>) -> Self {
        Self { calls, unwritten: Arc::default(), written: Arc::default() }
    }

    /// Serves every connection of our own user, for ever.
    pub(crate) async fn listen(self, listener: UnixListener) {
        let own = nix::unistd::geteuid().as_raw();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == own => {
                        drop(self.calls.send(Event::Connected));
                        tokio::spawn(self.clone().converse(stream));
                    }
                    Ok(peer) => log!("refused a connection of user {}", peer.uid()),
                    Err(error) => log!("refused a connection of an unknown user: {error}"),
                },
                Err(error) => {
                    log!("accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until every answer has been written, within a limit.
    pub(crate) async fn drain(&self, limit: Duration) {
        let drained = async {
            while self.unwritten.load(Ordering::Relaxed) > 0 {
                self.written.notified().await;
            }
        };
        // A client that does not read its answer shall not keep the shim.
        drop(timeout(limit, drained).await);
    }

    async fn converse(self, stream: UnixStream) {
        let (reader, writer) = stream.into_split();
        let (frames, queue) = mpsc::unbounded_channel();
        // Dropping the sender cancels the handlers of this connection.
        let (_open, closed) = watch::channel(());
        tokio::spawn(self.clone().write(writer, queue));
        let connection = Connection { service: self, frames, in_flight: Arc::default(), closed };
        connection.read(reader).await;
    }

    async fn write(self, writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
        let mut writer = Some(writer);
        while let Some(frame) = queue.recv().await {
            if let Some(open) = &mut writer
                && let Err(error) = write_whole(open, &frame).await
            {
                // Dropped, it ends the connection: who waits for this answer must not wait for ever. The rest is only counted off.
                log!("an answer cannot be written: {error}");
                writer = None;
            }
            self.unwritten.fetch_sub(1, Ordering::Relaxed);
            self.written.notify_one();
        }
    }
}

/// All of `frame`, whatever signal comes in between.
async fn write_whole(writer: &mut OwnedWriteHalf, mut frame: &[u8]) -> io::Result<()> {
    while !frame.is_empty() {
        match writer.write(frame).await {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => frame = &frame[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One client.
#[derive(Clone)]
struct Connection {
    service: Service,
    frames: mpsc::UnboundedSender<Vec<u8>>,
    /// Streams with a call that has not been answered.
    in_flight: Arc<Mutex<HashSet<u32>>>,
    closed: watch::Receiver<()>,
}

impl Connection {
    async fn read(self, reader: OwnedReadHalf) {
        let mut reader = BufReader::with_capacity(1024, reader);
        let mut last = 0;
        loop {
            let frame = match GenMessage::read_from(&mut reader).await {
                Ok(frame) => frame,
                Err(GenMessageError::ReturnError(header, error)) => {
                    self.answer(header.stream_id, Err(Error::ResourceExhausted(error.to_string())));
                    continue;
                }
                Err(GenMessageError::InternalError(_)) => return,
            };
            let id = frame.header.stream_id;
            match frame.header.type_ {
                MESSAGE_TYPE_REQUEST if id % 2 == 0 => {
                    self.answer(id, Err(Error::InvalidArgument("stream id must be odd".to_owned())));
                }
                MESSAGE_TYPE_REQUEST if id <= last => {
                    self.answer(id, Err(Error::InvalidArgument("stream id must increase".to_owned())));
                }
                MESSAGE_TYPE_REQUEST => {
                    last = id;
                    self.lock().insert(id);
                    tokio::spawn(self.clone().handle(id, frame.payload));
                }
                // Data has no place in a call with one request; one in flight is not disturbed by it.
                MESSAGE_TYPE_DATA if !self.lock().contains(&id) => {
                    self.answer(id, Err(Error::InvalidArgument("stream is not active".to_owned())));
                }
                _ => {}
            }
        }
    }

    async fn handle(mut self, id: u32, payload: Vec<u8>) {
        let (call, limit) = match parse(&payload) {
            Ok(parsed) => parsed,
            Err(error) => return self.answer(id, Err(error)),
        };
        let left = if call.is_goodbye() { Ok(Vec::new()) } else { Err(leaving()) };
        let (sender, answer) = oneshot::channel();
        if self.service.calls.send(Event::Call(call, Reply(sender))).is_err() {
            return self.answer(id, left);
        }
        let answer = async { answer.await.unwrap_or(left) };
        // When the caller is gone or out of time, the answer's receiver is dropped, which the call may notice.
        tokio::select! {
            answer = within(limit, answer) => self.answer(id, answer),
            _ = self.closed.changed() => {}
        }
    }

    fn answer(&self, id: u32, answer: Answer) {
        self.lock().remove(&id);
        let mut response = Response::new();
        match answer {
            Ok(payload) => response.payload = payload,
            Err(error) => response.set_status(get_status(error.code(), error)),
        }
        let Ok(body) = response.write_to_bytes() else { return };
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut frame = Vec::from(MessageHeader::new_response(id, length));
        frame.extend_from_slice(&body);
        self.service.unwritten.fetch_add(1, Ordering::Relaxed);
        if self.frames.send(frame).is_err() {
            self.service.unwritten.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<u32>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leaving() -> Error {
    Error::Unavailable("shim is leaving".to_owned())
}

async fn within(limit: Option<Duration>, answer: impl Future<Output = Answer>) -> Answer {
    match limit {
        None => answer.await,
        Some(limit) => timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(Error::DeadlineExceeded(format!("no answer within {limit:?}")))),
    }
}

/// The call in a request, and how long its caller waits.
fn parse(payload: &[u8]) -> Result<(Call, Option<Duration>), Error> {
    let request = Request::parse_from_bytes(payload)
        .map_err(|cause| Error::InvalidArgument(format!("cannot decode the request: {cause}")))?;
    let call = match request.service.as_str() {
        service if TASK.contains(&service) => {
            TaskCall::parse(&request.method, &request.payload).map(|call| call.map(Call::Task))
        }
        SANDBOX => SandboxCall::parse(&request.method, &request.payload).map(|call| call.map(Call::Sandbox)),
        other => return Err(Error::Unimplemented(format!("service {other}"))),
    };
    let call = call
        .map_err(|cause| Error::Undecodable(format!("the arguments of {}: {cause}", request.method)))?
        .ok_or_else(|| Error::Unimplemented(format!("method {}/{}", request.service, request.method)))?;
    let limit = u64::try_from(request.timeout_nano).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
    Ok((call, limit))
}

/// The listener that `start` handed over.
pub(crate) fn adopt(listener: std::os::unix::net::UnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}
