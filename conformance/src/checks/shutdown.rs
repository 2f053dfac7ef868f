//! When the shim goes, and when it must not.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{
    check::{Body, Check, Stop},
    contract::shutdown,
    history::{Method, Status, Topic},
    lab::{Container, ExitPolicy, Lab, NOTICE, Order, SHUTDOWN, deadline, process, program},
    lie::Lie,
    wire::{self, EventsMode},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "shutdown/with-a-running-task",
        clause: &shutdown::HELD,
        needs: &[],
        notices: HELD_LIES,
        body: Body::Example(|lab| Box::pin(with_a_running_task(lab))),
    },
    Check {
        id: "shutdown/with-a-stopped-task",
        clause: &shutdown::HELD,
        needs: &[],
        notices: HELD_LIES,
        body: Body::Example(|lab| Box::pin(with_a_stopped_task(lab))),
    },
    Check {
        id: "shutdown/group-member-goes",
        clause: &shutdown::HELD,
        needs: &[],
        notices: HELD_LIES,
        body: Body::Example(|lab| Box::pin(group_member_goes(lab))),
    },
    Check {
        id: "shutdown/not-before",
        clause: &shutdown::STAYS,
        needs: &[],
        notices: &[Lie::ShimDead, Lie::ExitStatus(Method::Wait), Lie::Refused(Method::State)],
        body: Body::Example(|lab| Box::pin(not_before(lab))),
    },
    Check {
        id: "shutdown/connection-closes",
        clause: &shutdown::STAYS,
        needs: &[],
        notices: &[Lie::ShimDead, Lie::State(Status::Stopped), Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(connection_closes(lab))),
    },
    Check {
        id: "shutdown/exit-while-containerd-is-dead",
        clause: &shutdown::STAYS,
        needs: &[],
        notices: &[
            Lie::ShimDead,
            Lie::ExitStatus(Method::State),
            Lie::ExitStatus(Method::Wait),
            Lie::ExitTime(Method::Delete),
            Lie::NotFoundAgain,
        ],
        body: Body::Example(|lab| Box::pin(exit_while_containerd_is_dead(lab))),
    },
    Check {
        id: "shutdown/after-delete",
        clause: &shutdown::GOES,
        needs: &[],
        notices: &[Lie::ShimUndead, Lie::LeftSocket],
        body: Body::Example(|lab| Box::pin(after_delete(lab))),
    },
    Check {
        id: "shutdown/without-a-task",
        clause: &shutdown::GOES,
        needs: &[],
        notices: &[Lie::ShimUndead, Lie::LeftSocket],
        body: Body::Example(|lab| Box::pin(without_a_task(lab))),
    },
    Check {
        id: "shutdown/of-a-group",
        clause: &shutdown::GOES,
        needs: &[],
        notices: &[Lie::ShimUndead, Lie::LeftSocket],
        body: Body::Example(|lab| Box::pin(of_a_group(lab))),
    },
    Check {
        id: "shutdown/without-events-service",
        clause: &shutdown::GOES_UNHEARD,
        needs: &[],
        notices: &[Lie::ShimUndead, Lie::LeftSocket],
        body: Body::Example(|lab| Box::pin(without_events_service(lab))),
    },
    Check {
        id: "shutdown/sigpipe",
        clause: &shutdown::SIGPIPE,
        needs: &[],
        notices: &[Lie::ShimDead, Lie::Broken(Method::State)],
        body: Body::Example(|lab| Box::pin(sigpipe(lab))),
    },
    Check {
        id: "shutdown/sigterm",
        clause: &shutdown::SIGTERM,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteSilent],
        body: Body::Example(|lab| Box::pin(signalled(lab, Signal::SIGTERM))),
    },
];

/// Under each of these a shim that holds a task is seen to fail it.
const HELD_LIES: &[Lie] =
    &[Lie::ShimDead, Lie::Refused(Method::Shutdown), Lie::Broken(Method::State), Lie::ExitStatus(Method::Wait)];

/// How long a shim may try to deliver its last events before it goes (contract, part 4, I3).
const UNHEARD: Duration = Duration::from_secs(20);

/// Shutdown is answered and ignored while a task runs.
async fn with_a_running_task(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.shutdown().await?;
    task.is(Status::Running).await?;
    // A shim that had begun to leave would be gone before these have ended.
    task.end().await?;
    alive(&task)?;
    task.delete().await?;
    Ok(())
}

/// Shutdown is answered and ignored while the exit of a task is still to be fetched.
async fn with_a_stopped_task(lab: &Lab) -> Result<(), Stop> {
    stays_until_shutdown(lab)?;
    let task = lab.run(Order::new(program::exits_with(5))).await?;
    let exit = task.wait().await?.reports(5)?;
    task.shutdown().await?;
    task.is(Status::Stopped).await?;
    task.wait().await?.agrees(exit, "the first Wait")?;
    alive(&task)?;
    task.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// One of two tasks is removed, Shutdown and all; the other does not notice.
async fn group_member_goes(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.run(Order::new(program::sleeps()).group("pod")).await?;
    second.end().await?;
    second.delete().await?;
    second.shutdown().await?;
    second.cleaned().await?;
    second.forget().await?;
    alive(&first)?;
    first.is(Status::Running).await?;
    first.end().await?;
    alive(&first)
}

/// Neither init's exit nor Delete ends the shim.
async fn not_before(lab: &Lab) -> Result<(), Stop> {
    stays_until_shutdown(lab)?;
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?.reports(0)?;
    task.is(Status::Stopped).await?;
    task.delete().await?;
    task.call(Method::Connect).await?.done("Connect after Delete")?;
    alive(&task)
}

/// The only connection closes; over a new one everything is as before.
async fn connection_closes(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let pid = task.create().await?;
    task.start().await?;
    task.redial().await?;
    let found = task.is(Status::Running).await?.pid;
    if found != Some(pid) {
        let actual = format!("{found:?}");
        return Err(Stop::violated("another connection finds another init", pid.to_string(), actual));
    }
    alive(&task)
}

/// Init exits while no containerd lives; the next one gets the true exit from the shim.
async fn exit_while_containerd_is_dead(lab: &Lab) -> Result<(), Stop> {
    stays_until_shutdown(lab)?;
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let init = process::identify(task.create().await?);
    task.start().await?;
    lab.kill_containerd().await?;
    if let Some(init) = init {
        init.signal(Signal::SIGKILL)?;
        let gone = deadline::until(lab.scaled(NOTICE), || (!init.is_alive()).then_some(())).await;
        gone.ok_or_else(|| Stop::violated("nobody reaps init", "no process", "it stays"))?;
    }
    lab.start_containerd().await?;
    lab.reattached(&task)?;
    let exit = task.wait().await?.reports(137)?;
    let state = task.is(Status::Stopped).await?.exit;
    let none = || Stop::violated("State tells no exit", "an exit", "none");
    state.ok_or_else(none)?.agrees(exit, "Wait")?;
    alive(&task)?;
    task.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// With the last task deleted, Shutdown ends the shim and takes its socket away.
async fn after_delete(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    task.delete().await?;
    goes(lab, &task, SHUTDOWN).await
}

/// A shim that never held a task goes by Shutdown too.
async fn without_a_task(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    goes(lab, &container, SHUTDOWN).await
}

/// A shim whose group is not named after its first container takes its socket away as well.
async fn of_a_group(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps()).group("pod")).await?;
    goes(lab, &container, SHUTDOWN).await
}

/// The events service is away for good; the shim goes all the same, after it has tried.
async fn without_events_service(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    // Only the deletion is to go unheard.
    task.announced(Topic::Exit, NOTICE).await?;
    lab.obey(wire::Order::Events(EventsMode::Refuse)).await?;
    task.delete().await?;
    goes(lab, &task, UNHEARD).await
}

/// Expects that Shutdown ends the shim within `limit` and leaves no socket.
async fn goes(lab: &Lab, container: &Container<'_>, limit: Duration) -> Result<(), Stop> {
    container.shutdown().await?;
    container.shim_gone(limit).await?;
    lab.left_nothing("Shutdown", NOTICE, false).await
}

/// Writing to nobody is no reason to die.
async fn sigpipe(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.signal_shim(Signal::SIGPIPE)?;
    task.is(Status::Running).await?;
    task.end().await?;
    alive(&task)
}

/// The shim of a running container gets a signal that containerd never sends. It serves on, or what it left can be cleaned up.
pub(super) async fn signalled(lab: &Lab, signal: Signal) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let shim = task.shim()?;
    let init = process::identify(task.create().await?);
    task.start().await?;
    task.signal_shim(signal)?;
    let left = deadline::until(lab.scaled(NOTICE), || (!shim.is_alive()).then_some(())).await;
    if left.is_none() {
        let serving = async {
            task.is(Status::Running).await?;
            task.end().await?;
            task.remove().await
        };
        match serving.await {
            // It was on its way out, slowly.
            Err(Stop::Violated(_)) if shim.gone(lab.scaled(SHUTDOWN)).await? => {}
            served => return served,
        }
    }
    task.cleaned().await?;
    if init.is_some_and(process::Identity::is_alive) {
        return Err(Stop::violated("init outlives the delete action", "no process", "a living one"));
    }
    lab.left_nothing("a signal and the delete action", NOTICE, true).await
}

fn alive(container: &Container<'_>) -> Result<(), Stop> {
    if container.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim has gone", "a shim that stays", "none"))
}

/// A shim with the other exit policy need not stay.
fn stays_until_shutdown(lab: &Lab) -> Result<(), Stop> {
    match lab.job().exit_policy {
        ExitPolicy::OnShutdown => Ok(()),
        ExitPolicy::OnInitExit => Err(Stop::Skipped("this shim goes when init has exited".to_owned())),
    }
}
