//! Members of sandboxes, and what becomes of a sandbox with containerd and the shim.

use nix::sys::signal::Signal;

use super::sandbox::{alive, leaves, same_pid};
use crate::{
    check::{Body, Check, Need, Stop},
    contract::sandbox,
    history::{Code, Method, Reply, SandboxFacts, Status, Topic},
    lab::{Container, Lab, NOTICE, Order, REDELIVERY, SHUTDOWN, Sandbox, Stage, program, residue, stdio::Wiring},
    lie::Lie,
};

/// What delete of a sandbox whose shim is gone shows.
const CLEANED: &[Lie] = &[Lie::DeleteFails, Lie::LeftProcess, Lie::LeftCgroup, Lie::LeftMount, Lie::ShimUndead];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "sandbox/stop-ends-members",
        clause: &sandbox::STOP_ENDS_MEMBERS,
        needs: &[],
        notices: &[
            Lie::Unanswered(Method::Wait),
            Lie::ExitStatus(Method::Wait),
            Lie::Dropped(Topic::Exit),
            Lie::State(Status::Running),
        ],
        body: Body::Example(|lab| Box::pin(stop_ends_members(lab))),
    },
    Check {
        id: "sandbox/stop-with-stubborn-member",
        clause: &sandbox::STOP_ENDS_MEMBERS,
        needs: &[],
        notices: &[Lie::Unanswered(Method::StopSandbox), Lie::State(Status::Running)],
        body: Body::Example(|lab| Box::pin(stop_with_stubborn_member(lab))),
    },
    Check {
        id: "sandbox/stop-with-paused-member",
        clause: &sandbox::STOP_ENDS_MEMBERS,
        needs: &[Need::Freezer],
        notices: &[Lie::Unanswered(Method::StopSandbox), Lie::State(Status::Paused)],
        body: Body::Example(|lab| Box::pin(stop_with_paused_member(lab))),
    },
    Check {
        id: "sandbox/no-member-before-start",
        clause: &sandbox::CLOSED,
        needs: &[],
        notices: &[Lie::Accepted(Method::Create)],
        body: Body::Example(|lab| Box::pin(no_member(lab, Stage::Created))),
    },
    Check {
        id: "sandbox/no-member-after-stop",
        clause: &sandbox::CLOSED,
        needs: &[],
        notices: &[Lie::Accepted(Method::Create)],
        body: Body::Example(|lab| Box::pin(no_member(lab, Stage::Stopped))),
    },
    Check {
        id: "sandbox/process-dies",
        clause: &sandbox::PROCESS_DIES,
        needs: &[],
        notices: &[
            Lie::Unanswered(Method::WaitSandbox),
            Lie::SandboxReady(true),
            Lie::State(Status::Stopped),
            Lie::Refused(Method::StopSandbox),
        ],
        body: Body::Example(|lab| Box::pin(process_dies(lab))),
    },
    Check {
        id: "sandbox/shutdown-with-members",
        clause: &sandbox::SHUTDOWN,
        needs: &[],
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(shutdown_with_members(lab))),
    },
    Check {
        id: "sandbox/members",
        clause: &sandbox::MEMBERS,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::ExitStatus(Method::Delete), Lie::SandboxReady(false)],
        body: Body::Example(|lab| Box::pin(members(lab))),
    },
    Check {
        id: "sandbox/member-killed",
        clause: &sandbox::MEMBERS,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::State(Status::Stopped), Lie::SandboxReady(false)],
        body: Body::Example(|lab| Box::pin(member_killed(lab))),
    },
    Check {
        id: "sandbox/exec-in-member",
        clause: &sandbox::MEMBERS,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::Refused(Method::Exec), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(exec_in_member(lab))),
    },
    Check {
        id: "sandbox/member-deleted",
        clause: &sandbox::MEMBER_DELETED,
        needs: &[],
        notices: &[Lie::Refused(Method::Delete), Lie::ExitStatus(Method::Delete), Lie::SandboxReady(false)],
        body: Body::Example(|lab| Box::pin(member_deleted(lab))),
    },
    Check {
        id: "sandbox/task-shutdown",
        clause: &sandbox::TASK_SHUTDOWN,
        needs: &[],
        notices: &[Lie::SandboxReady(false), Lie::Refused(Method::SandboxStatus), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(task_shutdown(lab))),
    },
    Check {
        id: "sandbox/task-shutdown-after-stop",
        clause: &sandbox::TASK_SHUTDOWN,
        needs: &[],
        notices: &[Lie::ShimDead, Lie::Refused(Method::SandboxStatus), Lie::Refused(Method::ShutdownSandbox)],
        body: Body::Example(|lab| Box::pin(task_shutdown_after_stop(lab))),
    },
    Check {
        id: "sandbox/containerd-restarts",
        clause: &sandbox::REATTACH,
        needs: &[],
        notices: &[
            Lie::NotFoundAgain,
            Lie::Pid(Method::State),
            Lie::SandboxReady(false),
            Lie::Unanswered(Method::WaitSandbox),
        ],
        body: Body::Example(|lab| Box::pin(containerd_restarts(lab))),
    },
    Check {
        id: "sandbox/stopped-while-containerd-is-dead",
        clause: &sandbox::REATTACH,
        needs: &[],
        notices: &[Lie::NotFoundAgain, Lie::Unanswered(Method::WaitSandbox), Lie::SandboxReady(true)],
        body: Body::Example(|lab| Box::pin(stopped_while_containerd_dies(lab))),
    },
    Check {
        id: "sandbox/crash",
        clause: &sandbox::CRASH,
        needs: &[],
        notices: CLEANED,
        body: Body::Example(|lab| Box::pin(crash(lab))),
    },
    Check {
        id: "sandbox/crash-without-members",
        clause: &sandbox::CRASH,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::LeftProcess, Lie::ShimUndead],
        body: Body::Example(|lab| Box::pin(crash_without_members(lab))),
    },
];

/// Two members run; after the stop neither does, and each end is told as that of any container.
async fn stop_ends_members(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let members = two_members(&sandbox).await?;
    sandbox.stop().await?;
    for member in &members {
        let wait = member.begin(Method::Wait).await?;
        let exit = wait.answer_within(lab.scaled(NOTICE), "its sandbox was stopped").await?.exit("Wait")?;
        let event = member.announced(Topic::Exit, NOTICE).await?;
        event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
        member.is(Status::Stopped).await?;
        member.delete().await?.agrees(exit, "Wait")?;
    }
    Ok(())
}

/// A member that hears no signal does not keep its sandbox, which gets a second to end in.
async fn stop_with_stubborn_member(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let member = sandbox.member(Order::new(program::ignores_signals())).await?;
    sandbox.stop_within(1).await?.done("StopSandbox")?;
    member.is(Status::Stopped).await?;
    Ok(())
}

/// Neither does one that is frozen.
async fn stop_with_paused_member(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let member = sandbox.member(Order::new(program::sleeps())).await?;
    member.call(Method::Pause).await?.done("Pause")?;
    sandbox.stop().await?;
    member.is(Status::Stopped).await?;
    Ok(())
}

/// Create of a member in a sandbox that does not run is refused, and makes nothing.
async fn no_member(lab: &Lab, stage: Stage) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(stage).await?;
    let member = sandbox.joined(Order::new(program::sleeps())).await?;
    lab.call(member.create_request()?).await?.declined("Create")?;
    member.call(Method::State).await?.refused("State", &[Code::NotFound])
}

/// The process of the sandbox is killed. That is seen, and the member runs until somebody stops it.
async fn process_dies(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let member = sandbox.member(Order::new(program::sleeps())).await?;
    let pid = sandbox.is_ready(true).await?.0.pid.unwrap_or(0);
    if pid == sandbox.host().shim()?.pid {
        return Err(Stop::Skipped("the process of the sandbox is the shim".to_owned()));
    }
    let wait = sandbox.begin(Method::WaitSandbox).await?;
    sandbox.host().kill_from_outside(pid)?;
    wait.answer_within(lab.scaled(NOTICE), "the process of the sandbox was killed").await?.exit("WaitSandbox")?;
    sandbox.is_ready(false).await?;
    member.is(Status::Running).await?;
    sandbox.stop().await?;
    member.wait().await?;
    Ok(())
}

/// Members that nobody ended do not keep the shim, and go with it or with delete.
async fn shutdown_with_members(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let members = two_members(&sandbox).await?;
    sandbox.ask(Method::ShutdownSandbox).await?.done("ShutdownSandbox")?;
    sandbox.host().shim_gone(SHUTDOWN).await?;
    sandbox.cleaned(&members).await?;
    lab.left_nothing("ShutdownSandbox with members, and delete", NOTICE, false).await
}

/// Two members come, end with statuses of their own, and go; the sandbox stays.
async fn members(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let first = sandbox.member(Order::new(program::exits_with(3))).await?;
    let second = sandbox.member(Order::new(program::exits_with(4))).await?;
    for (member, status) in [(&first, 3), (&second, 4)] {
        let exit = member.wait().await?.reports(status)?;
        member.delete().await?.agrees(exit, "Wait")?;
    }
    sandbox.is_ready(true).await?;
    Ok(())
}

/// One member is killed from outside; the other does not notice.
async fn member_killed(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let victim = sandbox.joined(Order::new(program::sleeps())).await?;
    let pid = victim.create().await?;
    victim.start().await?;
    let other = sandbox.member(Order::new(program::sleeps())).await?;
    victim.kill_from_outside(pid)?;
    victim.wait().await?.reports(137)?;
    other.is(Status::Running).await?;
    sandbox.is_ready(true).await?;
    Ok(())
}

/// A second process in a member, with output and a status.
async fn exec_in_member(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let member = sandbox.member(Order::new(program::sleeps())).await?;
    let exec = member.exec("e", &program::says("said", "", 5), Wiring::Output).await?;
    exec.start().await?;
    exec.wait().await?.reports(5)?;
    let said = exec.streams().stdout.to_end(lab, NOTICE).await?;
    if said != b"said" {
        let actual = String::from_utf8_lossy(&said).into_owned();
        return Err(Stop::violated("an exec's output is not its own", "said", actual));
    }
    exec.delete().await?.reports(5)?;
    sandbox.is_ready(true).await?;
    Ok(())
}

/// A member is deleted, and no delete action is executed: the sandbox is left with what it had before, and the id is free.
async fn member_deleted(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let before = residue::look(lab)?;
    for _ in 0..2 {
        let member = sandbox.member(Order::new(program::sleeps()).id("member")).await?;
        member.end().await?;
        member.delete().await?.reports(137)?;
        member.settle().await?;
        let after = residue::look(lab)?;
        if (&after.mounts, &after.cgroups, &after.files) != (&before.mounts, &before.cgroups, &before.files) {
            let expected = format!("what the sandbox had: {before}");
            return Err(Stop::violated("Delete of a member leaves something", expected, after.to_string()));
        }
        member.forget().await?;
    }
    sandbox.is_ready(true).await?;
    Ok(())
}

/// containerd sends Shutdown after a member's Delete, and the sandbox has no other.
async fn task_shutdown(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let (before, _) = sandbox.is_ready(true).await?;
    let member = sandbox.member(Order::new(program::exits_with(0))).await?;
    member.wait().await?;
    member.delete().await?;
    member.settle().await?;
    member.shutdown().await?;
    same_pid(&sandbox, before.pid).await?;
    sandbox.member(Order::new(program::exits_with(7))).await?.wait().await?.reports(7)?;
    same_pid(&sandbox, before.pid).await
}

/// A sandbox that was stopped is kept until it is shut down itself.
async fn task_shutdown_after_stop(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Stopped).await?;
    sandbox.host().shutdown().await?;
    sandbox.is_ready(false).await?;
    alive(sandbox.host())?;
    leaves(lab, &sandbox).await
}

/// containerd is killed while somebody waits; the next one finds the sandbox and its member, and is told of the end.
async fn containerd_restarts(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let member = sandbox.member(Order::new(program::sleeps())).await?;
    let before = sandbox.is_ready(true).await?;
    let init = member.is(Status::Running).await?.pid;
    let wait = sandbox.begin(Method::WaitSandbox).await?;
    lab.kill_containerd().await?;
    wait.answer().await?;
    lab.start_containerd().await?;
    lab.reattached(sandbox.host())?;
    if lab.reattached(&member)?.task_pid != init {
        return Err(Stop::violated("Connect names another init of the member", format!("{init:?}"), "another"));
    }
    let after = sandbox.is_ready(true).await?;
    if (after.0.pid, after.1.created) != (before.0.pid, before.1.created) {
        let tell = |(reply, facts): &(Reply, SandboxFacts)| {
            format!("pid {:?}, created at {}", reply.pid, facts.created.seconds)
        };
        return Err(Stop::violated("the sandbox is another one", tell(&before), tell(&after)));
    }
    let wait = sandbox.begin(Method::WaitSandbox).await?;
    sandbox.stop().await?;
    wait.answer_within(lab.scaled(NOTICE), "the sandbox was stopped").await?.exit("WaitSandbox")?;
    member.announced(Topic::Exit, REDELIVERY).await?;
    Ok(())
}

/// containerd dies with StopSandbox on the wire; the next one repeats it and learns of the end.
async fn stopped_while_containerd_dies(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    sandbox.member(Order::new(program::sleeps())).await?;
    let stop = sandbox.begin(Method::StopSandbox).await?;
    lab.kill_containerd().await?;
    stop.answer().await?;
    lab.start_containerd().await?;
    lab.reattached(sandbox.host())?;
    sandbox.stop().await?;
    sandbox.is_ready(false).await?;
    let wait = sandbox.begin(Method::WaitSandbox).await?;
    wait.answer_within(lab.scaled(NOTICE), "the sandbox was stopped").await?.exit("WaitSandbox")?;
    Ok(())
}

/// The shim is killed; what containerd executes then leaves nothing of two members, one of which hears no signal.
async fn crash(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let members = two_members(&sandbox).await?;
    crashes(lab, &sandbox, &members).await
}

/// The same of a sandbox alone.
async fn crash_without_members(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    crashes(lab, &sandbox, &[]).await
}

async fn crashes<'l>(lab: &Lab, sandbox: &Sandbox<'l>, members: &[Container<'l>]) -> Result<(), Stop> {
    sandbox.host().signal_shim(Signal::SIGKILL)?;
    sandbox.host().shim_gone(NOTICE).await?;
    sandbox.cleaned(members).await?;
    lab.left_nothing("the shim of a sandbox was killed and delete has cleaned up", NOTICE, true).await
}

/// A member that ends by any signal, and one that hears none but SIGKILL.
async fn two_members<'l>(sandbox: &Sandbox<'l>) -> Result<[Container<'l>; 2], Stop> {
    let first = sandbox.member(Order::new(program::sleeps())).await?;
    let second = sandbox.member(Order::new(program::ignores_signals())).await?;
    Ok([first, second])
}
