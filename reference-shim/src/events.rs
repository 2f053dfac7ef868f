//! The outbox: everything that containerd is told, in the order in which it happened.
//!
//! An event is put in by the step that commits the state, and one sender takes them out one by one, so order cannot be
//! lost. containerd may be away for as long as it likes: the front of the queue is tried until it is acknowledged. No
//! call ever waits for an event.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use containerd_shim_protos::{
    events::task as events,
    protobuf::{
        Message, MessageDyn, MessageField,
        well_known_types::{any::Any, timestamp::Timestamp},
    },
    shim::{event::Envelope, events::ForwardRequest},
    shim_async::EventsClient,
    topics,
    types::mount::Mount,
};
use tokio::{
    net::UnixStream,
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use ttrpc::{Code, asynchronous::Client, asynchronous::transport::Socket, context};

use crate::{
    stdio::Paths,
    supervisor::ExitPolicy,
    task::{Notice, Who},
};

/// How many events are kept while containerd is away; beyond that the oldest go.
const CAPACITY: usize = 8192;

/// How long containerd may take to acknowledge an event.
const FORWARD_LIMIT: Duration = Duration::from_secs(5);

/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How often containerd may answer one event with an error before it is given up, lest it hold up all others.
const REFUSALS: u32 = 8;

/// How long a leaving shim goes on sending to a containerd that answers.
const FLUSH_LIMIT: Duration = Duration::from_millis(2500);

/// How long it goes on trying to reach one that does not.
const ABSENCE_LIMIT: Duration = Duration::from_secs(10);

/// How long a shim that leaves by itself waits for its last events.
const INIT_EXIT_LIMIT: Duration = Duration::from_millis(700);

/// What an event says about its container beside what happened.
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a str,
    pub(crate) rootfs: &'a [Mount],
    pub(crate) paths: &'a Paths,
}

/// The queue. Clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    namespace: Arc<str>,
    state: Arc<Mutex<State>>,
    filled: Arc<Notify>,
    acknowledged: Arc<Notify>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Envelope>,
    /// Whether the last try reached containerd.
    reachable: bool,
    lost: u64,
}

impl Outbox {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            state: Arc::default(),
            filled: Arc::default(),
            acknowledged: Arc::default(),
        }
    }

    /// Puts an event at the end of the queue.
    pub(crate) fn publish(&self, subject: &Subject<'_>, notice: &Notice) {
        let (topic, event) = encode(subject, notice);
        let mut envelope = Envelope::new();
        envelope.set_timestamp(SystemTime::now().into());
        envelope.set_namespace(self.namespace.to_string());
        envelope.set_topic(topic.to_owned());
        envelope.set_event(event);
        let mut state = self.lock();
        if state.queue.len() == CAPACITY {
            state.queue.pop_front();
            state.lost += 1;
            log!("events: queue is full, {} lost", state.lost);
        }
        state.queue.push_back(envelope);
        self.filled.notify_one();
    }

    /// Sends what is put in, for ever. `address` is the path of containerd's ttrpc socket.
    pub(crate) async fn deliver(self, address: String) {
        let mut client: Option<EventsClient> = None;
        let (mut pause, mut refusals) = (PAUSES.0, 0);
        loop {
            let front = self.lock().queue.front().cloned();
            let Some(envelope) = front else {
                self.filled.notified().await;
                continue;
            };
            let timestamp = envelope.timestamp.clone();
            let topic = envelope.topic.clone();
            let outcome = self.forward(&mut client, &address, envelope).await;
            let give_up = match &outcome {
                Outcome::Acknowledged => true,
                Outcome::Unreachable(cause) => {
                    if pause == PAUSES.0 {
                        log!("events: {address}: {cause}");
                    }
                    false
                }
                Outcome::Refused { text, for_ever } => {
                    refusals += 1;
                    let give_up = *for_ever || refusals == REFUSALS;
                    log!("events: {topic} refused{}: {text}", if give_up { " for good" } else { "" });
                    give_up
                }
            };
            self.note(&outcome, give_up.then_some(&timestamp));
            if give_up {
                (pause, refusals) = (PAUSES.0, 0);
                continue;
            }
            if let Outcome::Unreachable(_) = outcome {
                client = None;
            }
            sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// Waits until everything is delivered, or until it is time to leave without; says whether nothing is left.
    pub(crate) async fn flush(&self, policy: ExitPolicy) -> bool {
        let begin = Instant::now();
        loop {
            let limit = {
                let state = self.lock();
                if state.queue.is_empty() {
                    return true;
                }
                match policy {
                    // The exit is in the bundle, and `delete` will tell it.
                    ExitPolicy::OnInitExit => INIT_EXIT_LIMIT,
                    ExitPolicy::OnShutdown if state.reachable => FLUSH_LIMIT,
                    ExitPolicy::OnShutdown => ABSENCE_LIMIT,
                }
            };
            // Looks again at the shorter limit in any case, since it may have begun to apply meanwhile.
            let wake = begin + if begin.elapsed() < FLUSH_LIMIT { limit.min(FLUSH_LIMIT) } else { limit };
            if timeout_at(wake, self.acknowledged.notified()).await.is_err() && begin.elapsed() >= limit {
                return false;
            }
        }
    }

    /// Remembers how a try went and takes the event out if it is `done`.
    fn note(&self, outcome: &Outcome, done: Option<&MessageField<Timestamp>>) {
        let mut state = self.lock();
        state.reachable = !matches!(outcome, Outcome::Unreachable(_));
        // The queue may have overflowed meanwhile, and then this one has gone already.
        if done.is_some_and(|done| state.queue.front().is_some_and(|front| front.timestamp == *done)) {
            state.queue.pop_front();
            self.acknowledged.notify_one();
        }
    }

    async fn forward(&self, client: &mut Option<EventsClient>, address: &str, envelope: Envelope) -> Outcome {
        if client.is_none() {
            // tokio's connect never blocks, not even when containerd is stopped and its queue is full.
            match UnixStream::connect(address).await {
                Ok(stream) => *client = Some(EventsClient::new(Client::new(Socket::new(stream)))),
                Err(error) => return Outcome::Unreachable(error.to_string()),
            }
        }
        let Some(client) = client.as_ref() else {
            return Outcome::Unreachable("no connection".to_owned());
        };
        let mut request = ForwardRequest::new();
        request.set_envelope(envelope);
        let mut context = context::with_duration(FORWARD_LIMIT);
        context.add("containerd-namespace-ttrpc".to_owned(), self.namespace.to_string());
        match client.forward(context, &request).await {
            Ok(_) => Outcome::Acknowledged,
            Err(ttrpc::Error::RpcStatus(status)) => {
                let for_ever = matches!(status.code(), Code::INVALID_ARGUMENT | Code::UNIMPLEMENTED);
                Outcome::Refused { text: status.message, for_ever }
            }
            Err(error) => Outcome::Unreachable(error.to_string()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a try to deliver ended.
enum Outcome {
    Acknowledged,
    /// containerd answered with an error; `for_ever` when it would always do so.
    Refused {
        text: String,
        for_ever: bool,
    },
    /// No answer. The event may have arrived all the same, so a second delivery is possible; a lost one is not.
    Unreachable(String),
}

/// A topic with its message: the topic, the kind, and the fields that are set.
macro_rules! event {
    ($topic:ident, $kind:ident; $($field:ident $(= $value:expr)?),*) => {{
        let mut event = events::$kind::new();
        $(event.$field = event!(@ $field $($value)?);)*
        (topics::$topic, pack(&event))
    }};
    (@ $field:ident $value:expr) => { $value };
    (@ $field:ident) => { $field };
}

/// The topic and the message of an event.
fn encode(subject: &Subject<'_>, notice: &Notice) -> (&'static str, Any) {
    let container_id = subject.id.to_owned();
    match notice.clone() {
        Notice::Create { pid } => {
            let (bundle, rootfs) = (subject.bundle.to_owned(), subject.rootfs.to_vec());
            let io = Some(encode_io(subject.paths)).into();
            event!(TASK_CREATE_EVENT_TOPIC, TaskCreate; container_id, bundle, rootfs, io, pid)
        }
        Notice::Start { pid } => event!(TASK_START_EVENT_TOPIC, TaskStart; container_id, pid),
        Notice::ExecAdded { exec } => {
            event!(TASK_EXEC_ADDED_EVENT_TOPIC, TaskExecAdded; container_id, exec_id = exec)
        }
        Notice::ExecStarted { exec, pid } => {
            event!(TASK_EXEC_STARTED_EVENT_TOPIC, TaskExecStarted; container_id, exec_id = exec, pid)
        }
        Notice::Exit { who, pid, exit } => {
            // Consumers know init by its id, which is the container's.
            let id = if who == Who::Init { subject.id } else { who.exec_id() }.to_owned();
            let (exit_status, exited_at) = (exit.status, Some(exit.at.into()).into());
            event!(TASK_EXIT_EVENT_TOPIC, TaskExit; container_id, id, pid, exit_status, exited_at)
        }
        Notice::Delete { who, pid, exit } => {
            // Without an id the deletion of an exec would be taken for the container's.
            let id = who.exec_id().to_owned();
            let (exit_status, exited_at) = (exit.status, Some(exit.at.into()).into());
            event!(TASK_DELETE_EVENT_TOPIC, TaskDelete; container_id, id, pid, exit_status, exited_at)
        }
        Notice::Paused => event!(TASK_PAUSED_EVENT_TOPIC, TaskPaused; container_id),
        Notice::Resumed => event!(TASK_RESUMED_EVENT_TOPIC, TaskResumed; container_id),
        Notice::OutOfMemory => event!(TASK_OOM_EVENT_TOPIC, TaskOOM; container_id),
        Notice::Checkpointed { path } => {
            event!(TASK_CHECKPOINTED_EVENT_TOPIC, TaskCheckpointed; container_id, checkpoint = path)
        }
    }
}

fn encode_io(paths: &Paths) -> events::TaskIO {
    events::TaskIO {
        stdin: paths.stdin.clone(),
        stdout: paths.stdout.clone(),
        stderr: paths.stderr.clone(),
        terminal: paths.terminal,
        ..events::TaskIO::default()
    }
}

fn pack<M: Message + MessageDyn>(message: &M) -> Any {
    let mut any = Any::new();
    any.type_url = message.descriptor_dyn().full_name().to_owned();
    // Encoding into memory fails only beyond 2 GiB.
    any.value = message.write_to_bytes().unwrap_or_default();
    any
}
