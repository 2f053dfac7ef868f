//! A running task that must not notice what somebody else says to its shim.

use std::{cell::Cell, time::Duration};

use crate::{
    check::Stop,
    history::{Method, Status, Topic},
    lab::{
        Container, Lab, NOTICE, Order, Pending,
        message::{self, Request},
        program,
        raw::Raw,
    },
};

/// How long a shim may take to close what belonged to a connection that is over. The server of ttrpc-rust gives the calls of such a
/// connection five seconds to end.
const CLOSING: Duration = Duration::from_secs(8);

/// How long the end of a shim that hung up may take to be seen.
const DYING: Duration = Duration::from_millis(500);

/// The task, and what was so before the story.
pub(super) struct Bystander<'l> {
    /// The task.
    pub(super) task: Container<'l>,
    /// Init's pid.
    pub(super) pid: u32,
    /// containerd's call for its end; taken when it has ended.
    waiting: Cell<Option<Pending<'l>>>,
    /// How many sockets the shim had while nobody but containerd was connected.
    sockets: usize,
}

/// Tells the story beside a running task, and then sees that its shim serves it and holds no more than before, and that the call which
/// was in flight all along gets its answer.
pub(super) async fn beside<'l>(
    lab: &'l Lab,
    story: impl AsyncFnOnce(&Bystander<'l>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let bystander = Bystander::new(lab).await?;
    let told = match story(&bystander).await {
        Ok(()) => bystander.is_unharmed().await,
        Err(stop) => Err(stop),
    };
    bystander.explained(told).await
}

impl<'l> Bystander<'l> {
    /// Runs the task.
    pub(super) async fn new(lab: &'l Lab) -> Result<Self, Stop> {
        let task = lab.run(Order::new(program::sleeps())).await?;
        let pid = task.is(Status::Running).await?.pid.unwrap_or(0);
        let waiting = Cell::new(Some(task.begin(Method::Wait).await?));
        // By then the shim has a connection of its own to the events service, which is counted. That it announces is judged elsewhere.
        _ = task.announced(Topic::Start, NOTICE).await;
        let sockets = task.shim()?.sockets()?;
        Ok(Self { task, pid, waiting, sockets })
    }

    /// A connection of the story's own.
    pub(super) async fn connect(&self) -> Result<Raw<'l>, Stop> {
        self.connect_as("raw").await
    }

    /// The same, under another name in the timeline.
    pub(super) async fn connect_as(&self, name: &str) -> Result<Raw<'l>, Stop> {
        self.task.connect_raw(name).await
    }

    /// The question for its state.
    pub(super) fn state(&self) -> Request {
        message::plain(Method::State, self.task.target())
    }

    /// The question for its end.
    pub(super) fn wait(&self) -> Request {
        message::plain(Method::Wait, self.task.target())
    }

    /// Expects that `raw` is still told the truth, and was told nothing that it had not asked for.
    pub(super) async fn told(&self, raw: &mut Raw<'_>) -> Result<(), Stop> {
        raw.finds_running(self.task.target(), self.pid).await
    }

    /// Expects that containerd, and whoever connects now, are told the truth.
    pub(super) async fn is_served(&self) -> Result<(), Stop> {
        let state = self.task.is(Status::Running).await?;
        if state.pid != Some(self.pid) {
            let actual = format!("{:?}", state.pid);
            return Err(Stop::violated("State names another init", self.pid.to_string(), actual));
        }
        let mut newcomer = self.connect_as("newcomer").await?;
        self.told(&mut newcomer).await?;
        newcomer.close();
        Ok(())
    }

    /// Ends the task, and expects that the call which was in flight all along tells so.
    pub(super) async fn ends(&self) -> Result<(), Stop> {
        if let Some(waiting) = self.waiting.take() {
            self.task.kill(libc::SIGKILL).await?;
            let limit = self.task.lab().scaled(NOTICE);
            waiting.answer_within(limit, "the task was killed").await?.exit("Wait")?.reports(137)?;
        }
        Ok(())
    }

    async fn is_unharmed(&self) -> Result<(), Stop> {
        if !self.task.shim_is_alive()? {
            return Err(Stop::violated("the shim died", "a living shim", "none"));
        }
        let waiting = self.waiting.take();
        let ended = waiting.is_none();
        self.waiting.set(waiting);
        if !ended {
            self.is_served().await?;
        }
        self.task.has_no_more_sockets_than(self.sockets, CLOSING).await?;
        if ended { Ok(()) } else { self.ends().await }
    }

    /// An answer that does not come because the shim is dead is not what is to be reported.
    async fn explained(&self, told: Result<(), Stop>) -> Result<(), Stop> {
        match told {
            Err(Stop::Violated(violation)) if self.task.shim()?.gone(DYING).await? => {
                Err(Stop::violated("the shim died of it", "a living shim", violation.to_string()))
            }
            told => told,
        }
    }
}
