//! What must be true after a shim was struck and the fault has healed.

use std::time::Duration;

use fault_injector::seam::syscall::Role;

use super::life::{FIRST, Life, Stage, granted, told};
use crate::{
    check::Stop,
    crash_points::life::Halt,
    history::{Answer, Code, Exit, Loss, Method, ShimFact, Status, Topic},
    lab::{Container, NOTICE, Order, Process, REDELIVERY, SHUTDOWN, process::identify, program, residue},
};

/// How soon a shim that healed answers again.
const RECOVERY: Duration = Duration::from_secs(5);

/// The life came to its end all the same: nothing is left, and the id is free.
pub(super) async fn finished(life: &Life<'_>) -> Result<(), Stop> {
    note_deaths(life)?;
    life.first.forget().await?;
    life.lab.left_nothing("a whole life", NOTICE, !life.rehearsal).await?;
    if life.rehearsal { Ok(()) } else { lives_again(life).await }
}

/// The life was broken off.
pub(super) async fn judge(life: &Life<'_>) -> Result<(), Stop> {
    note_deaths(life)?;
    let killed = was_killed(life);
    the_struck_are_gone(life).await?;
    if life.start_failed() && !killed {
        // containerd forgets it now, and runs nothing that could clean up.
        life.lab.left_nothing("a start that failed", SHUTDOWN, false).await?;
        life.first.forget().await?;
        return lives_again(life).await;
    }
    let leaving = life.stage() >= Stage::ShuttingDown;
    if life.daemons().is_empty() || leaving || life.stage() < Stage::Serving && killed {
        return dead(life, killed).await;
    }
    match answers(life).await {
        // It was on its way out when it was looked at.
        Err(Stop::Violated(_)) if all_leave(life).await? => dead(life, killed).await,
        answered => {
            answered?;
            alive(life).await
        }
    }
}

/// Whether every daemon is gone soon.
async fn all_leave(life: &Life<'_>) -> Result<bool, Stop> {
    for daemon in life.daemons() {
        if !daemon.gone(life.lab.scaled(NOTICE)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of a process that dies the threads end one by one; until the last has, it looks alive and its socket takes connections.
async fn the_struck_are_gone(life: &Life<'_>) -> Result<(), Stop> {
    if !life.lab.killed_at_a_call() {
        return Ok(());
    }
    for struck in life.lab.calls_struck() {
        let process = u32::try_from(struck.pid).ok().and_then(identify);
        if let Some(process) = process
            && !process.gone(life.lab.scaled(RECOVERY)).await?
        {
            return Err(Stop::Error(format!("process {} survives SIGKILL", struck.pid)));
        }
    }
    Ok(())
}

/// Whether anybody's SIGKILL ended the shim: then nobody was left to remove its socket, and the next `start` replaces it.
fn was_killed(life: &Life<'_>) -> bool {
    life.stage() == Stage::Crashed || life.lab.killed_at_a_call()
}

/// A process that was killed at a call was killed by the suite; the history must say so before it is judged.
fn note_deaths(life: &Life<'_>) -> Result<(), Stop> {
    if !life.lab.killed_at_a_call() {
        return Ok(());
    }
    for struck in life.lab.calls_struck() {
        let pid = u32::try_from(struck.pid).map_err(anyhow::Error::from)?;
        life.lab.note(format!("process {pid} was killed at: {}", struck.point));
        if struck.role == Role::Daemon {
            life.first.record_of_process(pid, ShimFact::Signalled(libc::SIGKILL));
        }
    }
    Ok(())
}

/// `delete` leaves nothing, and the exit that containerd then announces is true.
async fn dead(life: &Life<'_>, killed: bool) -> Result<(), Stop> {
    let Life { lab, first, .. } = life;
    let stage = life.stage();
    for daemon in life.daemons().into_iter().filter(|_| stage >= Stage::ShuttingDown) {
        if !daemon.gone(lab.scaled(lab.leave_limit())).await? {
            return Err(Stop::violated("the shim stays after Shutdown", "its end", "it is alive"));
        }
    }
    if !killed && stage < Stage::ShuttingDown {
        lab.remark("the shim has died of it");
    }
    let (ran, exit) = first.execute_delete().await?;
    let existed = (Stage::Created..=Stage::Deleting).contains(&stage);
    if existed && (ran.code != Some(0) || exit.is_none()) {
        let actual = format!("rc {:?}: {}", ran.code, ran.stderr.trim());
        return Err(Stop::violated("delete failed after the shim's death", "rc 0 and an exit", actual));
    }
    if let Some(exit) = exit.filter(|_| existed) {
        truthful(exit, life.exit())?;
    }
    first.forget().await?;
    // A shim of which nobody was told leaves by itself, or is ended by delete.
    // Nobody is left to remove its socket, however it died.
    lab.left_nothing("the shim was struck and delete has cleaned up", SHUTDOWN, true).await?;
    lives_again(life).await
}

/// The container was killed, by whomever, or never ran: nothing of it ended well.
fn truthful(exit: Exit, told: Option<Exit>) -> Result<(), Stop> {
    match told {
        _ if exit.status == 0 => {
            Err(Stop::violated("delete says that a killed container ended well", "a status other than 0", "0"))
        }
        Some(told) if told.status != exit.status => Err(Stop::violated(
            "delete tells another exit than Wait had told",
            told.status.to_string(),
            exit.status.to_string(),
        )),
        Some(_) | None => Ok(()),
    }
}

/// The shim answers, over a new connection if the old one ended.
async fn answers(life: &Life<'_>) -> Result<(), Stop> {
    let Life { lab, first, .. } = life;
    let recovered = async {
        if life.stage() < Stage::Serving || first.call(Method::State).await? == Answer::Lost(Loss::Disconnected) {
            first.meet_again().await?;
        }
        Ok::<(), Stop>(())
    };
    let deadline = lab.scaled(RECOVERY);
    tokio::time::timeout(deadline, recovered).await.unwrap_or_else(|_| {
        let expected = format!("an answer within {} ms", deadline.as_millis());
        Err(Stop::violated("the shim does not answer after the fault has healed", expected, "none"))
    })
}

/// The shim serves again: its task comes to an end as if nothing had been, another one lives a whole life in it, and it leaves.
async fn alive(life: &Life<'_>) -> Result<(), Stop> {
    let Life { lab, first, .. } = life;
    unexcused(end_task(life).await)?;
    unexcused(serves_again(life).await)?;
    first.settle().await?;
    first.shutdown().await?;
    first.shim_gone(SHUTDOWN).await?;
    if life.stage() < Stage::Created {
        // Of a container that never was it may fail.
        first.execute_delete().await?;
    } else {
        first.cleaned().await?;
    }
    first.forget().await?;
    lab.left_nothing("the shim was struck, healed and was told to leave", NOTICE, false).await
}

/// Nothing excuses a shim any more once the fault has healed.
fn unexcused(result: Result<(), Halt>) -> Result<(), Stop> {
    result.map_err(|halt| match halt {
        Halt::Refused(reason) => Stop::violated("the shim refuses after the fault has healed", "success", reason),
        Halt::Stop(stop) => stop,
    })
}

/// Brings the task of the life that was broken off to its end, wherever it is.
async fn end_task(life: &Life<'_>) -> Result<(), Halt> {
    let first = &life.first;
    let answer = first.call(Method::State).await?;
    if let Answer::Refused { code: Code::NotFound, .. } = answer {
        // What was granted is kept, and what may have been done may be gone.
        let kept = (Stage::Created..Stage::Deleting).contains(&life.stage());
        let lost = || Stop::violated("the shim forgot a task after a fault", "the task", "NOT_FOUND");
        return if kept { Err(lost().into()) } else { Ok(()) };
    }
    let reply = granted(answer, "State")?;
    if reply.status != Some(Status::Stopped) {
        let killed = first.try_kill(libc::SIGKILL).await?;
        // A Kill that was struck may have been done all the same, and the end of a dying process is not noticed at once.
        let is_dying = matches!(killed, Answer::Refused { code: Code::NotFound | Code::FailedPrecondition, .. });
        if life.stage() < Stage::Started || !is_dying {
            granted(killed, "Kill")?;
        }
    }
    let waiting = first.begin(Method::Wait).await?;
    let waited = waiting.answer_within(life.lab.scaled(RECOVERY), "the task was killed").await?;
    let exit = told(granted(waited, "Wait")?, "Wait")?;
    truthful(exit, life.exit())?;
    if life.stage() >= Stage::Started {
        let event = first.announced(Topic::Exit, REDELIVERY).await?;
        event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    }
    told(granted(first.call(Method::Delete).await?, "Delete")?, "Delete")?.agrees(exit, "Wait")?;
    Ok(())
}

/// Another container lives a whole life in the same shim.
pub(super) async fn serves_again(life: &Life<'_>) -> Result<(), Halt> {
    let Life { lab, first, .. } = life;
    let second: Container<'_> = lab.bundle(Order::new(program::sleeps()).id("second")).await?;
    granted(second.create_over(first).await?, "Create of another container")?;
    let task: Process<'_> = first.container_named("second");
    granted(task.call(Method::Start).await?, "Start of another container")?;
    let waiting = task.begin(Method::Wait).await?;
    granted(task.try_kill(libc::SIGKILL).await?, "Kill of another container")?;
    let waited = waiting.answer_within(lab.scaled(RECOVERY), "another container was killed").await?;
    let exit = told(granted(waited, "Wait for another container")?, "Wait")?.reports(137)?;
    task.announced(Topic::Exit, REDELIVERY).await?;
    let deleted = granted(task.call(Method::Delete).await?, "Delete of another container")?;
    told(deleted, "Delete")?.agrees(exit, "Wait")?;
    second.forget().await?;
    Ok(())
}

/// The id is free, and nothing that was left keeps a new shim from living a whole life.
async fn lives_again(life: &Life<'_>) -> Result<(), Stop> {
    let lab = life.lab;
    lab.leave_phases();
    if !residue::look(lab)?.sockets.is_empty() {
        lab.remark("its socket is left, which the next start replaces");
    }
    // A deletion that was told before the shim died would be missed among the announcements of a second one.
    let id = if was_killed(life) && life.stage() >= Stage::Deleting { "again" } else { FIRST };
    let again = lab.run(Order::new(program::exits_with(7)).id(id)).await?;
    again.wait().await?.reports(7)?;
    again.remove().await
}
