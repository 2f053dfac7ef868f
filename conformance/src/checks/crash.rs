//! The shim, init or the runtime is killed.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{
    check::{Body, Check, Stop},
    contract::life,
    history::{Exit, Method, Status, Topic},
    lab::{Container, Lab, NOTICE, Order, Process, program, stdio::Wiring},
    lie::Lie,
    wire,
};

/// What `delete` after a crash shows, wherever it came.
const CLEANED: &[Lie] = &[Lie::DeleteFails, Lie::DeleteSilent, Lie::LeftProcess, Lie::LeftCgroup, Lie::ShimUndead];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "crash/shim-before-create",
        clause: &life::CRASH,
        needs: &[],
        notices: &[Lie::LeftProcess, Lie::ShimUndead],
        body: Body::Example(|lab| Box::pin(shim_before_create(lab))),
    },
    Check {
        id: "crash/shim-with-created",
        clause: &life::CRASH,
        needs: &[],
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(shim_with_created(lab))),
    },
    Check {
        id: "crash/shim-with-running",
        clause: &life::CRASH,
        needs: &[],
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(shim_with_running(lab))),
    },
    Check {
        id: "crash/shim-during-create",
        clause: &life::CRASH,
        needs: &[],
        notices: &[Lie::LeftProcess, Lie::LeftCgroup, Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(shim_during_create(lab))),
    },
    Check {
        id: "crash/shim-during-start",
        clause: &life::CRASH,
        needs: &[],
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(shim_during_start(lab))),
    },
    Check {
        id: "crash/shim-during-exec",
        clause: &life::CRASH,
        needs: &[],
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(shim_during_exec(lab))),
    },
    Check {
        id: "crash/shim-during-delete",
        clause: &life::CRASH,
        needs: &[],
        notices: &[Lie::LeftProcess, Lie::LeftCgroup, Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(shim_during_delete(lab))),
    },
    Check {
        id: "crash/shim-of-group",
        clause: &life::CRASH,
        needs: &[],
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(shim_of_group(lab))),
    },
    Check {
        id: "crash/id-is-free",
        clause: &life::CRASH,
        needs: &[],
        notices: &[Lie::StartFails, Lie::DeleteFails, Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(id_is_free(lab))),
    },
    Check {
        id: "crash/init",
        clause: &life::KILLED,
        needs: &[],
        notices: &[
            Lie::ExitStatus(Method::Wait),
            Lie::EventExit(Topic::Exit),
            Lie::Dropped(Topic::Exit),
            Lie::State(Status::Running),
        ],
        body: Body::Example(|lab| Box::pin(init(lab))),
    },
    Check {
        id: "crash/exec",
        clause: &life::KILLED,
        needs: &[],
        notices: &[
            Lie::ExitStatus(Method::Wait),
            Lie::EventExit(Topic::Exit),
            Lie::Dropped(Topic::Exit),
            Lie::State(Status::Stopped),
        ],
        body: Body::Example(|lab| Box::pin(exec(lab))),
    },
    Check {
        id: "crash/frozen-shim",
        clause: &life::FROZEN,
        needs: &[],
        notices: &[Lie::Unanswered(Method::State), Lie::ExitStatus(Method::Wait), Lie::Dropped(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(frozen_shim(lab))),
    },
    Check {
        id: "crash/neighbour",
        clause: &life::NEIGHBOURS,
        needs: &[],
        notices: &[Lie::State(Status::Stopped), Lie::Refused(Method::Exec), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(neighbour(lab))),
    },
    Check {
        id: "crash/log-full",
        clause: &life::LOG_FULL,
        needs: &[],
        notices: &[Lie::Refused(Method::Exec), Lie::Unanswered(Method::Delete)],
        body: Body::Example(|lab| Box::pin(log_full(lab))),
    },
];

/// Kills the shim and waits until it is gone.
async fn kill_shim(container: &Container<'_>) -> Result<(), Stop> {
    container.signal_shim(Signal::SIGKILL)?;
    container.shim_gone(NOTICE).await
}

/// `delete` and the removal of the bundle, as containerd does when a shim's connection has ended; then nothing is left. Of a socket file
/// nobody is accused: the shim that could have removed it is dead, and the next `start` replaces it.
async fn cleaned(lab: &Lab, container: &Container<'_>) -> Result<Exit, Stop> {
    let exit = container.cleaned().await?;
    container.forget().await?;
    lab.left_nothing("the shim was killed and delete has cleaned up", NOTICE, true).await?;
    if exit.status == 0 {
        return Err(Stop::violated("delete says that a killed container ended well", "a status other than 0", "0"));
    }
    Ok(exit)
}

/// The shim serves and has no container yet. What `delete` says of one that never was is judged elsewhere.
async fn shim_before_create(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    kill_shim(&container).await?;
    container.execute_delete().await?;
    container.forget().await?;
    lab.left_nothing("the shim was killed and delete has cleaned up", NOTICE, true).await
}

/// A created container, whose init waits for its start.
async fn shim_with_created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    kill_shim(&task).await?;
    cleaned(lab, &task).await?;
    Ok(())
}

/// A running container that ignores every signal but SIGKILL, with an exec.
async fn shim_with_running(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::ignores_signals())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    exec.start().await?;
    kill_shim(&task).await?;
    cleaned(lab, &task).await?;
    Ok(())
}

/// The shim dies with Create on the wire: the runtime may be at work, and nobody knows how far it gets.
async fn shim_during_create(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let creating = lab.begin(container.create_request()?).await?;
    kill_shim(&container).await?;
    creating.answer().await?;
    container.execute_delete().await?;
    container.forget().await?;
    lab.left_nothing("the shim was killed in Create and delete has cleaned up", NOTICE, true).await
}

/// The shim dies with Start on the wire.
async fn shim_during_start(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let starting = task.begin(Method::Start).await?;
    kill_shim(&task).await?;
    starting.answer().await?;
    cleaned(lab, &task).await?;
    Ok(())
}

/// The shim dies with the Start of an exec on the wire.
async fn shim_during_exec(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let starting = exec.begin(Method::Start).await?;
    kill_shim(&task).await?;
    starting.answer().await?;
    cleaned(lab, &task).await?;
    Ok(())
}

/// The shim dies with Delete on the wire.
async fn shim_during_delete(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    let deleting = task.begin(Method::Delete).await?;
    kill_shim(&task).await?;
    deleting.answer().await?;
    task.cleaned().await?;
    task.forget().await?;
    lab.left_nothing("the shim was killed in Delete and delete has cleaned up", NOTICE, true).await
}

/// One shim of two containers: each is taken away by its own `delete`, and neither by that of the other.
async fn shim_of_group(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.run(Order::new(program::sleeps()).id("app").group("pod")).await?;
    kill_shim(&first).await?;
    first.cleaned().await?;
    first.forget().await?;
    cleaned(lab, &second).await?;
    Ok(())
}

/// After crash and `delete` the same id lives a whole life.
async fn id_is_free(lab: &Lab) -> Result<(), Stop> {
    let order = |program| Order::new(program).id("again");
    let first = lab.run(order(program::sleeps())).await?;
    kill_shim(&first).await?;
    first.cleaned().await?;
    first.forget().await?;
    let second = lab.run(order(program::exits_with(4))).await?;
    second.wait().await?.reports(4)?;
    second.remove().await
}

/// SIGKILL of a process from outside is told as 137, at once.
async fn told(lab: &Lab, task: &Container<'_>, process: &Process<'_>, pid: u32) -> Result<Exit, Stop> {
    let waiting = process.begin(Method::Wait).await?;
    task.kill_from_outside(pid)?;
    let exit = waiting.answer_within(lab.scaled(NOTICE), "the process was killed").await?.exit("Wait")?.reports(137)?;
    let event = process.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    process.is(Status::Stopped).await?;
    Ok(exit)
}

/// Init is killed from outside.
async fn init(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let pid = task.start().await?;
    let exit = told(lab, &task, &task, pid).await?;
    task.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// An exec is killed from outside; init lives on.
async fn exec(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let pid = exec.start().await?;
    let exit = told(lab, &task, &exec, pid).await?;
    exec.delete().await?.agrees(exit, "Wait")?;
    task.is(Status::Running).await?;
    Ok(())
}

/// While the shim is stopped a call comes in and init dies.
async fn frozen_shim(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let pid = task.start().await?;
    task.signal_shim(Signal::SIGSTOP)?;
    let asking = task.begin(Method::State).await?;
    task.kill_from_outside(pid)?;
    task.signal_shim(Signal::SIGCONT)?;
    asking.answer_within(lab.scaled(NOTICE), "the shim goes on").await?.done("State")?;
    let exit = task
        .begin(Method::Wait)
        .await?
        .answer_within(lab.scaled(NOTICE), "init was killed")
        .await?
        .exit("Wait")?
        .reports(137)?;
    let event = task.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    Ok(())
}

/// One container of a group is killed and deleted; the other one runs on and takes an exec.
async fn neighbour(lab: &Lab) -> Result<(), Stop> {
    let first = lab.create(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let pid = first.start().await?;
    let second = lab.run(Order::new(program::sleeps()).id("app").group("pod")).await?;
    let exit = told(lab, &first, &first, pid).await?;
    first.delete().await?.agrees(exit, "Wait")?;
    first.cleaned().await?;
    first.forget().await?;
    second.is(Status::Running).await?;
    let exec = second.exec("e", &program::exits_with(2), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?.reports(2)?;
    Ok(())
}

/// containerd holds the log FIFO open and does not read it, while forty execs come and go.
async fn log_full(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    lab.obey(wire::Order::DrainLogs(false)).await?;
    let execs = async {
        for number in 0..40 {
            let exec = task.exec(&format!("e{number}"), &program::exits_with(0), Wiring::Null).await?;
            exec.start().await?;
            exec.wait().await?.reports(0)?;
            exec.delete().await?;
        }
        task.is(Status::Running).await.map(drop)
    };
    let patience = lab.scaled(Duration::from_secs(20));
    let ended = tokio::time::timeout(patience, execs).await;
    lab.obey(wire::Order::DrainLogs(true)).await?;
    ended.unwrap_or_else(|_| {
        Err(Stop::violated(
            "calls wait for somebody to read the log",
            format!("forty execs within {} ms", patience.as_millis()),
            "longer",
        ))
    })
}
