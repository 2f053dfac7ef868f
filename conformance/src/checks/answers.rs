//! What answers hold, and how soon they come.

use std::time::Duration;

use crate::{
    check::{Body, Check, Need, Stop},
    contract::{exec, task},
    history::{Answer, Exit, Method, Reply, Status, Topic},
    lab::{
        Container, Lab, NOTICE, Order, Process,
        message::{self, Stdio},
        program,
        stdio::Wiring,
    },
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "task/delete-tells",
        clause: &task::DELETE_TELLS,
        needs: &[],
        notices: &[Lie::Pid(Method::Delete), Lie::ExitStatus(Method::Delete), Lie::ExitTime(Method::Delete)],
        body: Body::Example(|lab| Box::pin(delete_tells(lab))),
    },
    Check {
        id: "exec/delete-tells",
        clause: &exec::LIFE,
        needs: &[],
        notices: &[Lie::Pid(Method::Delete), Lie::ExitStatus(Method::Delete), Lie::ExitTime(Method::Delete)],
        body: Body::Example(|lab| Box::pin(exec_delete_tells(lab))),
    },
    Check {
        id: "task/pids-details",
        clause: &task::PIDS_DETAILS,
        needs: &[],
        notices: &[Lie::PidsEmpty],
        body: Body::Example(|lab| Box::pin(pids_details(lab))),
    },
    Check {
        id: "task/pids-of-living",
        clause: &task::PIDS_OF_LIVING,
        needs: &[],
        notices: &[Lie::PidsEmpty, Lie::Refused(Method::Pids)],
        body: Body::Example(|lab| Box::pin(pids_of_living(lab))),
    },
    Check {
        id: "task/looks-change-nothing",
        clause: &task::LOOKS,
        needs: &[],
        notices: &[Lie::State(Status::Created), Lie::Broken(Method::Stats), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(looks_change_nothing(lab))),
    },
    Check {
        id: "task/failure-says-why",
        clause: &task::FAILURE_SAYS_WHY,
        needs: &[],
        notices: &[Lie::Accepted(Method::State), Lie::Accepted(Method::Start)],
        body: Body::Example(|lab| Box::pin(failure_says_why(lab))),
    },
    Check {
        id: "task/state-in-time",
        clause: &task::STATE_IN_TIME,
        needs: &[],
        notices: &[Lie::Unanswered(Method::State), Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(state_in_time(lab))),
    },
    Check {
        id: "task/wait-blocks-nobody",
        clause: &task::WAIT_BLOCKS_NOBODY,
        needs: &[],
        notices: &[Lie::Unanswered(Method::Start), Lie::Refused(Method::Wait), Lie::ExitTime(Method::Delete)],
        body: Body::Example(|lab| Box::pin(wait_blocks_nobody(lab))),
    },
    Check {
        id: "task/without-options",
        clause: &task::WITHOUT_OPTIONS,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(without_options(lab))),
    },
    Check {
        id: "task/after-failed-create",
        clause: &task::AFTER_FAILED_CREATE,
        needs: &[],
        notices: &[Lie::ShimUndead, Lie::Broken(Method::Delete), Lie::Refused(Method::Shutdown)],
        body: Body::Example(|lab| Box::pin(after_failed_create(lab))),
    },
    Check {
        id: "task/empty-id",
        clause: &task::ANY_ID,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(odd_id(lab, ""))),
    },
    Check {
        id: "task/very-long-id",
        clause: &task::ANY_ID,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(async { odd_id(lab, &"x".repeat(300)).await })),
    },
    Check {
        id: "task/id-with-a-slash",
        clause: &task::ANY_ID,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(odd_id(lab, "a/b"))),
    },
    Check {
        id: "task/id-with-a-space",
        clause: &task::ANY_ID,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(odd_id(lab, "a b"))),
    },
    Check {
        id: "task/id-like-an-option",
        clause: &task::ANY_ID,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(odd_id(lab, "--all"))),
    },
];

/// What containerd gives a State (`io.containerd.timeout.task.state`).
const STATE: Duration = Duration::from_secs(2);
/// As many as many clients.
const WAITERS: usize = 50;

/// Expects that Delete names the process and its end.
async fn tells(process: &Process<'_>, pid: u32, exit: Exit) -> Result<(), Stop> {
    let Reply { pid: told, exit: end, .. } = *process.call(Method::Delete).await?.done("Delete")?;
    end.ok_or_else(|| Stop::violated("Delete tells no exit", "the exit of Wait", "none"))?.agrees(exit, "Wait")?;
    if told == Some(pid) {
        return Ok(());
    }
    Err(Stop::violated("Delete names another process than Start", pid.to_string(), format!("{told:?}")))
}

/// Delete of a task.
async fn delete_tells(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::exits_with(7))).await?;
    let pid = task.start().await?;
    let exit = task.wait().await?.reports(7)?;
    tells(&task, pid, exit).await
}

/// Delete of an exec.
async fn exec_delete_tells(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::exits_with(9), Wiring::Null).await?;
    let pid = exec.start().await?;
    let exit = exec.wait().await?.reports(9)?;
    tells(&exec, pid, exit).await
}

/// The process of an exec bears its id.
async fn pids_details(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let pid = exec.start().await?;
    let processes = task.call(Method::Pids).await?.done("Pids")?.processes;
    if processes.iter().any(|process| process.pid == pid && process.exec.as_deref() == Some("e")) {
        return Ok(());
    }
    let expected = format!("process {pid} as exec e");
    Err(Stop::violated("Pids does not say which process is the exec", expected, format!("{processes:?}")))
}

/// Created, running and paused tasks have a process.
async fn pids_of_living(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let init = task.create().await?;
    lists(&task, init, Status::Created).await?;
    task.start().await?;
    lists(&task, init, Status::Running).await?;
    if lab.job().lacks(Need::Freezer).is_none() {
        task.call(Method::Pause).await?.done("Pause")?;
        lists(&task, init, Status::Paused).await?;
    }
    Ok(())
}

async fn lists(task: &Container<'_>, init: u32, status: Status) -> Result<(), Stop> {
    task.is(status).await?;
    let processes = task.call(Method::Pids).await?.done("Pids")?.processes;
    if processes.iter().any(|process| process.pid == init) {
        return Ok(());
    }
    let happened = format!("Pids of a task that is {status:?} does not list its init");
    Err(Stop::violated(happened, format!("process {init}"), format!("{processes:?}")))
}

/// Looking at a task in each state that lasts leaves it there.
async fn looks_change_nothing(lab: &Lab) -> Result<(), Stop> {
    const LOOKS: [Method; 4] = [Method::State, Method::Pids, Method::Stats, Method::Connect];
    let task = lab.create(Order::new(program::sleeps())).await?;
    for status in [Status::Created, Status::Running, Status::Stopped] {
        let before = task.is(status).await?;
        for method in LOOKS {
            if let answer @ Answer::Lost(_) = task.call(method).await? {
                answer.done(&format!("{method} of a task that is {status:?}"))?;
            }
        }
        let after = task.is(status).await?;
        if after != before {
            let happened = format!("looking at a task that is {status:?} changed it");
            return Err(Stop::violated(happened, format!("{before:?}"), format!("{after:?}")));
        }
        match status {
            Status::Created => task.start().await.map(drop)?,
            Status::Running => task.end().await.map(drop)?,
            Status::Stopped | Status::Paused | Status::Pausing | Status::Unknown => {}
        }
    }
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive", "a living shim", "none"))
}

/// Refusals of several kinds have a text each.
async fn failure_says_why(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let nobody = task.container_named("nobody");
    let exec = task.exec("e", &program::missing(), Wiring::Null).await?;
    let calls = [
        ("State of an unknown container", nobody.call(Method::State).await?),
        ("Start of a running task", task.call(Method::Start).await?),
        ("Delete of a running task", task.call(Method::Delete).await?),
        ("Start of an exec without a program", exec.call(Method::Start).await?),
    ];
    for (what, answer) in calls {
        match answer {
            Answer::Refused { message, .. } if message.trim().is_empty() => {
                return Err(Stop::violated(format!("{what} is refused without a word"), "a text", "none"));
            }
            answer @ (Answer::Done(_) | Answer::Refused { .. } | Answer::Lost(_)) => answer.declined(what)?,
        }
    }
    Ok(())
}

/// State while fifty wait, the output is full and the task is frozen.
async fn state_in_time(lab: &Lab) -> Result<(), Stop> {
    let gate = lab.gate("full")?;
    let floods = program::behind("full", &program::floods(1 << 20));
    let task = lab.run(Order::new(floods).wired(Wiring::Output)).await?;
    let mut waiting = Vec::new();
    for _ in 0..WAITERS {
        waiting.push(task.begin(Method::Wait).await?);
    }
    task.streams().detach();
    gate.open()?;
    answers_state(lab, &task, Status::Running).await?;
    if lab.job().lacks(Need::Freezer).is_none() {
        task.call(Method::Pause).await?.done("Pause")?;
        answers_state(lab, &task, Status::Paused).await?;
        task.call(Method::Resume).await?.done("Resume")?;
    }
    task.kill(libc::SIGKILL).await?;
    for waiting in waiting {
        waiting.answer_within(lab.scaled(NOTICE * 2), "it was killed").await?.exit("Wait")?.reports(137)?;
    }
    // The shim may wait for a reader before it gives up what nobody read.
    task.streams().attach(lab)?;
    Ok(())
}

async fn answers_state(lab: &Lab, task: &Container<'_>, status: Status) -> Result<(), Stop> {
    let pending = task.begin(Method::State).await?;
    let limit = lab.scaled(STATE);
    let reply = pending.answer_within(limit, "containerd gives it 2 s").await?.done("State")?;
    if reply.status == Some(status) {
        return Ok(());
    }
    let actual = format!("{:?}", reply.status);
    Err(Stop::violated("the task is in the wrong state", format!("{status:?}"), actual))
}

/// A whole exec lives while fifty wait for init and for it, over one connection.
async fn wait_blocks_nobody(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let (mut for_init, mut for_exec) = (Vec::new(), Vec::new());
    for _ in 0..WAITERS {
        for_init.push(task.begin(Method::Wait).await?);
        for_exec.push(exec.begin(Method::Wait).await?);
    }
    exec.start().await?;
    exec.kill(libc::SIGKILL).await?;
    let exit = exec.announced(Topic::Exit, NOTICE).await?.exit;
    for waiting in for_exec {
        let told =
            waiting.answer_within(lab.scaled(NOTICE), "the exec was killed").await?.exit("Wait")?.reports(137)?;
        told.agrees(exit.unwrap_or(told), "the exit event")?;
    }
    task.is(Status::Running).await?;
    task.kill(libc::SIGKILL).await?;
    let mut told = Vec::new();
    for waiting in for_init {
        told.push(waiting.answer_within(lab.scaled(NOTICE), "init was killed").await?.exit("Wait")?.reports(137)?);
    }
    let deleted = task.delete().await?;
    told.into_iter().try_for_each(|exit| deleted.agrees(exit, "Wait").map(drop))
}

/// A shim whose own runtime is not installed may refuse; it must not die of it.
async fn without_options(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let bundle = task.bundle().display().to_string();
    let rootfs = lab.places().rootfs.display().to_string();
    let request = message::create(task.target(), &bundle, Some(&rootfs), &Stdio::default(), &[])?;
    match lab.call(request).await? {
        Answer::Done(_) => {
            task.start().await?;
            task.end().await?;
            task.delete().await?.reports(137)?;
        }
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => answer.declined("Create without options")?,
    }
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive Create without options", "a living shim", "none"))
}

/// Create fails; Delete says that there is nothing, Shutdown ends the shim, as containerd goes on.
async fn after_failed_create(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let nowhere = lab.places().base.join("no-such-fifo").display().to_string();
    let stdio = Stdio { stdout: nowhere.clone(), stderr: nowhere, ..Stdio::default() };
    lab.call(task.create_request_wired(&stdio)?).await?.declined("Create with streams that do not exist")?;
    match task.call(Method::Delete).await? {
        Answer::Done(_) => {}
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => {
            answer.refused("Delete after a failed Create", &[crate::history::Code::NotFound])?;
        }
    }
    task.shutdown().await?;
    task.shim_gone(crate::lab::SHUTDOWN).await
}

/// Create under an id that containerd would not let through: served or refused, and the next Create works.
async fn odd_id(lab: &Lab, id: &str) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let odd = task.container_named(id);
    let bundle = task.bundle().display().to_string();
    let rootfs = lab.places().rootfs.display().to_string();
    let request = message::create(odd.target(), &bundle, Some(&rootfs), &Stdio::default(), &lab.options())?;
    match odd.request(request).await? {
        Answer::Done(_) => {
            odd.end().await?;
            odd.delete().await?.reports(137)?;
        }
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => answer.declined("Create")?,
    }
    task.create().await?;
    task.start().await?;
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive", "a living shim", "none"))
}
