//! A ttrpc client of our own: it says when a request is on the wire and when the peer hangs up, and has no opinion on services.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::Future,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use protobuf::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, oneshot},
    task::{AbortHandle, spawn_local},
};
use ttrpc::proto::{KeyValue, Request, Response};

use crate::wire::{Bootstrap, CallOutcome};

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// The largest payload of a frame (ttrpc: `PROTOCOL.md`, 4 MiB).
const LARGEST: usize = 4 << 20;

/// One connection. Dropping the last clone closes it.
#[derive(Clone)]
pub(super) struct Client(Rc<Connection>);

struct Connection {
    /// The version of the Task service.
    version: Cell<u32>,
    namespace: String,
    writer: Mutex<OwnedWriteHalf>,
    next: RefCell<u32>,
    pending: Pending,
    reader: AbortHandle,
}

/// Who waits on which stream; `None` once the peer has hung up.
type Pending = Rc<RefCell<Option<HashMap<u32, oneshot::Sender<CallOutcome>>>>>;

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A call that was sent.
pub(super) struct Sent {
    answer: oneshot::Receiver<CallOutcome>,
}

impl Client {
    /// Connects; `closed` is awaited when the peer ends the connection by itself.
    pub(super) async fn dial(
        bootstrap: &Bootstrap,
        namespace: &str,
        closed: impl Future<Output = ()> + 'static,
    ) -> Result<Self> {
        let path = bootstrap.address.strip_prefix("unix://").context("the address does not begin with unix://")?;
        let stream = UnixStream::connect(path).await.with_context(|| format!("dial {path}"))?;
        let (reader, writer) = stream.into_split();
        let pending: Pending = Rc::new(RefCell::new(Some(HashMap::new())));
        let waiting = pending.clone();
        let reader = spawn_local(async move {
            // However the stream ended, nothing more will come.
            _ = read_answers(reader, &waiting).await;
            drop(waiting.borrow_mut().take());
            closed.await;
        })
        .abort_handle();
        Ok(Self(Rc::new(Connection {
            version: Cell::new(bootstrap.version),
            namespace: namespace.to_owned(),
            writer: Mutex::new(writer),
            next: RefCell::new(1),
            pending,
            reader,
        })))
    }

    /// Speaks Task v2 from now on; whether it spoke a newer one before.
    pub(super) fn fall_back(&self) -> bool {
        self.0.version.replace(2) > 2
    }

    /// Writes a request to the Task service; `deadline` is what the shim is told.
    pub(super) async fn send(&self, method: &str, payload: Vec<u8>, deadline: Option<Duration>) -> Sent {
        let service = format!("containerd.task.v{}.Task", self.0.version.get());
        self.send_to(service, method, payload, deadline).await
    }

    /// Writes a request to any service.
    pub(super) async fn send_to(
        &self,
        service: String,
        method: &str,
        payload: Vec<u8>,
        deadline: Option<Duration>,
    ) -> Sent {
        let connection = &self.0;
        let mut request = Request::new();
        request.service = service;
        method.clone_into(&mut request.method);
        request.payload = payload;
        request.timeout_nano = deadline.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
        let mut namespace = KeyValue::new();
        "containerd-namespace-ttrpc".clone_into(&mut namespace.key);
        namespace.value.clone_from(&connection.namespace);
        request.metadata.push(namespace);

        let (answer, receiver) = oneshot::channel();
        // The stream id is taken under the writer's lock: ids must rise on the wire.
        let mut writer = connection.writer.lock().await;
        let stream = {
            let mut next = connection.next.borrow_mut();
            let stream = *next;
            *next += 2;
            stream
        };
        if let Some(pending) = connection.pending.borrow_mut().as_mut() {
            pending.insert(stream, answer);
        }
        // A request that cannot be encoded or written is never answered: its sender is dropped, which reads as disconnected.
        let written = match frame(stream, &request) {
            Ok(bytes) => writer.write_all(&bytes).await.is_ok(),
            Err(_) => false,
        };
        if !written && let Some(pending) = connection.pending.borrow_mut().as_mut() {
            pending.remove(&stream);
        }
        Sent { answer: receiver }
    }
}

impl Sent {
    /// Waits for the answer.
    pub(super) async fn outcome(self, deadline: Duration) -> CallOutcome {
        match tokio::time::timeout(deadline, self.answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => CallOutcome::Disconnected,
            Err(_) => CallOutcome::Deadline,
        }
    }
}

fn frame(stream: u32, request: &Request) -> Result<Vec<u8>> {
    let payload = request.write_to_bytes().context("encode a request")?;
    let mut bytes = Vec::with_capacity(10 + payload.len());
    bytes.extend_from_slice(&u32::try_from(payload.len()).context("a request over 4 GiB")?.to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[REQUEST, 0]);
    bytes.extend_from_slice(&payload);
    Ok(bytes)
}

async fn read_answers(mut reader: OwnedReadHalf, pending: &Pending) -> Result<()> {
    loop {
        let length = usize::try_from(reader.read_u32().await?)?;
        let stream = reader.read_u32().await?;
        let kind = reader.read_u8().await?;
        reader.read_u8().await?;
        ensure!(length <= LARGEST, "a frame of {length} bytes");
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).await?;
        if kind != RESPONSE {
            continue;
        }
        let response = Response::parse_from_bytes(&payload).context("decode a response")?;
        let waiter = pending.borrow_mut().as_mut().and_then(|pending| pending.remove(&stream));
        // Nobody waits any more once the deadline has passed.
        _ = waiter.map(|waiter| waiter.send(response.into()));
    }
}
