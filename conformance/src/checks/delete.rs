//! The `delete` action.

use nix::sys::signal::Signal;

use crate::{
    check::{Body, Check, Need, Stop},
    clock,
    contract::delete,
    history::{Exit, Method, Status},
    lab::{Container, Lab, NOTICE, Order, SHUTDOWN, process, program},
    lie::Lie,
    wire::{self, EventsMode},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "delete/after-a-life",
        clause: &delete::ANSWERS,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteSilent],
        body: Body::Example(|lab| Box::pin(after_a_life(lab))),
    },
    Check {
        id: "delete/created",
        clause: &delete::CLEANS_UP,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(created(lab))),
    },
    Check {
        id: "delete/running",
        clause: &delete::CLEANS_UP,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(running(lab))),
    },
    Check {
        id: "delete/paused",
        clause: &delete::CLEANS_UP,
        needs: &[Need::Freezer],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(paused(lab))),
    },
    Check {
        id: "delete/many-processes",
        clause: &delete::IN_TIME,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(many_processes(lab))),
    },
    Check {
        id: "delete/without-events-service",
        clause: &delete::ALONE,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(without_events_service(lab))),
    },
    Check {
        id: "delete/exit",
        clause: &delete::EXIT,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteSilent, Lie::DeleteClean, Lie::DeleteLate],
        body: Body::Example(|lab| Box::pin(exit(lab))),
    },
    Check {
        id: "delete/true-exit",
        clause: &delete::TRUE_EXIT,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteClean],
        body: Body::Example(|lab| Box::pin(true_exit(lab))),
    },
    Check {
        id: "delete/twice",
        clause: &delete::AGAIN,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(twice(lab))),
    },
    Check {
        id: "delete/two-at-once",
        clause: &delete::AGAIN,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(two_at_once(lab))),
    },
    Check {
        id: "delete/never-created",
        clause: &delete::NEVER_CREATED,
        needs: &[],
        notices: &[Lie::DeleteFails],
        body: Body::Example(|lab| Box::pin(never_created(lab))),
    },
    Check {
        id: "delete/spares-others",
        clause: &delete::SPARES_OTHERS,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::ShimDead, Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(spares_others(lab))),
    },
];

/// Under each of these delete does not clean up.
const CLEANING_LIES: &[Lie] = &[Lie::DeleteFails, Lie::DeleteSilent, Lie::LeftProcess, Lie::LeftMount, Lie::LeftFile];

/// containerd's last step with every task: rc 0 and a message, though there is nothing left to do.
async fn after_a_life(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    task.remove().await
}

/// The shim dies between Create and Start.
async fn created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    cleans_up(lab, &task).await.map(drop)
}

/// The shim dies while init, which heeds no signal, runs.
async fn running(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::ignores_signals())).await?;
    cleans_up(lab, &task).await.map(drop)
}

/// The shim dies while init is frozen.
async fn paused(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    cleans_up(lab, &task).await.map(drop)
}

/// The shim dies over a container of a hundred processes.
async fn many_processes(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::orphans(100))).await?;
    cleans_up(lab, &task).await.map(drop)
}

/// Nobody is there to hear of it.
async fn without_events_service(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    lab.obey(wire::Order::Events(EventsMode::Refuse)).await?;
    cleans_up(lab, &task).await.map(drop)
}

/// The exit of a container that was ended is neither clean nor of another day.
async fn exit(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exit = cleans_up(lab, &task).await?;
    if exit.status == 0 {
        return Err(Stop::violated("delete tells a clean exit", "a status over 0", "0"));
    }
    let now = clock::wall().seconds;
    if (now - exit.at.seconds).abs() <= 5 {
        return Ok(());
    }
    Err(Stop::violated("delete tells the wrong time", format!("about {now}"), exit.at.seconds.to_string()))
}

/// Init ended with 7 and everybody was told so; then the shim died.
async fn true_exit(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(7))).await?;
    task.wait().await?.reports(7)?;
    cleans_up(lab, &task).await?.reports(7)?;
    Ok(())
}

/// The second delete finds nothing to do.
async fn twice(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    cleans_up(lab, &task).await?;
    let (ran, _) = task.execute_delete().await?;
    succeeded(ran.code, &ran.stderr)?;
    nothing_left(lab).await
}

/// Two at the same time: both end, one at least well, and nothing is left.
async fn two_at_once(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    kill_shim(&task).await?;
    let (one, other) = (task.begin_delete().await?, task.begin_delete().await?);
    let (one, _) = task.delete_ended(one).await?;
    let (other, _) = task.delete_ended(other).await?;
    if one.code.is_none() || other.code.is_none() {
        let expected = "two ends within 5 s";
        return Err(Stop::violated("delete hangs beside another one", expected, "one stays"));
    }
    if one.code != Some(0) {
        succeeded(other.code, &other.stderr)?;
    }
    nothing_left(lab).await
}

/// start, and no Create.
async fn never_created(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    container.shutdown().await?;
    container.shim_gone(SHUTDOWN).await?;
    let (ran, _) = container.execute_delete().await?;
    succeeded(ran.code, &ran.stderr)
}

/// One of two goes, delete and all; the shim and the other one live on.
async fn spares_others(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.run(Order::new(program::sleeps()).group("pod")).await?;
    second.end().await?;
    second.delete().await?;
    second.cleaned().await?;
    if !first.shim_is_alive()? {
        return Err(Stop::violated("delete ended the shim", "a living shim", "none"));
    }
    first.is(Status::Running).await?;
    first.end().await?;
    Ok(())
}

/// Kills the shim and expects that delete makes an end of everything.
async fn cleans_up(lab: &Lab, task: &Container<'_>) -> Result<Exit, Stop> {
    let init = task.state().await?.pid.and_then(process::identify);
    kill_shim(task).await?;
    let exit = task.cleaned().await?;
    if init.is_some_and(process::Identity::is_alive) {
        return Err(Stop::violated("init outlives delete", "no process", "a living one"));
    }
    nothing_left(lab).await?;
    Ok(exit)
}

async fn kill_shim(task: &Container<'_>) -> Result<(), Stop> {
    task.signal_shim(Signal::SIGKILL)?;
    task.shim_gone(NOTICE).await
}

async fn nothing_left(lab: &Lab) -> Result<(), Stop> {
    lab.left_nothing("delete", NOTICE, true).await
}

fn succeeded(code: Option<i32>, stderr: &str) -> Result<(), Stop> {
    if code == Some(0) {
        return Ok(());
    }
    let actual = format!("{code:?}: {}", stderr.trim());
    Err(Stop::violated("the delete action failed", "exit code 0", actual))
}
