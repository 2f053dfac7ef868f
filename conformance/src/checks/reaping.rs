//! Zombies and orphans.

use std::time::Duration;

use crate::{
    check::{Body, Check, Need, Stop},
    contract::reaping,
    history::{Exit, Method, Status, Topic},
    lab::{Container, Exec, Lab, NOTICE, Order, deadline, program, stdio::Wiring},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "reaping/parent",
        clause: &reaping::PARENT,
        needs: &[],
        notices: &[Lie::Parent, Lie::Pid(Method::Start)],
        body: Body::Example(|lab| Box::pin(parent(lab))),
    },
    Check {
        id: "reaping/no-zombies",
        clause: &reaping::NO_ZOMBIES,
        needs: &[],
        notices: &[Lie::Zombie],
        body: Body::Example(|lab| Box::pin(no_zombies(lab))),
    },
    Check {
        id: "reaping/orphans",
        clause: &reaping::ORPHANS,
        needs: &[Need::HostPid],
        notices: &[Lie::Zombie, Lie::Parent, Lie::Doubled(Topic::Start)],
        body: Body::Example(|lab| Box::pin(orphans(lab, 100))),
    },
    Check {
        id: "reaping/burst",
        clause: &reaping::BURST,
        needs: &[],
        notices: &[
            Lie::Dropped(Topic::Exit),
            Lie::Doubled(Topic::Exit),
            Lie::EventPid(Topic::Exit),
            Lie::EventExit(Topic::Exit),
            Lie::ExitStatus(Method::Wait),
        ],
        body: Body::Example(|lab| Box::pin(burst(lab))),
    },
    Check {
        id: "reaping/fast-exit",
        clause: &reaping::FAST_EXIT,
        needs: &[],
        notices: &[
            Lie::Refused(Method::Start),
            Lie::ExitStatus(Method::Wait),
            Lie::Swapped(Topic::Start, Topic::Exit),
            Lie::Doubled(Topic::Exit),
        ],
        body: Body::Example(|lab| Box::pin(fast_exit(lab))),
    },
    Check {
        id: "reaping/exit-of-created",
        clause: &reaping::CREATED_EXIT,
        needs: &[],
        notices: &[
            Lie::Refused(Method::Kill),
            Lie::ExitStatus(Method::Wait),
            Lie::Dropped(Topic::Exit),
            Lie::State(Status::Created),
        ],
        body: Body::Example(|lab| Box::pin(exit_of_created(lab))),
    },
    Check {
        id: "reaping/exit-of-paused",
        clause: &reaping::PAUSED_EXIT,
        needs: &[Need::Freezer],
        notices: &[
            Lie::Refused(Method::Kill),
            Lie::ExitStatus(Method::Wait),
            Lie::Dropped(Topic::Exit),
            Lie::State(Status::Paused),
        ],
        body: Body::Example(|lab| Box::pin(exit_of_paused(lab))),
    },
    Check {
        id: "reaping/a-thousand-orphans",
        clause: &reaping::DEEP_ORPHANS,
        needs: &[Need::HostPid],
        notices: &[Lie::Zombie, Lie::Parent],
        body: Body::Example(|lab| Box::pin(orphans(lab, 1000))),
    },
    Check {
        id: "reaping/whole-container",
        clause: &reaping::WHOLE_CONTAINER,
        needs: &[Need::HostPid],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::Dropped(Topic::Exit), Lie::EventExit(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(whole_container(lab))),
    },
    Check {
        id: "reaping/many-die-at-once",
        clause: &crate::contract::task::STATE_IN_TIME,
        needs: &[Need::HostPid],
        notices: &[Lie::Unanswered(Method::State), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(many_die_at_once(lab))),
    },
];

/// The kernel's word on who the parent is.
async fn parent(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let init = task.start().await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let pids = [init, exec.start().await?];
    let shim = task.shim()?.pid;
    for pid in pids {
        let parent = task.parent_of(pid)?;
        if parent != shim {
            return Err(Stop::violated(
                format!("process {pid} of the container is not the shim's child"),
                format!("parent {shim}"),
                parent.to_string(),
            ));
        }
    }
    Ok(())
}

/// Two hundred execs, eight at a time, and the runtime's own processes: nothing stays dead and unburied.
async fn no_zombies(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    for round in 0..25 {
        let mut running = Vec::new();
        for number in 0..8 {
            let exec = task.exec(&format!("e{round}-{number}"), &program::exits_with(0), Wiring::Null).await?;
            let starting = exec.begin(Method::Start).await?;
            running.push((exec, starting));
        }
        for (exec, starting) in running {
            starting.answer().await?.done("Start")?;
            exec.wait().await?;
            exec.delete().await?;
        }
    }
    task.reaps_all(NOTICE).await
}

/// A container whose program makes orphans, when it has made them.
pub(super) async fn orphaned(lab: &Lab, order: Order) -> Result<Container<'_>, Stop> {
    let task = lab.run(order.wired(Wiring::Output)).await?;
    let stdout = &task.streams().stdout;
    stdout.until(lab, Duration::from_secs(10), "the word `orphaned`", |seen| seen.starts_with(b"orphaned")).await?;
    Ok(task)
}

/// Orphans fall to the shim and die together.
async fn orphans(lab: &Lab, count: u32) -> Result<(), Stop> {
    let task = orphaned(lab, Order::new(program::orphans(count)).host_pid()).await?;
    let count = usize::try_from(count).map_err(anyhow::Error::from)?;
    let children = task.children()?.len();
    if children <= count {
        return Err(Stop::violated(
            "orphans of the container do not fall to the shim",
            format!("init and {count} orphans as children of the shim"),
            format!("{children} children"),
        ));
    }
    task.kill(libc::SIGUSR1).await?;
    let gone = deadline::until(lab.scaled(NOTICE * 5), || match task.children() {
        Ok(children) => (children.len() < count / 2).then_some(Ok(())),
        Err(e) => Some(Err(e)),
    });
    gone.await.ok_or_else(|| Stop::Error("the orphans do not end".to_owned()))??;
    task.reaps_all(NOTICE).await?;
    // What might be told of orphans would come before init's exit.
    let waiting = task.begin(Method::Wait).await?;
    task.kill(libc::SIGKILL).await?;
    waiting.answer_within(lab.scaled(NOTICE * 5), "init has been killed").await?.exit("Wait")?.reports(137)?;
    task.announced(Topic::Exit, NOTICE).await?;
    let exits = [Topic::Create, Topic::Start, Topic::Exit];
    task.announces(&exits, NOTICE).await
}

/// Thirty execs with different statuses end in the same instant.
async fn burst(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let gate = lab.gate("burst")?;
    let mut starting = Vec::new();
    for status in 1..=30_u8 {
        let program = program::behind("burst", &program::exits_with(status));
        let exec = task.exec(&format!("e{status}"), &program, Wiring::Null).await?;
        let pending = exec.begin(Method::Start).await?;
        starting.push((status, exec, pending));
    }
    let mut running = Vec::new();
    for (status, exec, pending) in starting {
        let pid = pending.answer().await?.done("Start")?.pid.unwrap_or(0);
        running.push((u32::from(status), exec, pid));
    }
    gate.open()?;
    let mut ended: Vec<(Exec<'_>, u32, Exit)> = Vec::new();
    for (status, exec, pid) in running {
        let exit = exec.wait().await?.reports(status)?;
        ended.push((exec, pid, exit));
    }
    for (exec, pid, exit) in ended {
        let event = exec.announced(Topic::Exit, NOTICE).await?;
        event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
        if event.pid != pid {
            return Err(Stop::violated(
                format!("the exit of {} names another process than Start", exec.target()),
                pid.to_string(),
                event.pid.to_string(),
            ));
        }
        exec.announces(&[Topic::ExecAdded, Topic::ExecStarted, Topic::Exit], NOTICE).await?;
        exec.delete().await?.agrees(exit, "Wait")?;
    }
    Ok(())
}

/// Five inits of one shim, each of which ends at once.
async fn fast_exit(lab: &Lab) -> Result<(), Stop> {
    for status in 1..=5 {
        let order = Order::new(program::exits_with(status));
        let task = lab.create(order.id(&format!("fast{status}")).group("fast1")).await?;
        task.start().await?;
        let exit = task.wait().await?.reports(u32::from(status))?;
        task.announces(&[Topic::Create, Topic::Start, Topic::Exit], NOTICE).await?;
        task.delete().await?.agrees(exit, "Wait")?;
    }
    Ok(())
}

/// Create, Kill.
async fn exit_of_created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    ends_by_kill(lab, &task).await
}

/// Pause, Kill.
async fn exit_of_paused(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    ends_by_kill(lab, &task).await
}

async fn ends_by_kill(lab: &Lab, task: &Container<'_>) -> Result<(), Stop> {
    let waiting = task.begin(Method::Wait).await?;
    task.kill(libc::SIGKILL).await?;
    let exit = waiting.answer_within(lab.scaled(NOTICE), "init has been killed").await?.exit("Wait")?.reports(137)?;
    let event = task.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    task.is(Status::Stopped).await?;
    task.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// Init of a container that shares the world's pids is killed: its orphans and its exec end with it.
async fn whole_container(lab: &Lab) -> Result<(), Stop> {
    let task = orphaned(lab, Order::new(program::orphans(20)).host_pid()).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    exec.start().await?;
    let waiting = exec.begin(Method::Wait).await?;
    task.end().await?;
    let exit = waiting.answer_within(lab.scaled(NOTICE), "init has ended").await?.exit("Wait")?.reports(137)?;
    exec.announced(Topic::Exit, NOTICE).await?.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    let alone = deadline::until(lab.scaled(NOTICE * 2), || match task.children() {
        Ok(children) => children.is_empty().then_some(Ok(())),
        Err(e) => Some(Err(e)),
    });
    match alone.await {
        Some(looked) => Ok(looked?),
        None => {
            let actual = format!("processes {:?}", task.children()?);
            Err(Stop::violated("processes of a container outlive its init", "none", actual))
        }
    }
}

/// While hundreds of orphans die in the same instant State is answered, and an exec's end is noticed.
async fn many_die_at_once(lab: &Lab) -> Result<(), Stop> {
    /// What containerd gives a State.
    const STATE: Duration = Duration::from_secs(2);
    let task = orphaned(lab, Order::new(program::orphans(300)).host_pid()).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    exec.start().await?;
    let waiting = exec.begin(Method::Wait).await?;
    task.kill(libc::SIGUSR1).await?;
    for _ in 0..5 {
        let pending = task.begin(Method::State).await?;
        pending.answer_within(lab.scaled(STATE), "many processes die").await?.done("State")?;
    }
    exec.kill(libc::SIGKILL).await?;
    waiting.answer_within(lab.scaled(STATE), "it was killed").await?.exit("Wait")?.reports(137)?;
    task.reaps_all(NOTICE * 5).await
}
