//! Connections of the driver's own to a shim's task socket, past the fake containerd: on them anything can be said, lawful or not.
//!
//! What is sent and heard on a [`Raw`] is in the timeline, frame by frame. Its calls are notes there and no calls of the history: the
//! invariants know how a containerd behaves, and this is none.

use std::{io, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use fault_injector::{
    frame::{Frame, Header, Kind},
    seam::wire::{Heard, Wire},
};
use protobuf::Message as _;
use ttrpc::proto::{KeyValue, Request as Envelope, Response};

use super::{
    Lab,
    containers::Container,
    deadline,
    message::{self, Request},
};
use crate::{
    check::Stop,
    history::{Answer, Code, Loss, Method, Status, Target},
    lie::{Lie, RawLie},
    wire::CallOutcome,
};

/// How long a shim may take to say something, or to notice that its peer is gone; as long as calls may take that only look or tell.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub struct Raw<'l> {
    lab: &'l Lab,
    /// What the timeline calls it.
    name: String,
    /// The Task service that the shim answered `start` with.
    service: String,
    wire: Wire,
    /// The next stream id of a lawful client.
    next: u32,
    /// The streams on which an answer may still come, once for each.
    due: Vec<u32>,
    /// The answers that nobody has asked for yet.
    heard: Vec<(u32, CallOutcome)>,
    /// Whether the shim has ended the connection.
    ended: bool,
}

impl<'l> Container<'l> {
    /// A new connection to its shim.
    ///
    /// # Errors
    ///
    /// A violation when the shim takes none.
    pub async fn connect_raw(&self, name: &str) -> Result<Raw<'l>, Stop> {
        let bootstrap = self.bootstrap()?;
        let wire = dial(self.lab(), &self.socket()?).await?;
        self.lab().note(format!("{name} connects to the shim of {}", self.id()));
        Ok(Raw {
            lab: self.lab(),
            name: name.to_owned(),
            service: format!("containerd.task.v{}.Task", bootstrap.version),
            wire,
            next: 1,
            due: Vec::new(),
            heard: Vec::new(),
            ended: false,
        })
    }

    /// So many new connections at once, of which the timeline tells nothing.
    ///
    /// # Errors
    ///
    /// A violation when the shim does not take them.
    pub async fn crowd(&self, size: usize) -> Result<Vec<Wire>, Stop> {
        let socket = self.socket()?;
        let mut crowd = Vec::with_capacity(size);
        for _ in 0..size {
            crowd.push(dial(self.lab(), &socket).await?);
        }
        Ok(crowd)
    }
}

/// Connects, waiting while as many wait to be accepted as the shim lets wait: on a socket that does not block, connect(2) says EAGAIN.
async fn dial(lab: &Lab, socket: &Path) -> Result<Wire, Stop> {
    let tried = deadline::until_tried(lab.scaled(PATIENCE), async || match Wire::connect(socket).await {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
        connected => Some(connected),
    });
    let connected = tried.await.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()));
    let expected = || format!("a connection at {}", socket.display());
    connected.map_err(|e| Stop::violated("the shim takes no connection", expected(), e.to_string()))
}

impl Raw<'_> {
    /// The envelope of a call, as containerd fills it in.
    pub fn envelope(&self, request: &Request) -> Envelope {
        let mut envelope = Envelope::new();
        envelope.service.clone_from(&self.service);
        request.call.method.name().clone_into(&mut envelope.method);
        envelope.payload.clone_from(&request.payload);
        envelope.metadata.push(pair("containerd-namespace-ttrpc", &self.lab.setup().namespace));
        envelope
    }

    /// The lawful frame around an envelope, on the next stream.
    ///
    /// # Errors
    ///
    /// When it cannot be encoded; the suite's fault.
    pub fn frame(&mut self, envelope: &Envelope) -> Result<Frame> {
        let stream = self.next;
        self.next = self.next.wrapping_add(2);
        Ok(Frame::request(stream, envelope.write_to_bytes().context("encode a request")?))
    }

    /// Sends a call, as containerd does; the stream on which it is answered.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn call(&mut self, request: &Request) -> Result<u32> {
        self.ask(&self.envelope(request)).await
    }

    /// Sends an envelope; the stream on which it is answered.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn ask(&mut self, envelope: &Envelope) -> Result<u32> {
        let frame = self.frame(envelope)?;
        self.send(&frame).await?;
        Ok(frame.header.stream)
    }

    /// Sends a frame as it is, lawful or not. It may bring one answer.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn send(&mut self, frame: &Frame) -> Result<()> {
        self.due.push(frame.header.stream);
        self.say(&frame.to_bytes(), &describe(frame)).await
    }

    /// Sends a frame in slices of so many bytes. The shim may read several of them at once.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn send_sliced(&mut self, frame: &Frame, bytes: usize) -> Result<()> {
        self.due.push(frame.header.stream);
        self.note(format!("→ in slices of {bytes}: {}", describe(frame)));
        for slice in frame.to_bytes().chunks(bytes) {
            self.write(slice).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Sends bytes that need not be frames, or are a part of one; no answer is due for them.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn say(&mut self, bytes: &[u8], what: &str) -> Result<()> {
        self.note(format!("→ {what}"));
        self.write(bytes).await
    }

    /// Sends more bytes of which the timeline tells nothing.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn continue_with(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.wire.send_bytes(bytes).await {
            // Whether it may do that is judged when an answer is missed.
            Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.note("→ to nobody: the shim has ended the connection".to_owned());
                Ok(())
            }
            sent => sent.with_context(|| format!("write to {}", self.name)),
        }
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn half_close(&mut self) -> Result<()> {
        self.note("→ the end of this direction".to_owned());
        match self.wire.end().await {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(()),
            ended => ended.with_context(|| format!("end a direction of {}", self.name)),
        }
    }

    /// Closes the connection.
    pub fn close(self) {
        self.note("closes".to_owned());
    }

    /// Goes on with stream ids from `stream` on.
    pub fn skip_to(&mut self, stream: u32) {
        self.next = stream;
    }

    /// Lets an answer come on `stream`, to a frame that was sent in pieces.
    pub fn expect(&mut self, stream: u32) {
        self.due.push(stream);
    }

    /// Waits for an answer on `stream`, to a call of `method`.
    ///
    /// # Errors
    ///
    /// A violation when the shim says something that nobody asked for.
    pub async fn answer(&mut self, stream: u32, method: Method) -> Result<Answer, Stop> {
        loop {
            if let Some(answer) = self.heard_on(stream, method) {
                return Ok(answer);
            }
            if let Some(loss) = self.hear().await? {
                return Ok(Answer::Lost(loss));
            }
        }
    }

    /// The answer on `stream`, to a call of `method`, if one has come.
    pub fn heard_on(&mut self, stream: u32, method: Method) -> Option<Answer> {
        let at = self.heard.iter().position(|(of, _)| *of == stream)?;
        let mut answer = message::answer(method, self.heard.remove(at).1);
        if let Some(Lie::Raw(lie)) = self.lab.lie() {
            lie.answer(&mut answer);
        }
        Some(answer)
    }

    /// Expects that State over this connection finds `target` running as `pid`; every frame that came before is judged, too.
    ///
    /// # Errors
    ///
    /// A violation otherwise.
    pub async fn finds_running(&mut self, target: &Target, pid: u32) -> Result<(), Stop> {
        let stream = self.call(&message::plain(Method::State, target)).await?;
        is_running(self.answer(stream, Method::State).await?, target, pid)
    }

    /// Waits until the shim has ended the connection; answers that are due may come before.
    ///
    /// # Errors
    ///
    /// A violation when it does not.
    pub async fn is_ended(&mut self, why: &str) -> Result<(), Stop> {
        loop {
            match self.hear().await? {
                None => {}
                Some(Loss::Disconnected) if self.lab.lie() != Some(Lie::Raw(RawLie::Endless)) => return Ok(()),
                Some(_) => {
                    let expected = format!("its end within {} ms", self.lab.scaled(PATIENCE).as_millis());
                    return Err(Stop::violated(format!("the shim keeps a connection: {why}"), expected, "it is open"));
                }
            }
        }
    }

    /// Takes in the next frame, or tells why there is none.
    async fn hear(&mut self) -> Result<Option<Loss>, Stop> {
        if self.ended {
            return Ok(Some(Loss::Disconnected));
        }
        let end = deadline::after(self.lab.scaled(PATIENCE));
        match (self.wire.hear(end).await.with_context(|| format!("read from {}", self.name))?, self.lab.lie()) {
            (Heard::Frame(_), Some(Lie::Raw(RawLie::Silent))) => Ok(Some(Loss::Deadline)),
            (Heard::Frame(_), Some(Lie::Raw(RawLie::Ends))) | (Heard::End(_) | Heard::Reset, _) => {
                self.ended = true;
                self.note("← the end of the connection".to_owned());
                Ok(Some(Loss::Disconnected))
            }
            (Heard::Frame(frame), Some(Lie::Raw(RawLie::Doubled))) => {
                self.take(&frame)?;
                self.take(&frame).map(|()| None)
            }
            (Heard::Frame(mut frame), Some(Lie::Raw(RawLie::Stray))) => {
                frame.header.stream ^= 0x4000_0000; // No check has so many calls.
                self.take(&frame).map(|()| None)
            }
            (Heard::Frame(frame), _) => self.take(&frame).map(|()| None),
            (Heard::Oversize(Header { length, .. }), _) => Err(Stop::violated(
                "the shim sends a frame that no peer takes",
                "at most 4 MiB",
                format!("{length} bytes"),
            )),
            (Heard::Silence, _) => Ok(Some(Loss::Deadline)),
        }
    }

    /// A frame of the shim's is an answer, and one that was asked for.
    fn take(&mut self, frame: &Frame) -> Result<(), Stop> {
        let stream = frame.header.stream;
        let response = match frame.header.kind {
            Kind::Response => Response::parse_from_bytes(&frame.payload).ok(),
            Kind::Request | Kind::Data | Kind::Unknown(_) => None,
        };
        let Some(response) = response else {
            return Err(Stop::violated("the shim sends what is no answer", "a Response", describe(frame)));
        };
        let outcome = CallOutcome::from(response);
        self.note(format!("← stream {stream}: {}", told(&outcome)));
        let Some(at) = self.due.iter().position(|due| *due == stream) else {
            let actual = format!("on stream {stream}: {}", told(&outcome));
            return Err(Stop::violated(
                "the shim sends an answer that nobody waits for",
                "one for each request",
                actual,
            ));
        };
        self.due.remove(at);
        self.heard.push((stream, outcome));
        Ok(())
    }

    fn note(&self, text: String) {
        self.lab.note(format!("{} {text}", self.name));
    }
}

/// One of an envelope's metadata.
pub fn pair(key: &str, value: &str) -> KeyValue {
    let mut pair = KeyValue::new();
    key.clone_into(&mut pair.key);
    value.clone_into(&mut pair.value);
    pair
}

/// Expects of an answer to State that `target` runs as `pid`.
///
/// # Errors
///
/// A violation otherwise.
pub fn is_running(answer: Answer, target: &Target, pid: u32) -> Result<(), Stop> {
    let reply = answer.done("State")?;
    let id = reply.described.as_ref().map_or("", |described| &described.id);
    if reply.status == Some(Status::Running) && reply.pid == Some(pid) && id == target.container {
        return Ok(());
    }
    let actual = format!("{id:?} is {:?} as {:?}", reply.status, reply.pid);
    Err(Stop::violated("State does not tell the truth", format!("{:?} is Running as {pid}", target.container), actual))
}

fn describe(frame: &Frame) -> String {
    let Header { length, stream, kind, flags } = frame.header;
    let kind = match (kind, frame.call()) {
        (Kind::Request, Some((service, method))) => format!("request {service}/{method}"),
        (Kind::Request, None) => "request that says nothing".to_owned(),
        (Kind::Response, _) => "response".to_owned(),
        (Kind::Data, _) => "data".to_owned(),
        (Kind::Unknown(kind), _) => format!("type {kind}"),
    };
    let flags = if flags == 0 { String::new() } else { format!(", flags {flags:#x}") };
    format!("stream {stream}: {kind}, {length} bytes{flags}")
}

fn told(outcome: &CallOutcome) -> String {
    match outcome {
        CallOutcome::Response(payload) => format!("ok, {} bytes", payload.len()),
        CallOutcome::Status(number, message) => {
            let code = Code::from_number(*number).unwrap_or(Code::Undefined);
            format!("{code}: {message}")
        }
        CallOutcome::Deadline | CallOutcome::Disconnected => "nothing".to_owned(),
    }
}
