//! One life, step by step, with a death of containerd at a chosen place.

use std::time::Duration;

use crate::{
    check::Stop,
    history::{Answer, Code, Exit, Method, Status},
    lab::{
        Container, Exec, Lab, NOTICE, Order, Pending, SHUTDOWN, deadline, message, process::identify, program,
        stdio::Wiring,
    },
    wire,
};

/// When containerd dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the call is made.
    Before,
    /// When it is on the wire.
    During,
    /// When it was answered.
    After,
}

/// The calls of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Start,
    /// Exec and the exec's Start.
    Exec,
    Wait,
    Kill,
    Delete,
}

const STEPS: [Step; 6] = [Step::Create, Step::Start, Step::Exec, Step::Wait, Step::Kill, Step::Delete];

/// A life with a death of containerd at `moment` of `place`.
pub(super) async fn cut(lab: &Lab, moment: Moment, place: Step) -> Result<(), Stop> {
    let order = Order::new(program::echoes()).wired(Wiring::All);
    let mut life = Life { lab, task: lab.serve(order).await?, init: 0, exec: None, waiting: None, exit: None };
    for step in STEPS {
        if step == place && moment == Moment::Before {
            life.restart(None).await?;
        }
        if step == place && moment == Moment::During {
            let open = life.begin(step).await?;
            life.restart(Some(open)).await?;
            if !life.reconcile(step).await? {
                return life.over().await;
            }
        } else {
            life.go(step).await?;
        }
        if step == place && moment == Moment::After {
            life.restart(None).await?;
        }
    }
    life.over().await
}

/// A life under way.
struct Life<'l> {
    lab: &'l Lab,
    task: Container<'l>,
    /// Init's pid; 0 before Create and from Kill on.
    init: u32,
    exec: Option<(Exec<'l>, u32)>,
    waiting: Option<Pending<'l>>,
    exit: Option<Exit>,
}

impl<'l> Life<'l> {
    /// Takes one step and sees that it is right.
    async fn go(&mut self, step: Step) -> Result<(), Stop> {
        match step {
            Step::Create => self.init = self.task.create().await?,
            Step::Start => {
                self.task.start().await?;
                self.is_running().await?;
            }
            Step::Exec => {
                let exec = self.task.exec("e", &program::sleeps(), Wiring::Null).await?;
                let pid = exec.start().await?;
                self.exec = Some((exec, pid));
            }
            Step::Wait => self.waiting = Some(self.task.begin(Method::Wait).await?),
            Step::Kill => {
                self.task.kill(libc::SIGKILL).await?;
                self.ended().await?;
            }
            Step::Delete => {
                let exit = self.task.delete().await?;
                self.agrees(exit)?;
            }
        }
        Ok(())
    }

    /// Puts a call on the wire.
    async fn begin(&mut self, step: Step) -> Result<Pending<'l>, Stop> {
        Ok(match step {
            Step::Create => self.lab.begin(self.task.create_request()?).await?,
            Step::Start => self.task.begin(Method::Start).await?,
            Step::Exec => {
                let exec = self.task.plan_exec("e", Wiring::Null)?;
                let request = exec.request(&program::sleeps());
                self.exec = Some((exec, 0));
                self.lab.begin(request).await?
            }
            Step::Wait => self.task.begin(Method::Wait).await?,
            Step::Kill => {
                let signal = libc::SIGKILL.unsigned_abs();
                self.init = 0;
                self.lab.begin(message::kill(self.task.target(), signal, false)).await?
            }
            Step::Delete => self.task.begin(Method::Delete).await?,
        })
    }

    /// containerd dies, and the next one finds everything as it was. Calls that were open are lost.
    async fn restart(&mut self, open: Option<Pending<'l>>) -> Result<(), Stop> {
        self.lab.kill_containerd().await?;
        for pending in [open, self.waiting.take()].into_iter().flatten() {
            // Unknown, or answered just in time: both are right.
            pending.answer().await?;
        }
        self.lab.start_containerd().await?;
        let connect = self.lab.reattached(&self.task)?;
        if self.init != 0 && connect.task_pid != Some(self.init) {
            return Err(Stop::violated(
                "Connect names another init after a restart",
                self.init.to_string(),
                format!("{:?}", connect.task_pid),
            ));
        }
        if let Some((exec, pid)) = self.exec.as_ref().filter(|(_, pid)| *pid != 0 && self.init != 0) {
            let state = exec.is(Status::Running).await?;
            if state.pid != Some(*pid) {
                return Err(Stop::violated(
                    "State names another exec after a restart",
                    pid.to_string(),
                    format!("{:?}", state.pid),
                ));
            }
        }
        Ok(())
    }

    /// Looks what came of a call whose answer nobody heard, and does what is left to do. False when there is no task to go on with.
    async fn reconcile(&mut self, step: Step) -> Result<bool, Stop> {
        match step {
            Step::Create => match self.task.call(Method::State).await? {
                Answer::Done(reply) => self.init = reply.pid.unwrap_or(0),
                answer @ (Answer::Refused { .. } | Answer::Lost(_)) => {
                    answer.refused("State after an unheard Create", &[Code::NotFound])?;
                    // containerd takes the shim down, and tells it so.
                    if let refused @ (Answer::Refused { .. } | Answer::Lost(_)) = self.task.call(Method::Delete).await?
                    {
                        refused.refused("Delete of a task that was not created", &[Code::NotFound])?;
                    }
                    return Ok(false);
                }
            },
            Step::Start => {
                if self.task.state().await?.status == Some(Status::Created) {
                    // Refused when the first one is still under way.
                    self.task.call(Method::Start).await?;
                }
                self.becomes(Status::Running).await?;
                self.is_running().await?;
            }
            Step::Exec => {
                if let Some((exec, pid)) = &mut self.exec {
                    let again = self.lab.call(exec.request(&program::sleeps())).await?;
                    if !matches!(again, Answer::Done(_)) {
                        again.refused("Exec after an unheard Exec", &[Code::AlreadyExists])?;
                    }
                    *pid = exec.start().await?;
                }
            }
            Step::Wait => {}
            Step::Kill => {
                let again = self.task.try_kill(libc::SIGKILL).await?;
                if !matches!(again, Answer::Done(_)) {
                    again.refused("Kill after an unheard Kill", &[Code::NotFound])?;
                }
                self.ended().await?;
            }
            Step::Delete => {
                if let Answer::Done(reply) = self.task.call(Method::Delete).await? {
                    let exit = reply.exit.ok_or_else(|| Stop::violated("Delete tells no exit", "an exit", "none"))?;
                    self.agrees(exit)?;
                }
                self.is_forgotten().await?;
            }
        }
        Ok(true)
    }

    /// Init is who Create said, and its streams flow.
    async fn is_running(&self) -> Result<(), Stop> {
        let state = self.task.is(Status::Running).await?;
        if state.pid != Some(self.init) {
            return Err(Stop::violated(
                "State names another init than Create",
                self.init.to_string(),
                format!("{:?}", state.pid),
            ));
        }
        self.task.streams().write(b"ping")?;
        let stdout = &self.task.streams().stdout;
        let patience = Duration::from_secs(5);
        stdout.until(self.lab, patience, "the echo of stdin", |seen| seen == b"ping").await?;
        Ok(())
    }

    /// Asks for State until it is `status`.
    async fn becomes(&self, status: Status) -> Result<(), Stop> {
        let asking = async {
            while self.task.state().await?.status != Some(status) {}
            Ok(())
        };
        let limit = self.lab.scaled(NOTICE);
        tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| {
            Err(Stop::violated(
                "the call that was cut short can neither be repeated nor gone on from",
                format!("{status:?} within {} ms", limit.as_millis()),
                "another state",
            ))
        })
    }

    /// Asks for State until the task is unknown.
    async fn is_forgotten(&self) -> Result<(), Stop> {
        let asking = async {
            while matches!(self.task.call(Method::State).await?, Answer::Done(_)) {}
            self.task.call(Method::State).await?.refused("State of a deleted task", &[Code::NotFound])
        };
        let limit = self.lab.scaled(NOTICE);
        tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| {
            Err(Stop::violated(
                "a task whose Delete was cut short cannot be deleted",
                format!("NOT_FOUND within {} ms", limit.as_millis()),
                "it is still there",
            ))
        })
    }

    /// Init was killed: Wait says so.
    async fn ended(&mut self) -> Result<(), Stop> {
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => self.task.begin(Method::Wait).await?,
        };
        let answer = waiting.answer_within(self.lab.scaled(NOTICE), "init was killed").await?;
        self.exit = Some(answer.exit("Wait")?.reports(137)?);
        self.init = 0;
        Ok(())
    }

    fn agrees(&self, exit: Exit) -> Result<(), Stop> {
        exit.agrees(self.exit.unwrap_or(exit), "Wait").map(drop)
    }

    /// The shim is told to go, goes, and leaves nothing.
    async fn over(self) -> Result<(), Stop> {
        self.task.settle().await?;
        self.task.shutdown().await?;
        self.task.shim_gone(self.lab.leave_limit()).await?;
        // What it says of a task that never was is judged elsewhere.
        self.task.execute_delete().await?;
        self.task.forget().await
    }
}

/// containerd dies with a bundle on disk and no answer of `start`; the next one takes the bundle away, and the id can be used again.
pub(super) async fn cut_start(lab: &Lab, moment: Moment) -> Result<(), Stop> {
    let order = || Order::new(program::exits_with(0)).id("again");
    let container = lab.bundle(order()).await?;
    if moment == Moment::During {
        let mut given = lab
            .containerd()?
            .give(wire::Order::Start {
                id: container.id().to_owned(),
                options: lab.options(),
                twist: wire::Twist::default(),
            })
            .await?;
        let helper = given.underway().await.flatten().and_then(identify);
        // The next one reads the log again, so that nobody waits for that; what it finds depends on how far `start` got.
        lab.kill_containerd().await?;
        lab.start_containerd().await?;
        let limit = lab.scaled(Duration::from_secs(10));
        let ended = deadline::until(limit, || helper.is_none_or(|helper| !helper.is_alive()).then_some(())).await;
        ended.ok_or_else(|| {
            let expected = format!("its end within {} ms", limit.as_millis());
            Stop::violated("start hangs when nobody reads its answer", expected, "it runs")
        })?;
    }
    lab.kill_containerd().await?;
    lab.start_containerd().await?;
    if lab.reattached(&container).is_ok() {
        // The shim left its address in the bundle, and a containerd that looks there found it.
        container.shutdown().await?;
    }
    // Of a task that never was it may say what it likes.
    container.execute_delete().await?;
    container.forget().await?;
    lab.left_nothing("a start that nobody heard of", SHUTDOWN, true).await?;
    let task = lab.run(order()).await?;
    task.wait().await?.reports(0)?;
    task.remove().await
}
