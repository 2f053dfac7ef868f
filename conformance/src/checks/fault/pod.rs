//! Two containers behind one shim: one to be struck, and a bystander.

use std::time::Duration;

use crate::{
    check::Stop,
    history::{Answer, Code, Exit, Method, Status, Topic},
    lab::{
        Container, Exec, Lab, NOTICE, Order, Pending, REDELIVERY, SHUTDOWN, process::Identity, program,
        program::Program, stdio::Wiring,
    },
};

/// containerd's deadline for State when it lists tasks (`io.containerd.timeout.task.state`).
const STATE: Duration = Duration::from_secs(2);
/// How soon behind a fault the shim must have served a whole life.
const LIFE: Duration = Duration::from_secs(10);
/// How long a call may take that has the runtime do something, on a busy host.
pub(super) const CALL: Duration = Duration::from_secs(5);

/// The first container of a group, which runs and is not to be struck.
pub(super) struct Pod<'l> {
    lab: &'l Lab,
    pub(super) bystander: Container<'l>,
    init: Identity,
}

impl<'l> Pod<'l> {
    /// A running bystander.
    pub(super) async fn begin(lab: &'l Lab) -> Result<Self, Stop> {
        let bystander = lab.create(Self::order(program::sleeps(), "pod")).await?;
        let init = lab.process(bystander.start().await?)?;
        Ok(Self { lab, bystander, init })
    }

    fn order(program: Program, id: &str) -> Order {
        Order::new(program).id(id).group("pod")
    }

    /// A member whose shim serves.
    pub(super) async fn served(&self, program: Program) -> Result<Container<'l>, Stop> {
        self.lab.serve(Self::order(program, "struck")).await
    }

    /// Another member whose shim serves.
    pub(super) async fn second(&self, program: Program) -> Result<Container<'l>, Stop> {
        self.lab.serve(Self::order(program, "second")).await
    }

    /// A created member.
    pub(super) async fn created(&self, program: Program) -> Result<Container<'l>, Stop> {
        self.lab.create(Self::order(program, "struck")).await
    }

    /// A running member and its init.
    pub(super) async fn running(&self, program: Program) -> Result<(Container<'l>, Identity), Stop> {
        let task = self.created(program).await?;
        let init = self.lab.process(task.start().await?)?;
        Ok((task, init))
    }

    /// A running exec of a member, and its process.
    pub(super) async fn exec(&self, task: &Container<'l>, program: &Program) -> Result<(Exec<'l>, Identity), Stop> {
        let exec = task.exec("e", program, Wiring::Null).await?;
        let process = self.lab.process(exec.start().await?)?;
        Ok((exec, process))
    }

    /// The bystander's init still runs, whatever anybody says.
    pub(super) fn lives(&self) -> Result<(), Stop> {
        if self.lab.neighbour_lives(self.init) {
            return Ok(());
        }
        let expected = format!("process {} alive", self.init.pid);
        Err(Stop::violated("what struck one container has ended the init of another one", expected, "it is gone"))
    }

    /// The bystander has not noticed anything, and its calls are answered.
    pub(super) async fn unharmed(&self) -> Result<(), Stop> {
        self.lives()?;
        let asking = self.bystander.begin(Method::State).await?;
        let duty = "it is about a container that nothing has struck";
        let state = asking.answer_within(self.lab.scaled(STATE), duty).await?.done("State of a bystander")?;
        if (state.status, state.pid) == (Some(Status::Running), Some(self.init.pid)) {
            return Ok(());
        }
        Err(Stop::violated(
            "what struck one container changed another one",
            format!("Running, pid {}", self.init.pid),
            format!("{:?}, pid {:?}", state.status, state.pid),
        ))
    }

    /// Behind the fault: the bystander is well, the same shim serves a whole life within its time, and takes leave of everything.
    pub(super) async fn lives_on(&self) -> Result<(), Stop> {
        self.unharmed().await?;
        let life = tokio::time::timeout(self.lab.scaled(LIFE), self.life()).await;
        life.unwrap_or_else(|_| {
            let expected = format!("from start to Delete within {} ms", self.lab.scaled(LIFE).as_millis());
            Err(Stop::violated("behind the fault the shim does not serve a whole life", expected, "longer"))
        })?;
        self.bystander.end().await?;
        self.bystander.remove().await
    }

    /// The same for a shim that was told to end and serves on: it may leave by itself once it is empty, and refuse a Shutdown then.
    pub(super) async fn lives_on_for_a_while(&self) -> Result<(), Stop> {
        self.unharmed().await?;
        self.life().await?;
        self.bystander.end().await?;
        self.bystander.delete().await?;
        self.bystander.settle().await?;
        self.bystander.call(Method::Shutdown).await?;
        self.bystander.shim_gone(SHUTDOWN).await?;
        removed(&self.bystander).await
    }

    async fn life(&self) -> Result<(), Stop> {
        let task = self.lab.create(Self::order(program::sleeps(), "again")).await?;
        let (shim, former) = (task.shim()?, self.bystander.shim()?);
        if shim != former {
            let (expected, actual) = (format!("process {}", former.pid), format!("process {}", shim.pid));
            return Err(Stop::violated("behind the fault another shim serves the group", expected, actual));
        }
        task.start().await?;
        let exec = task.exec("e", &program::exits_with(3), Wiring::Null).await?;
        exec.start().await?;
        exec.wait().await?.reports(3)?;
        let exit = task.end().await?;
        task.delete().await?.agrees(exit, "Wait")?;
        for topic in [Topic::Create, Topic::Start, Topic::Exit, Topic::Delete] {
            task.announced(topic, REDELIVERY).await?;
        }
        removed(&task).await
    }
}

/// The `delete` action for a container that was deleted, and its bundle; the shim serves others.
pub(super) async fn removed(task: &Container<'_>) -> Result<(), Stop> {
    task.cleaned().await?;
    task.forget().await
}

/// The same for one that never was, of which `delete` may say what it likes.
pub(super) async fn dismissed(task: &Container<'_>) -> Result<(), Stop> {
    task.execute_delete().await?;
    task.forget().await
}

/// The end of a running task: Kill, Wait, the event, Delete.
pub(super) async fn ended(task: &Container<'_>) -> Result<(), Stop> {
    let exit = task.end().await?;
    over(task, exit, NOTICE).await
}

/// The exit was told by Wait; everybody else tells the same, the event within `limit`.
pub(super) async fn over(task: &Container<'_>, exit: Exit, limit: Duration) -> Result<(), Stop> {
    let event = task.announced(Topic::Exit, limit).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    task.is(Status::Stopped).await?;
    task.delete().await?.agrees(exit, "Wait")?;
    removed(task).await
}

/// The end of a task of which it is open how far it got: whatever is there is killed and deleted, and then it is unknown.
pub(super) async fn disposed(task: &Container<'_>) -> Result<(), Stop> {
    // It may have ended by itself.
    task.try_kill(libc::SIGKILL).await?;
    let waiting = task.begin(Method::Wait).await?;
    waiting.answer_within(task.lab().scaled(CALL), "init was killed").await?.exit("Wait")?;
    task.delete().await?;
    removed(task).await
}

/// The answer of a call that has the runtime do something.
pub(super) async fn answered(lab: &Lab, pending: Pending<'_>, duty: &str) -> Result<Answer, Stop> {
    let answer = pending.answer_within(lab.scaled(CALL), duty).await?;
    match answer {
        Answer::Lost(_) => {
            Err(Stop::violated(format!("a call was not answered: {duty}"), "an answer", answer.to_string()))
        }
        Answer::Done(_) | Answer::Refused { .. } => Ok(answer),
    }
}

/// Wait, for a process that has ended: at once.
pub(super) async fn told(lab: &Lab, waiting: Pending<'_>, status: u32) -> Result<Exit, Stop> {
    waiting.answer_within(lab.scaled(NOTICE), "the process has ended").await?.exit("Wait")?.reports(status)
}

/// The shim knows no such task.
pub(super) async fn unknown(task: &Container<'_>) -> Result<(), Stop> {
    task.call(Method::State).await?.refused("State", &[Code::NotFound])
}
