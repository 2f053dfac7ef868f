//! containerd is killed at every step and comes back.
//!
//! The first table crosses the calls of a life with the moments before, during and after each. "During" means: the request is on the wire
//! and nobody is left to hear the answer. Whether the call was carried out is then open, and both are right; what must not happen is a
//! life that cannot be continued.

use std::time::Duration;

use super::restart_life::{Moment, Step, cut, cut_start};
use crate::{
    check::{Body, Check, Need, Stop},
    contract::life,
    history::{Answer, Code, Method, Status, Topic},
    lab::{Container, Lab, NOTICE, Order, program, stdio::Wiring},
    lie::Lie,
    wire::{self, EventsMode},
};

/// One crossing of a call and a moment.
macro_rules! crossing {
    ($id:literal, $moment:ident, $step:ident, $notices:expr) => {
        Check {
            id: $id,
            clause: &life::CUT_SHORT,
            needs: &[],
            notices: $notices,
            body: Body::Example(|lab| Box::pin(cut(lab, Moment::$moment, Step::$step))),
        }
    };
}

/// What every life that goes on to its end shows.
const WHOLE_LIFE: &[Lie] =
    &[Lie::NotFoundAgain, Lie::ExitStatus(Method::Wait), Lie::ExitStatus(Method::Delete), Lie::ShimUndead];
/// A life of which nothing may have come.
const MAYBE_NOTHING: &[Lie] = &[Lie::NotFoundAgain, Lie::ShimUndead];
/// A Delete whose answer nobody heard.
const DELETE_UNHEARD: &[Lie] = &[Lie::NotFoundAgain, Lie::ExitStatus(Method::Wait), Lie::ShimUndead];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "restart/before-start-action",
        clause: &life::START_CUT_SHORT,
        needs: &[],
        notices: &[Lie::StartFails, Lie::LeftProcess],
        body: Body::Example(|lab| Box::pin(cut_start(lab, Moment::Before))),
    },
    Check {
        id: "restart/during-start-action",
        clause: &life::START_CUT_SHORT,
        needs: &[],
        notices: &[Lie::StartFails, Lie::LeftProcess],
        body: Body::Example(|lab| Box::pin(cut_start(lab, Moment::During))),
    },
    crossing!("restart/before-create", Before, Create, WHOLE_LIFE),
    crossing!("restart/during-create", During, Create, MAYBE_NOTHING),
    crossing!("restart/after-create", After, Create, WHOLE_LIFE),
    crossing!("restart/before-start", Before, Start, WHOLE_LIFE),
    crossing!("restart/during-start", During, Start, WHOLE_LIFE),
    crossing!("restart/after-start", After, Start, WHOLE_LIFE),
    crossing!("restart/before-exec", Before, Exec, WHOLE_LIFE),
    crossing!("restart/during-exec", During, Exec, WHOLE_LIFE),
    crossing!("restart/after-exec", After, Exec, WHOLE_LIFE),
    crossing!("restart/before-wait", Before, Wait, WHOLE_LIFE),
    crossing!("restart/during-wait", During, Wait, WHOLE_LIFE),
    crossing!("restart/before-kill", Before, Kill, WHOLE_LIFE),
    crossing!("restart/during-kill", During, Kill, WHOLE_LIFE),
    crossing!("restart/after-kill", After, Kill, WHOLE_LIFE),
    crossing!("restart/before-delete", Before, Delete, WHOLE_LIFE),
    crossing!("restart/during-delete", During, Delete, DELETE_UNHEARD),
    crossing!("restart/after-delete", After, Delete, WHOLE_LIFE),
    Check {
        id: "restart/exit-remembered",
        clause: &life::EXIT_REMEMBERED,
        needs: &[],
        notices: &[
            Lie::State(Status::Running),
            Lie::ExitStatus(Method::Wait),
            Lie::ExitTime(Method::Delete),
            Lie::ExitStatus(Method::State),
        ],
        body: Body::Example(|lab| Box::pin(exit_remembered(lab))),
    },
    Check {
        id: "restart/exit-announced",
        clause: &life::EXIT_ANNOUNCED,
        needs: &[],
        notices: &[Lie::Dropped(Topic::Exit), Lie::EventExit(Topic::Exit), Lie::EventPid(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(exit_announced(lab))),
    },
    Check {
        id: "restart/stopped-task",
        clause: &life::EXIT_REMEMBERED,
        needs: &[],
        notices: &[Lie::State(Status::Running), Lie::ExitStatus(Method::Delete), Lie::NotFoundAgain],
        body: Body::Example(|lab| Box::pin(stopped_task(lab))),
    },
    Check {
        id: "restart/twice",
        clause: &life::REATTACH,
        needs: &[],
        notices: &[Lie::State(Status::Stopped), Lie::NotFoundAgain, Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(twice(lab))),
    },
    Check {
        id: "restart/three-containers",
        clause: &life::REATTACH,
        needs: &[],
        notices: &[Lie::State(Status::Stopped), Lie::NotFoundAgain, Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(three_containers(lab))),
    },
    Check {
        id: "restart/group",
        clause: &life::REATTACH,
        needs: &[],
        notices: &[Lie::NotFoundAgain, Lie::State(Status::Stopped), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(group(lab))),
    },
    Check {
        id: "restart/paused",
        clause: &life::REATTACH,
        needs: &[Need::Freezer],
        notices: &[Lie::State(Status::Running), Lie::Refused(Method::Resume), Lie::NotFoundAgain],
        body: Body::Example(|lab| Box::pin(paused(lab))),
    },
    Check {
        id: "restart/stdio-continues",
        clause: &life::STDIO_CONTINUES,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled, Lie::NotFoundAgain],
        body: Body::Example(|lab| Box::pin(stdio_continues(lab))),
    },
    Check {
        id: "restart/events-refused",
        clause: &life::EVENTS_AWAY,
        needs: &[],
        notices: &[Lie::Unanswered(Method::Create), Lie::Unanswered(Method::Exec), Lie::Refused(Method::Delete)],
        body: Body::Example(|lab| Box::pin(without_events(lab, EventsMode::Refuse))),
    },
    Check {
        id: "restart/events-stalled",
        clause: &life::EVENTS_AWAY,
        needs: &[],
        notices: &[Lie::Unanswered(Method::Create), Lie::Unanswered(Method::Exec), Lie::Refused(Method::Delete)],
        body: Body::Example(|lab| Box::pin(without_events(lab, EventsMode::Stall))),
    },
];

/// Kills containerd and starts the next one.
async fn restart(lab: &Lab) -> Result<(), Stop> {
    lab.kill_containerd().await?;
    lab.start_containerd().await?;
    Ok(())
}

/// The containerd that serves now has found `task`, whose init is `pid`, in `status`.
async fn found(lab: &Lab, task: &Container<'_>, pid: u32, status: Status) -> Result<(), Stop> {
    let connect = lab.reattached(task)?;
    let state = task.is(status).await?;
    if connect.task_pid == Some(pid) && state.pid == Some(pid) {
        return Ok(());
    }
    Err(Stop::violated(
        format!("after a restart {} has another init", task.target()),
        pid.to_string(),
        format!("Connect says {:?}, State says {:?}", connect.task_pid, state.pid),
    ))
}

/// A running task whose init is killed while nobody plays containerd.
async fn ended_meanwhile(lab: &Lab) -> Result<(Container<'_>, u32), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let pid = task.start().await?;
    lab.kill_containerd().await?;
    task.kill_from_outside(pid)?;
    lab.start_containerd().await?;
    lab.reattached(&task)?;
    Ok((task, pid))
}

/// State, Wait and Delete tell the next containerd of an exit that the former one missed.
async fn exit_remembered(lab: &Lab) -> Result<(), Stop> {
    let (task, _) = ended_meanwhile(lab).await?;
    let exit = task
        .begin(Method::Wait)
        .await?
        .answer_within(lab.scaled(NOTICE), "init was killed before")
        .await?
        .exit("Wait")?
        .reports(137)?;
    let stopped = task.is(Status::Stopped).await?;
    stopped
        .exit
        .ok_or_else(|| Stop::violated("State tells no exit", "the exit of Wait", "none"))?
        .agrees(exit, "Wait")?;
    task.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// The event of an exit that happened meanwhile arrives.
async fn exit_announced(lab: &Lab) -> Result<(), Stop> {
    // containerd-shim-runc-v2 tries again after 1, 2, 3, 4 and 5 seconds.
    const PATIENCE: Duration = Duration::from_secs(10);
    let (task, pid) = ended_meanwhile(lab).await?;
    let exit = task.wait().await?.reports(137)?;
    let event = task.announced(Topic::Exit, PATIENCE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    if event.pid == pid {
        return Ok(());
    }
    Err(Stop::violated("the exit event names another process than Start", pid.to_string(), event.pid.to_string()))
}

/// A task that ended before containerd died is still there, with its exit, and no process of it is listed.
async fn stopped_task(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(9))).await?;
    let exit = task.wait().await?.reports(9)?;
    restart(lab).await?;
    lab.reattached(&task)?;
    match task.call(Method::Pids).await? {
        Answer::Done(reply) if reply.processes.is_empty() => {}
        Answer::Done(reply) => {
            let actual = format!("{:?}", reply.processes);
            return Err(Stop::violated("Pids lists processes of a stopped task", "none", actual));
        }
        refused @ (Answer::Refused { .. } | Answer::Lost(_)) => {
            refused.refused("Pids of a stopped task", &[Code::NotFound])?;
        }
    }
    task.is(Status::Stopped).await?;
    task.wait().await?.agrees(exit, "the Wait before the restart")?;
    task.delete().await?.agrees(exit, "the Wait before the restart")?;
    Ok(())
}

/// Two restarts in a row.
async fn twice(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let pid = task.start().await?;
    for _ in 0..2 {
        restart(lab).await?;
        found(lab, &task, pid, Status::Running).await?;
    }
    task.end().await?;
    task.remove().await
}

/// Three containers, each with a shim of its own, and an exec in the second.
async fn three_containers(lab: &Lab) -> Result<(), Stop> {
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let task = lab.create(Order::new(program::sleeps())).await?;
        let pid = task.start().await?;
        tasks.push((task, pid));
    }
    let exec = tasks[1].0.exec("e", &program::sleeps(), Wiring::Null).await?;
    let exec_pid = exec.start().await?;
    restart(lab).await?;
    for (task, pid) in &tasks {
        found(lab, task, *pid, Status::Running).await?;
    }
    let running = exec.is(Status::Running).await?;
    if running.pid != Some(exec_pid) {
        return Err(Stop::violated(
            "after a restart the exec is another process",
            exec_pid.to_string(),
            format!("{:?}", running.pid),
        ));
    }
    exec.end().await?;
    exec.delete().await?.reports(137)?;
    Ok(())
}

/// Two containers of one shim: both are found behind one process, and the end of one leaves the other.
async fn group(lab: &Lab) -> Result<(), Stop> {
    let mut tasks = Vec::new();
    for id in ["pod", "app"] {
        let order = Order::new(program::sleeps()).id(id).group("pod");
        let task = lab.create(order).await?;
        let pid = task.start().await?;
        tasks.push((task, pid));
    }
    restart(lab).await?;
    let shim = tasks[0].0.shim()?.pid;
    for (task, pid) in &tasks {
        let connect = lab.reattached(task)?;
        if connect.shim_pid != Some(shim) {
            return Err(Stop::violated(
                "members of a group have different shims",
                shim.to_string(),
                format!("{:?} for {}", connect.shim_pid, task.target()),
            ));
        }
        found(lab, task, *pid, Status::Running).await?;
    }
    tasks[1].0.end().await?;
    tasks[1].0.delete().await?.reports(137)?;
    tasks[0].0.is(Status::Running).await?;
    Ok(())
}

/// A paused task is found paused and can be resumed.
async fn paused(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let pid = task.start().await?;
    task.call(Method::Pause).await?.done("Pause")?;
    restart(lab).await?;
    found(lab, &task, pid, Status::Paused).await?;
    task.call(Method::Resume).await?.done("Resume after a restart")?;
    task.is(Status::Running).await?;
    Ok(())
}

/// What is written while containerd is away is read at once, and after it came back.
async fn stdio_continues(lab: &Lab) -> Result<(), Stop> {
    let order = Order::new(program::echoes()).wired(Wiring::All);
    let task = lab.run(order).await?;
    let streams = task.streams();
    let echoed = async |text: &'static [u8], what: &'static str| {
        streams.stdout.until(lab, Duration::from_secs(5), what, |seen| seen == text).await
    };
    lab.kill_containerd().await?;
    streams.write(b"away;")?;
    echoed(b"away;", "the echo of what was written while containerd was away").await?;
    lab.start_containerd().await?;
    lab.reattached(&task)?;
    streams.write(b"back;")?;
    echoed(b"away;back;", "the echo of what was written afterwards").await?;
    Ok(())
}

/// A life while the events service is as `mode` says. Every call is answered, and all of them within the time of one attempt to publish.
async fn without_events(lab: &Lab, mode: EventsMode) -> Result<(), Stop> {
    let whole = lab.scaled(Duration::from_secs(5));
    let task = lab.serve(Order::new(program::sleeps())).await?;
    lab.obey(wire::Order::Events(mode)).await?;
    let calls = async {
        task.create().await?;
        task.start().await?;
        let exec = task.exec("e", &program::exits_with(0), Wiring::Null).await?;
        exec.start().await?;
        exec.wait().await?.reports(0)?;
        exec.delete().await?;
        task.is(Status::Running).await?;
        task.end().await?;
        task.delete().await?.reports(137)?;
        Ok(())
    };
    let ended = tokio::time::timeout(whole, calls).await;
    // The rest of the world's end is not what is judged here.
    lab.obey(wire::Order::Events(EventsMode::Serve)).await?;
    ended.unwrap_or_else(|_| {
        Err(Stop::violated(
            "calls wait for the events service",
            format!("Create to Delete within {} ms", whole.as_millis()),
            "longer",
        ))
    })
}
