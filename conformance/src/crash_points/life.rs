//! The lives that are lived at every crash point, told in steps that may be refused: what a fault excuses breaks the life off, and what
//! nothing excuses is a violation at once.

use std::{cell::Cell, future::Future, pin::Pin};

use fault_injector::seam::syscall::Role;
use nix::sys::signal::Signal;

use crate::{
    check::Stop,
    history::{Answer, Exit, Loss, Method, Reply, Topic},
    lab::{
        Container, Lab, NOTICE, Order, Process, SHUTDOWN,
        process::{Identity, identify},
        program,
        stdio::Wiring,
    },
};

/// The container that is struck.
pub(super) const FIRST: &str = "first";

/// A life as it is told.
pub(super) type Story = for<'a> fn(&'a Life<'_>) -> Pin<Box<dyn Future<Output = Result<(), Halt>> + 'a>>;

/// Why a life went no further.
#[derive(Debug)]
pub(super) enum Halt {
    /// Something was refused, or the shim is gone: excused by a fault, and by nothing else.
    Refused(String),
    /// Nothing excuses it.
    Stop(Stop),
}

impl Halt {
    /// What it is when there was no fault.
    pub(super) fn unexcused(self) -> Stop {
        match self {
            Self::Refused(reason) => Stop::violated("a life without any fault was broken off", "a whole life", reason),
            Self::Stop(stop) => stop,
        }
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Stop(error.into())
    }
}

/// How far a life got. What was asked for and not granted may have happened or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// There is a bundle.
    Bundled,
    /// `start` gave an address, and Connect answered there.
    Serving,
    /// Create was sent.
    Creating,
    /// Create was granted.
    Created,
    /// Start was granted.
    Started,
    /// The suite itself killed the shim.
    Crashed,
    /// Delete was sent.
    Deleting,
    /// Delete was granted.
    Deleted,
    /// Shutdown was sent.
    ShuttingDown,
    /// The shim is gone as it was told to.
    Gone,
    /// The `delete` action succeeded.
    Cleaned,
}

/// One life.
pub(super) struct Life<'l> {
    pub(super) lab: &'l Lab,
    pub(super) first: Container<'l>,
    /// Whether nothing is struck, so that all must go well.
    pub(super) rehearsal: bool,
    stage: Cell<Stage>,
    exit: Cell<Option<Exit>>,
    /// Whether `start` was executed and failed by itself.
    start_failed: Cell<bool>,
}

/// An exec from beginning to end.
pub(super) fn with_exec<'a>(life: &'a Life<'_>) -> Pin<Box<dyn Future<Output = Result<(), Halt>> + 'a>> {
    Box::pin(async move {
        life.serve().await?;
        life.create().await?;
        life.start().await?;
        life.exec().await?;
        life.end().await
    })
}

/// No more than a life needs.
pub(super) fn shortest<'a>(life: &'a Life<'_>) -> Pin<Box<dyn Future<Output = Result<(), Halt>> + 'a>> {
    Box::pin(async move {
        life.serve().await?;
        life.create().await?;
        life.start().await?;
        life.end().await
    })
}

/// Another containerd takes over.
pub(super) fn reattached<'a>(life: &'a Life<'_>) -> Pin<Box<dyn Future<Output = Result<(), Halt>> + 'a>> {
    Box::pin(async move {
        life.serve().await?;
        life.create().await?;
        life.start().await?;
        life.reattach().await?;
        life.end().await
    })
}

/// Nobody but the `delete` action cleans up.
pub(super) fn crashed<'a>(life: &'a Life<'_>) -> Pin<Box<dyn Future<Output = Result<(), Halt>> + 'a>> {
    Box::pin(async move {
        life.serve().await?;
        life.create().await?;
        life.start().await?;
        life.crash().await?;
        life.clean().await
    })
}

impl<'l> Life<'l> {
    /// Lays out the bundle.
    pub(super) async fn begin(lab: &'l Lab, rehearsal: bool) -> Result<Self, Stop> {
        let first = lab.bundle(Order::new(program::sleeps()).id(FIRST)).await?;
        Ok(Self {
            lab,
            first,
            rehearsal,
            stage: Cell::new(Stage::Bundled),
            exit: Cell::new(None),
            start_failed: Cell::new(false),
        })
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// What Wait told.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit.get()
    }

    pub(super) fn start_failed(&self) -> bool {
        self.start_failed.get()
    }

    /// The daemons of this life that are alive, whether anybody was told of them or not.
    pub(super) fn daemons(&self) -> Vec<Identity> {
        let daemons = self.lab.daemons();
        daemons.into_iter().filter_map(identify).collect()
    }

    async fn serve(&self) -> Result<(), Halt> {
        let (ran, answer) = self.first.execute_start().await?;
        if ran.code.is_none() {
            return Err(Stop::violated("start does not end", "its end, whatever fails in it", "it hangs").into());
        }
        let helper_killed = self.lab.calls_struck().iter().any(|struck| struck.role == Role::Helper);
        self.start_failed.set(ran.code != Some(0) && !helper_killed);
        let reason = match &answer {
            Ok(_) => String::new(),
            Err(reason) => format!("start: rc {:?}, {reason}: {}", ran.code, ran.stderr.trim()),
        };
        let adopted = self.first.adopt(&ran, answer).await;
        refusable(adopted, |actual| if reason.is_empty() { format!("Connect: {actual}") } else { reason })?;
        self.stage.set(Stage::Serving);
        Ok(())
    }

    async fn create(&self) -> Result<(), Halt> {
        self.stage.set(Stage::Creating);
        let answer = self.lab.call(self.first.create_request()?).await?;
        granted(answer, "Create")?;
        self.stage.set(Stage::Created);
        self.heard(&self.first, Topic::Create).await
    }

    async fn start(&self) -> Result<(), Halt> {
        granted(self.first.call(Method::Start).await?, "Start")?;
        self.stage.set(Stage::Started);
        self.heard(&self.first, Topic::Start).await
    }

    async fn exec(&self) -> Result<(), Halt> {
        let exec = self.first.plan_exec("e", Wiring::Output)?;
        let request = exec.request(&program::says("out", "err", 3));
        granted(self.lab.call(request).await?, "Exec")?;
        self.heard(&exec, Topic::ExecAdded).await?;
        granted(exec.call(Method::Start).await?, "Start of an exec")?;
        let exit = told(granted(exec.call(Method::Wait).await?, "Wait for an exec")?, "Wait for an exec")?;
        exit.reports(3)?;
        self.heard(&exec, Topic::Exit).await?;
        told(granted(exec.call(Method::Delete).await?, "Delete of an exec")?, "Delete of an exec")?.reports(3)?;
        Ok(())
    }

    async fn reattach(&self) -> Result<(), Halt> {
        self.lab.kill_containerd().await?;
        self.lab.start_containerd().await?;
        let found = self.lab.reattached(&self.first);
        refusable(found.map(drop), |actual| format!("Connect of the next containerd: {actual}"))?;
        granted(self.first.call(Method::State).await?, "State after a restart").map(drop)
    }

    async fn crash(&self) -> Result<(), Halt> {
        self.first.signal_shim(Signal::SIGKILL)?;
        self.first.shim_gone(NOTICE).await?;
        self.stage.set(Stage::Crashed);
        Ok(())
    }

    /// Kill, Wait, Delete, Shutdown, and the `delete` action.
    async fn end(&self) -> Result<(), Halt> {
        let waiting = self.first.begin(Method::Wait).await?;
        granted(self.first.try_kill(libc::SIGKILL).await?, "Kill")?;
        let waited = waiting.answer_within(self.lab.scaled(NOTICE * 5), "the task was killed").await?;
        let exit = told(granted(waited, "Wait")?, "Wait")?.reports(137)?;
        self.exit.set(Some(exit));
        self.heard(&self.first, Topic::Exit).await?;
        self.stage.set(Stage::Deleting);
        told(granted(self.first.call(Method::Delete).await?, "Delete")?, "Delete")?.agrees(exit, "Wait")?;
        self.stage.set(Stage::Deleted);
        self.heard(&self.first, Topic::Delete).await?;
        if self.rehearsal {
            self.lab.leave_phases();
            super::aftermath::serves_again(self).await?;
            self.lab.resume_phases();
        }
        self.stage.set(Stage::ShuttingDown);
        let answer = self.first.call(Method::Shutdown).await?;
        let limit = self.lab.leave_limit().max(SHUTDOWN);
        let heard = match &answer {
            Answer::Done(_) => true,
            // The connection of a shim that leaves ends; that of one that could not read the request does as well.
            Answer::Lost(Loss::Disconnected) => self.first.shim()?.gone(self.lab.scaled(limit)).await?,
            Answer::Refused { .. } | Answer::Lost(_) => false,
        };
        if !heard && !self.rehearsal {
            self.stage.set(Stage::Deleted);
        }
        if !heard {
            granted(answer, "Shutdown")?;
        }
        // It was told to, and said nothing against it.
        self.first.shim_gone(limit).await?;
        self.stage.set(Stage::Gone);
        self.clean().await
    }

    async fn clean(&self) -> Result<(), Halt> {
        let (ran, exit) = self.first.execute_delete().await?;
        if ran.code != Some(0) || exit.is_none() {
            return Err(Halt::Refused(format!("delete: rc {:?}: {}", ran.code, ran.stderr.trim())));
        }
        self.stage.set(Stage::Cleaned);
        Ok(())
    }

    /// Waits for an event, so that what the shim does to publish it belongs to the phase of the call; a shim that dies meanwhile ends the
    /// life. Whether an event that a fault swallowed is owed again, the aftermath tells.
    async fn heard(&self, process: &Process<'_>, topic: Topic) -> Result<(), Halt> {
        let shim = self.first.shim()?;
        tokio::select! {
            announced = process.announced(topic, NOTICE) => match announced {
                Err(Stop::Violated(violation)) if self.rehearsal => Err(Stop::Violated(violation).into()),
                Ok(_) | Err(_) => Ok(()),
            },
            gone = shim.gone(self.lab.scaled(NOTICE)) => match gone? {
                true => Err(Halt::Refused("the shim is gone".to_owned())),
                false => Ok(()),
            },
        }
    }
}

/// A refusal and a connection that ended are excused by a fault; that nobody answers is not.
pub(super) fn granted(answer: Answer, call: &str) -> Result<Box<Reply>, Halt> {
    match answer {
        Answer::Done(reply) => Ok(reply),
        Answer::Lost(Loss::Deadline) => Err(Stop::violated(
            format!("{call} is never answered"),
            "an answer, or the end of the connection",
            "neither",
        )
        .into()),
        refused @ (Answer::Refused { .. } | Answer::Lost(_)) => Err(Halt::Refused(format!("{call}: {refused}"))),
    }
}

/// The exit in a reply.
pub(super) fn told(reply: Box<Reply>, call: &str) -> Result<Exit, Stop> {
    Answer::Done(reply).exit(call)
}

/// A violation that a fault excuses.
fn refusable(result: Result<(), Stop>, say: impl FnOnce(String) -> String) -> Result<(), Halt> {
    match result {
        Err(Stop::Violated(violation)) => Err(Halt::Refused(say(violation.actual))),
        other => Ok(other?),
    }
}
