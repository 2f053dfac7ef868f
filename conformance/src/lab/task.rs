//! The verbs of a task, and what a check expects of their answers.

use std::{fmt, time::Duration};

use anyhow::Result;

use super::{
    Lab,
    daemon::Given,
    message::{self, Request},
};
use crate::{
    check::Stop,
    history::{Answer, Code, Event, Exit, Loss, Method, Reply, Status, Target, Topic},
};

/// A call on the wire.
pub struct Pending<'l> {
    lab: &'l Lab,
    number: u64,
    method: Method,
    given: Given,
}

impl<'l> Pending<'l> {
    pub(super) fn new(lab: &'l Lab, number: u64, method: Method, given: Given) -> Self {
        Self { lab, number, method, given }
    }

    /// Whether no answer has arrived yet.
    pub fn is_open(&self) -> bool {
        self.given.is_open()
    }

    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn answer(self) -> Result<Answer> {
        self.lab.returned(self.number, self.method, self.given.ended().await)
    }

    /// Waits for the answer, at most `limit`.
    ///
    /// # Errors
    ///
    /// A violation saying that `duty` was not done in time.
    pub async fn answer_within(self, limit: Duration, duty: &str) -> Result<Answer, Stop> {
        let (lab, number, method) = (self.lab, self.number, self.method);
        match tokio::time::timeout(limit, self.given.ended()).await {
            Ok(outcome) => Ok(lab.returned(number, method, outcome)?),
            Err(_) => Err(Stop::violated(
                format!("{method} was not answered: {duty}"),
                format!("an answer within {} ms", limit.as_millis()),
                "none",
            )),
        }
    }
}

/// A process that the shim manages: a container's init or one of its execs.
#[derive(Clone)]
pub struct Process<'l> {
    lab: &'l Lab,
    target: Target,
    /// The container whose connection is used.
    via: String,
}

impl fmt::Debug for Process<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target)
    }
}

impl<'l> Process<'l> {
    pub(super) fn new(lab: &'l Lab, target: Target) -> Self {
        let via = target.container.clone();
        Self { lab, target, via }
    }

    /// `target`, spoken of over the connection of the container `via`.
    pub(super) fn over(lab: &'l Lab, target: Target, via: &str) -> Self {
        Self { lab, target, via: via.to_owned() }
    }

    /// Container and exec id.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Any call whose only argument is whom it is about.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn call(&self, method: Method) -> Result<Answer> {
        self.begin(method).await?.answer().await
    }

    /// The same, returning as soon as the call is on the wire.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn begin(&self, method: Method) -> Result<Pending<'l>> {
        self.begin_prepared(message::plain(method, &self.target)).await
    }

    /// Any call about this process, as it was prepared.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn request(&self, request: Request) -> Result<Answer> {
        self.begin_prepared(request).await?.answer().await
    }

    /// The same, returning as soon as the call is on the wire.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn begin_prepared(&self, request: Request) -> Result<Pending<'l>> {
        self.lab.begin_over(&self.via, request).await
    }

    /// Start; the pid.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn start(&self) -> Result<u32, Stop> {
        let reply = self.call(Method::Start).await?.done("Start")?;
        reply.pid.filter(|&pid| pid > 0).ok_or_else(|| Stop::violated("Start named no pid", "a pid above 0", "0"))
    }

    /// Wait; how it ended.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn wait(&self) -> Result<Exit, Stop> {
        self.call(Method::Wait).await?.exit("Wait")
    }

    /// State.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn state(&self) -> Result<Reply, Stop> {
        Ok(*self.call(Method::State).await?.done("State")?)
    }

    /// State, which must be `expected`.
    ///
    /// # Errors
    ///
    /// A violation when it is refused or says something else.
    pub async fn is(&self, expected: Status) -> Result<Reply, Stop> {
        let reply = self.state().await?;
        if reply.status == Some(expected) {
            return Ok(reply);
        }
        let actual = reply.status.map_or_else(|| "nothing".to_owned(), |status| format!("{status:?}"));
        Err(Stop::violated(format!("{} is in the wrong state", self.target), format!("{expected:?}"), actual))
    }

    /// Kill with `signal`; must succeed.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn kill(&self, signal: i32) -> Result<(), Stop> {
        self.try_kill(signal).await?.done("Kill").map(drop)
    }

    /// Kill with `signal`.
    ///
    /// # Errors
    ///
    /// When the suite fails.
    pub async fn try_kill(&self, signal: i32) -> Result<Answer> {
        self.request(message::kill(&self.target, signal.unsigned_abs(), false)).await
    }

    /// Delete; how it had ended.
    ///
    /// # Errors
    ///
    /// A violation when it is refused.
    pub async fn delete(&self) -> Result<Exit, Stop> {
        self.call(Method::Delete).await?.exit("Delete")
    }

    /// Kill with SIGKILL and Wait.
    ///
    /// # Errors
    ///
    /// A violation when either is refused, or it ended otherwise.
    pub async fn end(&self) -> Result<Exit, Stop> {
        self.kill(libc::SIGKILL).await?;
        let exit = self.wait().await?;
        exit.reports(137)?;
        Ok(exit)
    }

    /// Waits for an event of this process; the suite's patience is `limit`.
    ///
    /// # Errors
    ///
    /// A violation when none comes.
    pub async fn announced(&self, topic: Topic, limit: Duration) -> Result<Event, Stop> {
        let limit = self.lab.scaled(limit);
        let found = self
            .lab
            .recorder()
            .until(limit, |history| {
                history.events().find(|(_, e)| e.topic == topic && e.target == self.target).map(|(_, e)| e.clone())
            })
            .await;
        found.ok_or_else(|| {
            let expected = format!("{topic} within {} ms", limit.as_millis());
            Stop::violated(format!("no {topic} event of {} arrived", self.target), expected, "none")
        })
    }

    /// All topics of this process so far, in the order of arrival.
    pub fn topics(&self) -> Vec<Topic> {
        self.lab.recorder().history().events().filter(|(_, e)| e.target == self.target).map(|(_, e)| e.topic).collect()
    }

    /// Waits for as many events as `expected`, and compares the whole sequence.
    ///
    /// # Errors
    ///
    /// A violation when another sequence comes.
    pub async fn announces(&self, expected: &[Topic], limit: Duration) -> Result<(), Stop> {
        let limit = self.lab.scaled(limit);
        let enough = |_: &_| (self.topics().len() >= expected.len()).then_some(());
        // Whether enough came in time is told by the comparison.
        _ = self.lab.recorder().until(limit, enough).await;
        let actual = self.topics();
        if actual == expected {
            return Ok(());
        }
        let list = |topics: &[Topic]| topics.iter().map(|t| t.name()).collect::<Vec<_>>().join(" < ");
        let happened = format!("the events of {} are not those of its life", self.target);
        Err(Stop::violated(happened, list(expected), list(&actual)))
    }
}

impl Answer {
    /// Expects success.
    ///
    /// # Errors
    ///
    /// A violation otherwise; inconclusive when containerd died.
    pub fn done(self, call: &str) -> Result<Box<Reply>, Stop> {
        match self {
            Self::Done(reply) => Ok(reply),
            Self::Lost(Loss::ContainerdDied) => {
                Err(Stop::Inconclusive(format!("containerd died before {call} answered")))
            }
            Self::Refused { .. } | Self::Lost(Loss::Deadline | Loss::Disconnected) => {
                Err(Stop::violated(format!("{call} failed"), "success", self.to_string()))
            }
        }
    }

    /// Expects success and an exit.
    ///
    /// # Errors
    ///
    /// As [`Self::done`].
    pub fn exit(self, call: &str) -> Result<Exit, Stop> {
        let reply = self.done(call)?;
        reply.exit.ok_or_else(|| Stop::violated(format!("{call} tells no exit"), "an exit", "none"))
    }

    /// Expects a refusal with any code at all.
    ///
    /// # Errors
    ///
    /// As [`Self::refused`].
    pub fn declined(self, call: &str) -> Result<(), Stop> {
        match self {
            Self::Refused { .. } => Ok(()),
            Self::Done(_) | Self::Lost(_) => self.refused(call, &[]).map_err(|stop| match stop {
                Stop::Violated(violation) => Stop::violated(violation.happened, "a refusal", violation.actual),
                Stop::Skipped(_) | Stop::NotApplicable(_) | Stop::Inconclusive(_) | Stop::Error(_) => stop,
            }),
        }
    }

    /// Expects a refusal with one of `codes`.
    ///
    /// # Errors
    ///
    /// A violation when it succeeded, failed otherwise, or broke the connection: a crash is never a refusal.
    pub fn refused(self, call: &str, codes: &[Code]) -> Result<(), Stop> {
        let expected = || codes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        match self {
            Self::Refused { code, .. } if codes.contains(&code) => Ok(()),
            Self::Lost(Loss::ContainerdDied) => {
                Err(Stop::Inconclusive(format!("containerd died before {call} answered")))
            }
            Self::Refused { .. } => {
                Err(Stop::violated(format!("{call} was refused with the wrong code"), expected(), self.to_string()))
            }
            Self::Done(_) | Self::Lost(Loss::Deadline | Loss::Disconnected) => {
                Err(Stop::violated(format!("{call} was not refused"), expected(), self.to_string()))
            }
        }
    }
}

impl Exit {
    /// Expects this status.
    ///
    /// # Errors
    ///
    /// A violation otherwise.
    pub fn reports(self, status: u32) -> Result<Self, Stop> {
        if self.status == status {
            return Ok(self);
        }
        Err(Stop::violated("the exit status is wrong", status.to_string(), self.status.to_string()))
    }

    /// Expects the same exit as told elsewhere.
    ///
    /// # Errors
    ///
    /// A violation otherwise.
    pub fn agrees(self, other: Self, where_told: &str) -> Result<Self, Stop> {
        if self == other {
            return Ok(self);
        }
        let tell = |e: Self| format!("status {} at {}.{:09}", e.status, e.at.seconds, e.at.nanos);
        Err(Stop::violated(format!("the exit differs from what {where_told} told"), tell(other), tell(self)))
    }
}
