//! Every call in every state: one check for each call, one row of cells for the states in which its target can be.

use crate::{
    check::{Body, Check, Need, Stop},
    contract::always,
    history::{Answer, Code, Loss, Method, Status},
    lab::{
        Container, Exec, Lab, NOTICE, Order, Process,
        message::{self, Request},
        program,
        stdio::Wiring,
    },
    lie::Lie,
};

use super::refusal::sensible;
use Owed::{AlreadyExists, Any, Blocks, Done, NoProcess, NotFound, Refusal};

/// What a call is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    /// Success.
    Done,
    /// A refusal by which containerd knows that the target is gone.
    NotFound,
    /// A refusal by which it knows that the id is taken.
    AlreadyExists,
    /// A refusal that clients take for success: there is no process to signal.
    NoProcess,
    /// A refusal of any kind.
    Refusal,
    /// An answer of any kind: runtimes differ.
    Any,
    /// An answer when the target has ended, and not before.
    Blocks,
}

/// A check of one call: its name, the call, the lies that it notices, and what it is owed in each state.
macro_rules! rows {
    ($($story:ident $id:literal $method:ident [$($lie:expr),+] $owed:expr;)*) => {
        &[$(Check {
            id: $id,
            clause: &always::MATRIX,
            needs: &[],
            notices: &[$($lie),+],
            body: Body::Example(|lab| Box::pin($story(lab, Method::$method, &$owed))),
        }),*]
    };
}

// The states of a task: nobody of that name, created, running, paused, stopped, deleted. Those of an exec: the same without paused.
pub(super) const CHECKS: &[Check] = rows! {
    of_task "matrix/task-state" State [Lie::Accepted(Method::State), Lie::Refused(Method::State), Lie::Broken(Method::State)]
        [NotFound, Done, Done, Done, Done, NotFound];
    of_task "matrix/task-start" Start [Lie::Accepted(Method::Start), Lie::Refused(Method::Start), Lie::Broken(Method::Start)]
        [Refusal, Done, Refusal, Refusal, Refusal, Refusal];
    of_task "matrix/task-delete" Delete [Lie::Accepted(Method::Delete), Lie::Refused(Method::Delete), Lie::Code(Method::Delete, Code::Unknown)]
        [NotFound, Done, Refusal, Refusal, Done, NotFound];
    of_task "matrix/task-pids" Pids [Lie::Accepted(Method::Pids), Lie::Refused(Method::Pids), Lie::Code(Method::Pids, Code::Internal)]
        [NotFound, Done, Done, Done, Any, NotFound];
    of_task "matrix/task-pause" Pause [Lie::Accepted(Method::Pause), Lie::Broken(Method::Pause)]
        [Refusal, Refusal, Any, Refusal, Refusal, Refusal];
    of_task "matrix/task-resume" Resume [Lie::Accepted(Method::Resume), Lie::Broken(Method::Resume)]
        [Refusal, Refusal, Refusal, Any, Refusal, Refusal];
    of_task "matrix/task-checkpoint" Checkpoint [Lie::Accepted(Method::Checkpoint), Lie::Broken(Method::Checkpoint)]
        [Refusal, Refusal, Any, Any, Refusal, Refusal];
    of_task "matrix/task-kill" Kill [Lie::Accepted(Method::Kill), Lie::Refused(Method::Kill), Lie::Code(Method::Kill, Code::Unknown)]
        [NotFound, Done, Done, Done, NotFound, NotFound];
    of_task "matrix/task-exec" Exec [Lie::Accepted(Method::Exec), Lie::Refused(Method::Exec), Lie::Broken(Method::Exec)]
        [Refusal, Any, Done, Any, Refusal, Refusal];
    of_task "matrix/task-resize" ResizePty [Lie::Accepted(Method::ResizePty), Lie::Broken(Method::ResizePty)]
        [Refusal, Any, Any, Any, Any, Refusal];
    of_task "matrix/task-close-io" CloseIo [Lie::Accepted(Method::CloseIo), Lie::Refused(Method::CloseIo), Lie::Broken(Method::CloseIo)]
        [Refusal, Any, Done, Any, Any, Refusal];
    of_task "matrix/task-update" Update [Lie::Accepted(Method::Update), Lie::Broken(Method::Update)]
        [Refusal, Any, Any, Any, Any, Refusal];
    of_task "matrix/task-wait" Wait [Lie::Accepted(Method::Wait), Lie::Refused(Method::Wait), Lie::Broken(Method::Wait)]
        [Refusal, Blocks, Blocks, Blocks, Done, Refusal];
    of_task "matrix/task-stats" Stats [Lie::Accepted(Method::Stats), Lie::Broken(Method::Stats)]
        [Refusal, Any, Any, Any, Any, Refusal];
    of_task "matrix/task-connect" Connect [Lie::Refused(Method::Connect), Lie::Broken(Method::Connect)]
        [Done, Done, Done, Done, Done, Done];
    of_task "matrix/task-shutdown" Shutdown [Lie::Refused(Method::Shutdown), Lie::ShimDead]
        [Done, Done, Done, Done, Done, Done];
    of_exec "matrix/exec-state" State [Lie::Accepted(Method::State), Lie::Refused(Method::State), Lie::Broken(Method::State)]
        [NotFound, Done, Done, Done, NotFound];
    of_exec "matrix/exec-start" Start [Lie::Accepted(Method::Start), Lie::Broken(Method::Start)]
        [NotFound, Done, Refusal, Refusal, NotFound];
    of_exec "matrix/exec-delete" Delete [Lie::Accepted(Method::Delete), Lie::Refused(Method::Delete), Lie::Code(Method::Delete, Code::Unknown)]
        [NotFound, Done, Refusal, Done, NotFound];
    of_exec "matrix/exec-kill" Kill [Lie::Accepted(Method::Kill), Lie::Refused(Method::Kill), Lie::Code(Method::Kill, Code::Unknown)]
        [NotFound, NoProcess, Done, NoProcess, NotFound];
    of_exec "matrix/exec-exec" Exec [Lie::Accepted(Method::Exec), Lie::Refused(Method::Exec), Lie::Code(Method::Exec, Code::Unknown)]
        [Done, AlreadyExists, AlreadyExists, AlreadyExists, Done];
    of_exec "matrix/exec-resize" ResizePty [Lie::Accepted(Method::ResizePty), Lie::Broken(Method::ResizePty)]
        [Refusal, Any, Any, Any, Refusal];
    of_exec "matrix/exec-close-io" CloseIo [Lie::Accepted(Method::CloseIo), Lie::Refused(Method::CloseIo), Lie::Broken(Method::CloseIo)]
        [Refusal, Any, Done, Any, Refusal];
    of_exec "matrix/exec-wait" Wait [Lie::Accepted(Method::Wait), Lie::Refused(Method::Wait), Lie::Broken(Method::Wait)]
        [NotFound, Blocks, Blocks, Done, NotFound];
};

/// How far a task got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Nobody,
    Created,
    Running,
    Paused,
    Stopped,
    Deleted,
}

const TASK_PHASES: [Phase; 6] =
    [Phase::Nobody, Phase::Created, Phase::Running, Phase::Paused, Phase::Stopped, Phase::Deleted];
const EXEC_PHASES: [Phase; 5] = [Phase::Nobody, Phase::Created, Phase::Running, Phase::Stopped, Phase::Deleted];

/// One call about tasks in every phase, all of one shim, beside a task that must not notice.
async fn of_task(lab: &Lab, method: Method, owed: &[Owed; 6]) -> Result<(), Stop> {
    // The group bears the name of its first member, so that its socket is not in question.
    let member = |id: &str, program| Order::new(program).id(id).group("neighbour");
    let neighbour = lab.run(member("neighbour", program::sleeps())).await?;
    for (phase, &owed) in TASK_PHASES.into_iter().zip(owed) {
        if phase == Phase::Paused && lab.job().lacks(Need::Freezer).is_some() {
            continue;
        }
        let id = format!("{phase:?}").to_lowercase();
        let task = match phase {
            Phase::Nobody => neighbour.container_named(&id),
            Phase::Created => (*lab.create(member(&id, program::sleeps())).await?).clone(),
            Phase::Running => (*lab.run(member(&id, program::sleeps())).await?).clone(),
            Phase::Paused => {
                let task = lab.run(member(&id, program::sleeps())).await?;
                task.call(Method::Pause).await?.done("Pause")?;
                (*task).clone()
            }
            Phase::Stopped | Phase::Deleted => {
                let task = lab.run(member(&id, program::exits_with(0))).await?;
                task.wait().await?.reports(0)?;
                if phase == Phase::Deleted {
                    task.delete().await?;
                }
                (*task).clone()
            }
        };
        let request = sensible(lab, method, &task);
        pays(lab, &task, request, owed, phase).await?;
        unmoved(&neighbour).await?;
    }
    Ok(())
}

/// One call about execs in every phase, all of one task.
async fn of_exec(lab: &Lab, method: Method, owed: &[Owed; 5]) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    for (phase, &owed) in EXEC_PHASES.into_iter().zip(owed) {
        let exec = exec_in(&task, phase).await?;
        let request = exec_request(method, &exec);
        let created = phase == Phase::Created && owed == Blocks;
        let waiting = created.then(|| lab.begin(request.clone()));
        if let Some(waiting) = waiting {
            // What was never started does not end: first it must be.
            let waiting = waiting.await?;
            exec.start().await?;
            exec.kill(libc::SIGKILL).await?;
            waiting.answer_within(lab.scaled(NOTICE), "it was killed").await?.exit("Wait")?.reports(137)?;
        } else {
            pays(lab, &exec, request, owed, phase).await?;
        }
        unmoved(&task).await?;
    }
    Ok(())
}

async fn exec_in<'l>(task: &Container<'l>, phase: Phase) -> Result<Exec<'l>, Stop> {
    let id = format!("{phase:?}").to_lowercase();
    let exec = match phase {
        Phase::Nobody => return Ok(task.plan_exec(&id, Wiring::Null)?),
        Phase::Created | Phase::Running | Phase::Paused => task.exec(&id, &program::sleeps(), Wiring::Null).await?,
        Phase::Stopped | Phase::Deleted => task.exec(&id, &program::exits_with(0), Wiring::Null).await?,
    };
    if phase == Phase::Created {
        return Ok(exec);
    }
    exec.start().await?;
    if matches!(phase, Phase::Stopped | Phase::Deleted) {
        exec.wait().await?.reports(0)?;
    }
    if phase == Phase::Deleted {
        exec.delete().await?;
    }
    Ok(exec)
}

/// A call about `exec` that makes sense, whatever its phase.
fn exec_request(method: Method, exec: &Exec<'_>) -> Request {
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other call says nothing but whom it is about")]
    match method {
        Method::Kill => message::kill(exec.target(), libc::SIGKILL.unsigned_abs(), false),
        Method::ResizePty => message::resize(exec.target(), 80, 24),
        Method::CloseIo => message::close_stdin(exec.target()),
        Method::Exec => exec.request(&program::sleeps()),
        _ => message::plain(method, exec.target()),
    }
}

/// Makes the call and expects what it is owed.
async fn pays(lab: &Lab, process: &Process<'_>, request: Request, owed: Owed, phase: Phase) -> Result<(), Stop> {
    let what = format!("{} of {}, which is {phase:?},", request.call.method, process.target());
    let pending = process.begin_prepared(request).await?;
    if owed == Blocks {
        // A round trip, in which an answer that comes at once would have come.
        process.state().await?;
        process.kill(libc::SIGKILL).await?;
        pending.answer_within(lab.scaled(NOTICE), "it was killed").await?.exit(&what)?.reports(137)?;
        return Ok(());
    }
    let answer = pending.answer().await?;
    match owed {
        Done => answer.done(&what).map(drop),
        NotFound => answer.refused(&what, &[Code::NotFound]),
        AlreadyExists => answer.refused(&what, &[Code::AlreadyExists]),
        NoProcess => answer.refused(&what, &[Code::NotFound, Code::FailedPrecondition]),
        Refusal => answer.declined(&what),
        Any | Blocks => answered(answer, &what),
    }
}

fn answered(answer: Answer, what: &str) -> Result<(), Stop> {
    match answer {
        Answer::Done(_) | Answer::Refused { .. } => Ok(()),
        Answer::Lost(Loss::ContainerdDied) => Err(Stop::Inconclusive(format!("containerd died before {what}"))),
        Answer::Lost(Loss::Deadline | Loss::Disconnected) => {
            Err(Stop::violated(format!("{what} was not answered"), "an answer of any kind", answer.to_string()))
        }
    }
}

/// Expects that a bystander is as it was.
async fn unmoved(bystander: &Container<'_>) -> Result<(), Stop> {
    bystander.is(Status::Running).await?;
    if bystander.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive", "a living shim", "none"))
}
