//! The shim's own system calls fail, or are its last; `conformance crash-points` visits all of them, these checks a few.

use std::time::Duration;

use fault_injector::{
    catalogue,
    fault::{Fault, Trigger},
    seam::syscall::{Aim, THREAD},
};

use crate::{
    check::{Body, Check, Need, Stop},
    contract::syscall,
    history::{Answer, Loss, Method, ShimFact, Status},
    lab::{Container, Lab, NOTICE, Order, SHUTDOWN, inject::InForce, program, stdio::Wiring},
    lie::Lie,
};

const NEEDS: &[Need] = &[Need::SyscallFaults];

/// How soon a start that cannot do its work ends: as soon as one that can, and then some.
const SOON: Duration = Duration::from_secs(5);

/// What a life after a fault shows.
const LIVES_ON: &[Lie] = &[Lie::Accepted(Method::Create), Lie::ExitStatus(Method::Wait), Lie::LeftFile];
/// What `delete` after a crash shows.
const CLEANED: &[Lie] = &[Lie::LeftProcess, Lie::LeftCgroup, Lie::LeftMount];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "syscall/start-without-first-thread",
        clause: &syscall::START_REFUSED,
        needs: NEEDS,
        notices: &[Lie::StartHangs],
        body: Body::Example(|lab| Box::pin(start_refused(lab, "syscall/eagain", Trigger::Nth(1), thread_of_start()))),
    },
    Check {
        id: "syscall/start-without-second-thread",
        clause: &syscall::START_REFUSED,
        needs: NEEDS,
        notices: &[Lie::StartHangs],
        body: Body::Example(|lab| Box::pin(start_refused(lab, "syscall/eagain", Trigger::Nth(2), thread_of_start()))),
    },
    Check {
        id: "syscall/start-without-any-thread",
        clause: &syscall::START_REFUSED,
        needs: NEEDS,
        notices: &[Lie::StartHangs],
        body: Body::Example(|lab| Box::pin(start_refused(lab, "syscall/eagain", Trigger::Now, thread_of_start()))),
    },
    Check {
        id: "syscall/start-without-process",
        clause: &syscall::START_REFUSED,
        needs: NEEDS,
        notices: &[Lie::StartHangs, Lie::StartSucceeds, Lie::LeftSocket],
        body: Body::Example(|lab| {
            Box::pin(start_refused(lab, "syscall/eagain", Trigger::Now, Aim::phase("start").about("process")))
        }),
    },
    Check {
        id: "syscall/start-without-space",
        clause: &syscall::START_REFUSED,
        needs: NEEDS,
        notices: &[Lie::StartHangs],
        body: Body::Example(|lab| Box::pin(start_refused(lab, "syscall/enospc", Trigger::Now, Aim::phase("start")))),
    },
    Check {
        id: "syscall/create-without-space",
        clause: &syscall::CALL_REFUSED,
        needs: NEEDS,
        notices: LIVES_ON,
        body: Body::Example(|lab| Box::pin(create_refused(lab, "syscall/enospc"))),
    },
    Check {
        id: "syscall/create-without-descriptors",
        clause: &syscall::CALL_REFUSED,
        needs: NEEDS,
        notices: LIVES_ON,
        body: Body::Example(|lab| Box::pin(create_refused(lab, "syscall/emfile"))),
    },
    Check {
        id: "syscall/exec-without-descriptors",
        clause: &syscall::CALL_REFUSED,
        needs: NEEDS,
        notices: &[Lie::Accepted(Method::Start), Lie::State(Status::Stopped), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(exec_refused(lab))),
    },
    Check {
        id: "syscall/killed-in-create-first",
        clause: &syscall::CRASH_ANYWHERE,
        needs: NEEDS,
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(killed_in_create(lab, 1))),
    },
    Check {
        id: "syscall/killed-in-create-later",
        clause: &syscall::CRASH_ANYWHERE,
        needs: NEEDS,
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(killed_in_create(lab, 6))),
    },
];

fn thread_of_start() -> Aim {
    Aim::phase("start").about(THREAD)
}

fn fault(id: &str, when: Trigger) -> Result<Fault, Stop> {
    let fault = catalogue::find(id).ok_or_else(|| Stop::Error(format!("there is no fault {id}")))?;
    Ok(fault.at(when))
}

fn strike<'l>(lab: &'l Lab, id: &str, when: Trigger, aim: Aim) -> Result<InForce<'l>, Stop> {
    lab.strike_calls(&fault(id, when)?, aim)
}

/// Heals. What was seen under a fault that never bit says nothing about it.
fn bitten(blow: &InForce<'_>) -> Result<(), Stop> {
    match blow.heal() {
        0 => Err(Stop::Inconclusive("the shim made no such system call, so the fault never bit".to_owned())),
        _ => Ok(()),
    }
}

/// `start` is refused what it needs: it ends soon, with a shim or without a trace, and afterwards the same id starts.
async fn start_refused(lab: &Lab, id: &str, when: Trigger, aim: Aim) -> Result<(), Stop> {
    let refusing = lab.refuse_calls(&fault(id, when)?, aim)?;
    let container = lab.bundle(Order::new(program::exits_with(3)).id("refused")).await?;
    let begun = crate::clock::now();
    let (ran, answer) = container.execute_start().await?;
    let ms = crate::clock::now().ms_since(begun);
    let limit = lab.scaled(SOON);
    if ran.code.is_none() || ms > limit.as_secs_f64() * 1000.0 {
        return Err(Stop::violated(
            "start does not end when the kernel refuses it something",
            format!("its end within {} ms", limit.as_millis()),
            if ran.code.is_none() { "it hangs".to_owned() } else { format!("{ms:.0} ms") },
        ));
    }
    match refusing.heal() {
        0 if lab.calls_seen().is_empty() => {
            return Err(Stop::Inconclusive("no system call of the shim was seen".to_owned()));
        }
        // What it does not need cannot be refused to it.
        0 => {
            container.adopt(&ran, answer).await?;
            return Err(Stop::NotApplicable("start makes no such call".to_owned()));
        }
        bites => lab.note(format!("start was refused {bites} calls")),
    }
    if ran.code == Some(0) {
        container.adopt(&ran, answer).await?;
        container.create().await?;
        container.start().await?;
        container.wait().await?.reports(3)?;
        return container.remove().await;
    }
    container.forget().await?;
    lab.left_nothing("a start that was refused something", SHUTDOWN, false).await?;
    whole_life(lab, "refused").await
}

/// Everything that Create of a container needs of this kind is refused; then the disk, or the table, has room again.
async fn create_refused(lab: &Lab, id: &str) -> Result<(), Stop> {
    let blow = strike(lab, id, Trigger::Now, Aim::phase("create"))?;
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let answer = lab.call(container.create_request()?).await?;
    bitten(&blow)?;
    answer.declined("Create")?;
    if let Answer::Done(_) = container.call(Method::State).await? {
        return Err(Stop::violated("a Create that was refused has made a task", "NOT_FOUND of State", "a task"));
    }
    let other = lab.bundle(Order::new(program::exits_with(4)).id("other")).await?;
    container_lives(&other, &container).await?;
    container.settle().await?;
    container.shutdown().await?;
    container.shim_gone(SHUTDOWN).await?;
    container.execute_delete().await?;
    container.forget().await?;
    lab.left_nothing("a Create that was refused", NOTICE, false).await
}

/// A whole life of `other` in the shim of `served`.
async fn container_lives(other: &Container<'_>, served: &Container<'_>) -> Result<(), Stop> {
    other.create_over(served).await?.done("Create after the fault has healed")?;
    let task = served.container_named(other.id());
    task.start().await?;
    task.wait().await?.reports(4)?;
    task.delete().await?.reports(4)?;
    other.forget().await
}

/// An exec with streams finds no descriptor free; its container runs on and takes the next one.
async fn exec_refused(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let blow = strike(lab, "syscall/emfile", Trigger::Now, Aim::phase("start-exec"))?;
    let exec = task.exec("refused", &program::says("out", "err", 0), Wiring::Output).await?;
    let answer = exec.call(Method::Start).await?;
    bitten(&blow)?;
    answer.declined("Start of an exec")?;
    task.is(Status::Running).await?;
    let next = task.exec("next", &program::exits_with(5), Wiring::Null).await?;
    next.start().await?;
    next.wait().await?.reports(5)?;
    next.delete().await?;
    Ok(())
}

/// The shim dies right before its n-th call in Create, and `delete` cleans up.
async fn killed_in_create(lab: &Lab, n: u32) -> Result<(), Stop> {
    let blow = strike(lab, "syscall/kill", Trigger::Nth(n), Aim::phase("create"))?;
    let container = lab.serve(Order::new(program::sleeps()).id("killed")).await?;
    let shim = container.shim()?.pid;
    let answer = lab.call(container.create_request()?).await?;
    if blow.heal() > 0 {
        container.record_of_process(shim, ShimFact::Signalled(libc::SIGKILL));
    }
    bitten(&blow)?;
    if answer != Answer::Lost(Loss::Disconnected) {
        return Err(Stop::Inconclusive(format!("Create was over before the shim was killed: {answer}")));
    }
    container.shim_gone(NOTICE).await?;
    // Before a container exists it may fail.
    container.execute_delete().await?;
    container.forget().await?;
    lab.left_nothing("the shim was killed in Create and delete has cleaned up", SHUTDOWN, true).await?;
    whole_life(lab, "killed").await
}

/// The id is free and lives a whole life.
async fn whole_life(lab: &Lab, id: &str) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(6)).id(id)).await?;
    task.wait().await?.reports(6)?;
    task.remove().await
}
