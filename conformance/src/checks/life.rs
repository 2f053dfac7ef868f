//! The shim among others: signals, clients, containerds old and new, and containers that share it.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;

use super::shutdown::signalled;
use crate::{
    check::{Body, Check, Need, Stop},
    contract::{life, shutdown},
    history::{Answer, Code, Method, Status, Topic},
    lab::{Container, Lab, NOTICE, Order, deadline, program, stdio::Wiring},
    lie::Lie,
    profile::{self, Listed},
};

/// One row without needs.
macro_rules! check {
    ($id:literal, $clause:expr, $notices:expr, $lab:ident => $story:expr) => {
        Check { id: $id, clause: &$clause, needs: &[], notices: $notices, body: Body::Example(|$lab| Box::pin($story)) }
    };
}

/// A shim that goes must be cleaned up after, one that stays must answer truthfully.
const SIGNALLED: &[Lie] = &[Lie::LeftProcess, Lie::LeftMount];
/// The containers of somebody else.
const UNHARMED: &[Lie] = &[Lie::ShimDead, Lie::State(Status::Stopped)];

pub(super) const CHECKS: &[Check] = &[
    check!("life/sigint", shutdown::SIGNALS, SIGNALLED, lab => signalled(lab, Signal::SIGINT)),
    check!("life/sighup", shutdown::SIGNALS, SIGNALLED, lab => signalled(lab, Signal::SIGHUP)),
    check!("life/sigquit", shutdown::SIGNALS, SIGNALLED, lab => signalled(lab, Signal::SIGQUIT)),
    check!("life/sigusr1", shutdown::SIGNALS, SIGNALLED, lab => signalled(lab, Signal::SIGUSR1)),
    check!("life/sigusr2", shutdown::SIGNALS, SIGNALLED, lab => signalled(lab, Signal::SIGUSR2)),
    check!("life/sigterm-without-task", shutdown::SIGNALS, &[Lie::LeftProcess], lab => sigterm_without_task(lab)),
    check!("life/shutdown-again", shutdown::AGAIN, &[Lie::Refused(Method::Shutdown), Lie::ShimDead], lab => shutdown_again(lab)),
    check!("life/twenty-connections", life::CONNECTIONS, &[Lie::Unanswered(Method::State), Lie::State(Status::Stopped)], lab => twenty_connections(lab)),
    check!("life/two-containerds", life::NEIGHBOURS, UNHARMED, lab => two_containerds(lab)),
    check!("life/stopped-is-taken-down", life::STOPPED_IS_TAKEN_DOWN, &[Lie::ExitStatus(Method::Delete), Lie::ShimUndead], lab => stopped_is_taken_down(lab)),
    check!("life/never-created-is-taken-down", life::NEVER_CREATED_IS_TAKEN_DOWN, &[Lie::ShimUndead, Lie::Code(Method::Delete, Code::Unknown)], lab => never_created_is_taken_down(lab)),
    Check {
        id: "life/loads-in-time",
        clause: &life::LOADS_IN_TIME,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::NotFoundAgain, Lie::Refused(Method::Pids), Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(loads_in_time(lab))),
    },
    check!("life/files-stay", life::FILES_STAY, &[Lie::StartFails, Lie::Refused(Method::Exec)], lab => files_stay(lab)),
    check!("life/upgrade", life::UPGRADE, &[Lie::NotFoundAgain, Lie::State(Status::Stopped)], lab => upgrade(lab)),
    check!("life/idle", life::IDLE, &[Lie::Busy], lab => idle(lab)),
    check!("life/member-exits", life::NEIGHBOURS, UNHARMED, lab => member_exits(lab)),
    check!("life/member-fails", life::NEIGHBOURS, UNHARMED, lab => member_fails(lab)),
];

/// A shim that holds nothing may go when it is told to; when it goes, it goes wholly.
async fn sigterm_without_task(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let shim = container.shim()?;
    container.signal_shim(Signal::SIGTERM)?;
    let left = deadline::until(lab.scaled(NOTICE), || (!shim.is_alive()).then_some(())).await;
    if left.is_none() {
        container.call(Method::Connect).await?.done("Connect")?;
        return Ok(());
    }
    container.execute_delete().await?;
    lab.left_nothing("SIGTERM and the delete action", NOTICE, true).await
}

/// Shutdown while there is a task, three times, and of a group after each member.
async fn shutdown_again(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.run(Order::new(program::sleeps()).group("pod")).await?;
    for _ in 0..3 {
        first.shutdown().await?;
    }
    second.end().await?;
    second.delete().await?;
    second.shutdown().await?;
    first.end().await?;
    alive(&first)?;
    first.delete().await?;
    Ok(())
}

/// Each of twenty connections is answered while all the others are open.
async fn twenty_connections(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(task.joined(&format!("client-{number}")).await?);
    }
    let mut waits = Vec::new();
    for client in &clients {
        client.is(Status::Running).await?;
        waits.push(client.begin(Method::Wait).await?);
    }
    task.kill(libc::SIGKILL).await?;
    for wait in waits {
        wait.answer_within(lab.scaled(NOTICE), "init was killed").await?.exit("Wait")?.reports(137)?;
    }
    Ok(())
}

/// A second containerd on the same host has a container of the same id. It dies and comes back, and its container ends; ours do not
/// notice.
async fn two_containerds(lab: &Lab) -> Result<(), Stop> {
    let ours = lab.run(Order::new(program::sleeps()).id("same")).await?;
    let other = lab.places().base.join("second.sock");
    let second = lab.neighbour("second", |setup| setup.address = other).await?;
    let theirs = second.run(Order::new(program::sleeps()).id("same")).await?;
    if ours.shim()? == theirs.shim()? {
        let actual = format!("process {} for both", ours.shim()?.pid);
        return Err(Stop::violated("one shim serves two containerds", "a shim for each", actual));
    }
    second.kill_containerd().await?;
    ours.is(Status::Running).await?;
    second.start_containerd().await?;
    second.reattached(&theirs)?;
    theirs.end().await?;
    theirs.remove().await?;
    alive(&ours)?;
    ours.is(Status::Running).await?;
    ours.end().await?;
    Ok(())
}

/// A task that has ended lists no process, so the next containerd takes its shim down.
async fn stopped_is_taken_down(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(9))).await?;
    let exit = task.wait().await?.reports(9)?;
    // An exit that is announced while containerd dies is judged elsewhere.
    task.announced(Topic::Exit, NOTICE).await?;
    lab.kill_containerd().await?;
    lab.start_containerd().await?;
    taken_down(lab, &task).await?;
    task.delete().await?.agrees(exit, "the Wait before the restart")?;
    task.shutdown().await?;
    task.shim_gone(lab.leave_limit()).await?;
    task.cleaned().await?;
    task.forget().await
}

/// containerd died between `start` and Create.
async fn never_created_is_taken_down(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    lab.kill_containerd().await?;
    lab.start_containerd().await?;
    let found = taken_down(lab, &container).await?;
    if found.task_pid.is_some_and(|pid| pid != 0) {
        let actual = format!("{:?}", found.task_pid);
        return Err(Stop::violated("Connect names an init though nothing was created", "0", actual));
    }
    container.call(Method::Delete).await?.refused("Delete of what was never created", &[Code::NotFound])?;
    container.shutdown().await?;
    container.shim_gone(lab.leave_limit()).await?;
    // What `delete` says of one that never was is judged elsewhere.
    container.execute_delete().await?;
    container.forget().await
}

/// Expects that the containerd that serves now would take the shim of `container` down.
async fn taken_down(lab: &Lab, container: &Container<'_>) -> Result<crate::history::Reply, Stop> {
    let found = lab.reattached(container)?;
    let reaps = lab.setup().profile.reaps;
    match lab.listed(container)? {
        Some(listed) if reaps.ends(listed) => Ok(found),
        other => {
            let expected = "no process, or NOT_FOUND";
            let actual = format!("{other:?}");
            Err(Stop::violated("Pids of a task without processes makes containerd keep its shim", expected, actual))
        }
    }
}

/// A member of the group is being created and the runtime takes its time; the next containerd gets its answer for the other one.
async fn loads_in_time(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.serve(Order::new(program::sleeps()).group("pod")).await?;
    let held = lab.hold("create")?;
    let creating = lab.begin(second.create_request()?).await?;
    held.reached("create").await?;
    lab.kill_containerd().await?;
    creating.answer().await?;
    lab.start_containerd().await?;
    let found = lab.reattached(&first);
    let listed = lab.listed(&first)?;
    held.open();
    found?;
    if listed.is_some_and(|listed| listed != Listed::Some) {
        let expected = "the running container's processes within its deadline";
        return Err(Stop::violated("Pids is held up by another container", expected, format!("{listed:?}")));
    }
    first.is(Status::Running).await?;
    first.end().await?;
    Ok(())
}

/// A life with all that makes a shim write, and the files of the next containerd before and after.
async fn files_stay(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let names = ["shim-binary-path", "bootstrap.json", "address", "config.json"];
    let look = || names.map(|name| fs::read(task.bundle().join(name)).ok());
    let before = look();
    let exec = task.exec("e", &program::exits_with(2), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?.reports(2)?;
    exec.delete().await?;
    task.end().await?;
    for (name, (before, after)) in names.into_iter().zip(before.into_iter().zip(look())) {
        if before != after {
            let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let (expected, actual) = (format!("{:?}", text(before)), format!("{:?}", text(after)));
            return Err(Stop::violated(format!("the file {name} changes while the shim lives"), expected, actual));
        }
    }
    Ok(())
}

/// containerd is replaced by each later release in turn; each finds the task that the first one started.
async fn upgrade(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let pid = task.start().await?;
    let played = lab.setup().profile.release;
    for later in profile::ALL.into_iter().filter(|later| later.release >= played) {
        lab.kill_containerd().await?;
        lab.start_containerd_as(later).await?;
        let found = lab.reattached(&task)?;
        let state = task.is(Status::Running).await?;
        if found.task_pid != Some(pid) || state.pid != Some(pid) {
            let actual = format!("Connect says {:?}, State says {:?}", found.task_pid, state.pid);
            return Err(Stop::violated(format!("under {later} the task has another init"), pid.to_string(), actual));
        }
    }
    task.end().await?;
    Ok(())
}

/// A container that does nothing for two seconds, and what the shim does meanwhile.
async fn idle(lab: &Lab) -> Result<(), Stop> {
    /// A twentieth of that time.
    const BUSY: Duration = Duration::from_millis(100);
    let task = lab.run(Order::new(program::sleeps_for(Duration::from_secs(2)))).await?;
    let before = task.processor_time()?;
    task.wait().await?.reports(0)?;
    let used = task.processor_time()?.saturating_sub(before);
    if used <= BUSY {
        return Ok(());
    }
    let expected = format!("at most {} ms of processor time in two seconds", BUSY.as_millis());
    Err(Stop::violated(
        "the shim is busy while its container does nothing",
        expected,
        format!("{} ms", used.as_millis()),
    ))
}

/// One of three ends and stays undeleted, another is deleted; the third goes on.
async fn member_exits(lab: &Lab) -> Result<(), Stop> {
    let third = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let first = lab.run(Order::new(program::exits_with(3)).group("pod")).await?;
    let second = lab.run(Order::new(program::exits_with(4)).group("pod")).await?;
    first.wait().await?.reports(3)?;
    second.wait().await?.reports(4)?;
    second.delete().await?.reports(4)?;
    second.cleaned().await?;
    unharmed(&third).await?;
    first.is(Status::Stopped).await?;
    first.delete().await?.reports(3)?;
    unharmed(&third).await?;
    third.end().await?;
    Ok(())
}

/// Create of one, and the start of an exec in it, fail; the other goes on.
async fn member_fails(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.serve(Order::new(program::missing()).group("pod")).await?;
    // Some runtimes look for the program in `create` and others in `start`.
    if let Answer::Done(_) = lab.call(second.create_request()?).await? {
        second.call(Method::Start).await?.declined("Start of a program that is missing")?;
    }
    unharmed(&first).await?;
    let third = lab.run(Order::new(program::exits_with(3)).group("pod")).await?;
    third.wait().await?.reports(3)?;
    unharmed(&first).await?;
    first.end().await?;
    Ok(())
}

async fn unharmed(container: &Container<'_>) -> Result<(), Stop> {
    alive(container)?;
    container.is(Status::Running).await?;
    Ok(())
}

fn alive(container: &Container<'_>) -> Result<(), Stop> {
    if container.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim has gone", "a shim that stays", "none"))
}
