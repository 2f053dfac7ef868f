//! Kill: who gets which signal, and what it says about those who cannot.

use std::time::Duration;

use crate::{
    check::{Body, Check, Need, Stop},
    contract::task,
    history::{Answer, Code, Method, Status},
    lab::{
        Lab, Order, message, program,
        stdio::{Output, Wiring},
    },
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "kill/delivers",
        clause: &task::KILL,
        needs: &[],
        notices: &[Lie::Refused(Method::Kill), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(delivers(lab, &[1, 2, 10, 12, 15]))),
    },
    Check {
        id: "kill/delivers-realtime",
        clause: &task::KILL_REALTIME,
        needs: &[],
        notices: &[Lie::Refused(Method::Kill), Lie::Broken(Method::Kill)],
        body: Body::Example(|lab| Box::pin(delivers(lab, &[34, 64]))),
    },
    Check {
        id: "kill/all",
        clause: &task::KILL,
        needs: &[],
        notices: &[Lie::Refused(Method::Kill), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(all(lab))),
    },
    Check {
        id: "kill/created",
        clause: &task::KILL_CREATED,
        needs: &[],
        notices: &[Lie::Refused(Method::Kill), Lie::ExitStatus(Method::Wait), Lie::State(Status::Created)],
        body: Body::Example(|lab| Box::pin(created(lab))),
    },
    Check {
        id: "kill/paused",
        clause: &task::KILL_PAUSED,
        needs: &[Need::Freezer],
        notices: &[Lie::Refused(Method::Kill), Lie::ExitStatus(Method::Wait), Lie::State(Status::Paused)],
        body: Body::Example(|lab| Box::pin(paused(lab))),
    },
    Check {
        id: "kill/ended",
        clause: &task::KILL_ENDED,
        needs: &[],
        notices: KILL_LIES,
        body: Body::Example(|lab| Box::pin(ended(lab))),
    },
    Check {
        id: "kill/unknown",
        clause: &task::KILL_ENDED,
        needs: &[],
        notices: KILL_LIES,
        body: Body::Example(|lab| Box::pin(unknown(lab))),
    },
    Check {
        id: "kill/no-such-signal",
        clause: &task::KILL_INVALID,
        needs: &[],
        notices: &[Lie::Accepted(Method::Kill), Lie::Broken(Method::Kill), Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(no_such_signal(lab))),
    },
    Check {
        id: "kill/each-signal",
        clause: &task::KILL,
        needs: &[],
        notices: &[Lie::Refused(Method::Kill), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(async { delivers(lab, &standard_signals()).await })),
    },
    Check {
        id: "kill/each-realtime-signal",
        clause: &task::KILL_REALTIME,
        needs: &[],
        notices: &[Lie::Refused(Method::Kill), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(async { delivers(lab, &realtime_signals()).await })),
    },
    Check {
        id: "kill/signal-0",
        clause: &task::KILL_NOTHING,
        needs: &[],
        notices: &[Lie::Refused(Method::Kill), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(signal_0(lab))),
    },
    Check {
        id: "kill/all-of-ended",
        clause: &task::KILL_ALL_ENDED,
        needs: &[],
        notices: &[Lie::Broken(Method::Kill), Lie::Unanswered(Method::Kill)],
        body: Body::Example(|lab| Box::pin(all_of_ended(lab))),
    },
];

/// Under each of these the refusal that matters is another one.
const KILL_LIES: &[Lie] =
    &[Lie::Accepted(Method::Kill), Lie::Code(Method::Kill, Code::Unknown), Lie::Broken(Method::Kill)];

/// How long a program may take to note a signal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Init gets each of these signals, by its number.
async fn delivers(lab: &Lab, signals: &[i32]) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::notes_signals()).wired(Wiring::Output)).await?;
    let stdout = &task.streams().stdout;
    let mut expected = "ready\n".to_owned();
    reads(lab, stdout, &expected).await?;
    for &signal in signals {
        task.kill(signal).await?;
        expected.push_str(&format!("{signal}\n"));
        reads(lab, stdout, &expected).await?;
    }
    Ok(())
}

/// Waits until the whole output is `expected`.
async fn reads(lab: &Lab, output: &Output, expected: &str) -> Result<(), Stop> {
    let found = output.until(lab, PATIENCE, expected, |bytes| bytes == expected.as_bytes());
    found.await.map(drop)
}

/// With `all` a signal reaches init and an exec.
async fn all(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::notes_signals()).wired(Wiring::Output)).await?;
    let exec = task.exec("e", &program::notes_signals(), Wiring::Output).await?;
    exec.start().await?;
    let outputs = [&task.streams().stdout, &exec.streams().stdout];
    for output in outputs {
        reads(lab, output, "ready\n").await?;
    }
    let request = message::kill(task.target(), libc::SIGUSR1.unsigned_abs(), true);
    task.request(request).await?.done("Kill")?;
    for output in outputs {
        reads(lab, output, &format!("ready\n{}\n", libc::SIGUSR1)).await?;
    }
    Ok(())
}

/// A task that never started is killed, stopped, and can be deleted.
async fn created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let exit = task.end().await?;
    task.is(Status::Stopped).await?;
    task.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// A frozen task ends by SIGKILL, without Resume.
async fn paused(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    let exit = task.end().await?;
    task.is(Status::Stopped).await?;
    task.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// Kill of a task that has ended, and after its Delete, finds nobody.
async fn ended(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    let answer = task.try_kill(libc::SIGKILL).await?;
    answer.refused("Kill of a task that has ended", &[Code::NotFound])?;
    task.delete().await?;
    let answer = task.try_kill(libc::SIGKILL).await?;
    answer.refused("Kill of a task that was deleted", &[Code::NotFound])
}

/// Kill of a container, or exec, that never was finds nobody, and harms nobody.
async fn unknown(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let nobody = task.container_named("nobody").try_kill(libc::SIGKILL).await?;
    nobody.refused("Kill of an unknown container", &[Code::NotFound])?;
    let nobody = task.exec_named("nobody").try_kill(libc::SIGKILL).await?;
    nobody.refused("Kill of an unknown exec", &[Code::NotFound])?;
    task.is(Status::Running).await?;
    Ok(())
}

/// There is no signal 1000.
async fn no_such_signal(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.try_kill(1000).await?.declined("Kill with signal 1000")?;
    task.is(Status::Running).await?;
    Ok(())
}

/// Every signal with a name, but the two that no program can take.
fn standard_signals() -> Vec<i32> {
    (1..32).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)).collect()
}

/// Every real-time signal that the C library does not keep for itself.
fn realtime_signals() -> Vec<i32> {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).collect()
}

/// Signal 0 succeeds and is not seen by the program; the next signal is.
async fn signal_0(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::notes_signals()).wired(Wiring::Output)).await?;
    let stdout = &task.streams().stdout;
    reads(lab, stdout, "ready\n").await?;
    task.kill(0).await?;
    task.kill(libc::SIGUSR1).await?;
    reads(lab, stdout, &format!("ready\n{}\n", libc::SIGUSR1)).await
}

/// Sweeping up after init, which has ended.
async fn all_of_ended(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    let request = message::kill(task.target(), libc::SIGKILL.unsigned_abs(), true);
    match task.request(request).await? {
        Answer::Done(_) => Ok(()),
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => {
            answer.refused("Kill of all of a task that has ended", &[Code::NotFound])
        }
    }
}
