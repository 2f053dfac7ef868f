//! The OCI runtime is late, fails, hangs or dies in each of the subcommands that a life needs.

use fault_injector::fault::{Fault, Misstep, Trigger};

use super::pod::{self, Pod};
use crate::{
    check::Stop,
    history::{Answer, Code, Method, Status},
    lab::{InForce, Lab, NOTICE, Pending, Upon, message, program, stdio::Wiring},
};

/// The story of the subcommand that the fault waits for.
pub(super) async fn story(lab: &Lab, fault: &'static Fault, misstep: Misstep) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (Trigger::Before(subcommand) | Trigger::After(subcommand)) = fault.when else {
        return Err(super::no_story(fault));
    };
    let stage = Stage { lab, pod: &pod, fault, misstep };
    match subcommand {
        "create" => stage.create().await?,
        "start" => stage.start().await?,
        "exec" => stage.exec().await?,
        "kill" => stage.kill().await?,
        "delete" => stage.delete().await?,
        _ => return Err(super::no_story(fault)),
    }
    pod.lives_on().await
}

struct Stage<'l, 'p> {
    lab: &'l Lab,
    pod: &'p Pod<'l>,
    fault: &'static Fault,
    misstep: Misstep,
}

/// What may have come of the runtime's work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// It is done, sooner or later.
    Done,
    /// Nothing was done, and the call must say so.
    Undone,
    /// It is done, and the shim cannot know: both answers are true.
    Unknown,
}

impl<'l> Stage<'l, '_> {
    fn work(&self) -> Work {
        match (self.misstep, self.fault.when) {
            (Misstep::Delay { .. } | Misstep::Hang, _) => Work::Done,
            (Misstep::Fail { .. } | Misstep::Die, Trigger::After(_)) => Work::Unknown,
            (Misstep::Fail { .. } | Misstep::Die, Trigger::Before(_) | Trigger::Now | Trigger::Nth(_)) => Work::Undone,
        }
    }

    async fn inject(&self) -> Result<InForce<'l>, Stop> {
        self.lab.inject(self.fault, Upon::World).await
    }

    /// The answer to a `call` under the fault, which has then healed; a call that must succeed or must fail has.
    async fn judged(&self, force: &InForce<'_>, call: &str, pending: Pending<'_>, asks: bool) -> Result<Answer, Stop> {
        force.bitten(u32::from(self.misstep == Misstep::Hang)).await?;
        if self.misstep == Misstep::Hang {
            if asks {
                self.pod.unharmed().await?;
            }
            force.heal();
        }
        let answer = pod::answered(self.lab, pending, "the runtime has ended").await?;
        force.heal();
        if self.work() == Work::Undone && force.bites() == 0 {
            // Some do without the runtime what others ask of it.
            return Err(Stop::Inconclusive(format!("{call} does not execute the runtime")));
        }
        match self.work() {
            Work::Done => answer.clone().done(call).map(drop)?,
            Work::Undone => answer.clone().declined(&format!("{call} whose runtime failed"))?,
            Work::Unknown => {}
        }
        Ok(answer)
    }

    /// A Create that failed leaves no task.
    async fn create(&self) -> Result<(), Stop> {
        let task = self.pod.served(program::sleeps()).await?;
        let force = self.inject().await?;
        let creating = self.lab.begin(task.create_request()?).await?;
        // That calls about others are answered meanwhile is the subject of `runtime/slow-create-holds-up-nobody`.
        match self.judged(&force, "Create", creating, false).await? {
            Answer::Done(_) => {
                task.start().await?;
                pod::ended(&task).await
            }
            Answer::Refused { .. } | Answer::Lost(_) => {
                pod::unknown(&task).await?;
                if task.rootfs_is_mounted()? {
                    return Err(Stop::violated("a failed Create left the rootfs mounted", "no mount", "a mount"));
                }
                pod::dismissed(&task).await
            }
        }
    }

    /// A Start that failed leaves a task that can be ended and deleted.
    async fn start(&self) -> Result<(), Stop> {
        let task = self.pod.created(program::sleeps()).await?;
        let force = self.inject().await?;
        let starting = task.begin(Method::Start).await?;
        match self.judged(&force, "Start", starting, true).await? {
            Answer::Done(_) => pod::ended(&task).await,
            Answer::Refused { .. } | Answer::Lost(_) => {
                task.state().await?;
                pod::disposed(&task).await
            }
        }
    }

    /// An exec that could not be started leaves its container as it was, and can be deleted.
    async fn exec(&self) -> Result<(), Stop> {
        let (task, _) = self.pod.running(program::sleeps()).await?;
        let exec = task.exec("e", &program::exits_with(0), Wiring::Null).await?;
        let force = self.inject().await?;
        let starting = exec.begin(Method::Start).await?;
        match self.judged(&force, "Start", starting, true).await? {
            Answer::Done(_) => {
                let waiting = exec.begin(Method::Wait).await?;
                let exit = waiting.answer_within(self.lab.scaled(pod::CALL), "the exec ends at once").await?;
                exit.exit("Wait")?;
                exec.delete().await?;
            }
            // Whether it runs is open when the runtime died behind its work.
            Answer::Refused { .. } | Answer::Lost(_) if self.work() == Work::Unknown => {
                pod::answered(self.lab, exec.begin(Method::Delete).await?, "nothing holds it up").await?;
            }
            Answer::Refused { .. } | Answer::Lost(_) => {
                exec.call(Method::Delete).await?.done("Delete of an exec that could not be started")?;
            }
        }
        task.is(Status::Running).await?;
        pod::ended(&task).await
    }

    /// A Kill that failed has killed nobody.
    async fn kill(&self) -> Result<(), Stop> {
        let (task, _) = self.pod.running(program::sleeps()).await?;
        let force = self.inject().await?;
        let killing = self.lab.begin(message::kill(task.target(), 9, false)).await?;
        self.judged(&force, "Kill", killing, true).await?;
        if self.work() == Work::Undone {
            task.is(Status::Running).await?;
            return pod::ended(&task).await;
        }
        let waiting = task.begin(Method::Wait).await?;
        let answer = waiting.answer_within(self.lab.scaled(pod::CALL), "init was killed").await?;
        pod::over(&task, answer.exit("Wait")?.reports(137)?, NOTICE).await
    }

    /// A Delete that failed can be asked for again.
    async fn delete(&self) -> Result<(), Stop> {
        let task = self.pod.created(program::exits_with(6)).await?;
        task.start().await?;
        let exit = task.wait().await?.reports(6)?;
        let force = self.inject().await?;
        let deleting = task.begin(Method::Delete).await?;
        force.bitten(u32::from(self.misstep == Misstep::Hang)).await?;
        if self.misstep == Misstep::Hang {
            self.pod.unharmed().await?;
            force.heal();
        }
        let answer = pod::answered(self.lab, deleting, "the runtime has ended").await?;
        force.heal();
        match (answer, self.work()) {
            (answer @ Answer::Done(_), _) => drop(answer.exit("Delete")?.agrees(exit, "Wait")?),
            (answer, Work::Done) => drop(answer.done("Delete")?),
            (Answer::Refused { .. } | Answer::Lost(_), Work::Undone | Work::Unknown) => {
                match task.call(Method::Delete).await? {
                    answer @ Answer::Done(_) => drop(answer.exit("Delete")?.agrees(exit, "Wait")?),
                    answer @ (Answer::Refused { .. } | Answer::Lost(_)) => {
                        answer.refused("Delete behind one that failed", &[Code::NotFound])?;
                    }
                }
            }
        }
        pod::unknown(&task).await?;
        pod::removed(&task).await
    }
}
