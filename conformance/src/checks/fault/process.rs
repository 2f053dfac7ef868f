//! Signals to the shim, to init, to an exec and to the runtime at work.

use fault_injector::fault::{Action, Fault, Party, Signal};

use super::pod::{self, Pod};
use crate::{
    check::Stop,
    clock,
    history::{Method, Status, Topic, WallTime},
    lab::{Container, InForce, Lab, NOTICE, Order, Upon, program, stdio::Wiring},
};

/// The shim.
pub(super) async fn shim(lab: &Lab, fault: &'static Fault, signal: Signal) -> Result<(), Stop> {
    match signal {
        Signal::Stop => stopped_shim(lab, fault).await,
        Signal::Kill | Signal::Terminate => ended_shim(lab, fault).await,
    }
}

/// A call comes in and init dies while the shim stands still.
async fn stopped_shim(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, init) = pod.running(program::sleeps()).await?;
    let force = lab.inject(fault, Upon::Shim(&task)).await?;
    let asking = task.begin(Method::State).await?;
    task.kill_from_outside(init.pid)?;
    force.heal();
    asking.answer_within(lab.scaled(NOTICE), "the shim goes on").await?.done("State")?;
    let exit = pod::told(lab, task.begin(Method::Wait).await?, 137).await?;
    pod::over(&task, exit, NOTICE).await?;
    pod.lives_on().await
}

/// The shim is told to end: it goes, and `delete` has the rest to do, or it serves on. SIGKILL leaves it no choice.
async fn ended_shim(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, init) = pod.running(program::ignores_signals()).await?;
    pod.exec(&task, &program::sleeps()).await?;
    let struck = clock::wall();
    let force = lab.inject(fault, Upon::Shim(&task)).await?;
    let goes = task.shim()?.gone(lab.scaled(NOTICE)).await?;
    if !goes && fault.does == Action::Signal(Party::Shim, Signal::Terminate) {
        force.heal();
        pod.lives()?;
        pod::ended(&task).await?;
        return pod.lives_on_for_a_while().await;
    }
    task.shim_gone(NOTICE).await?;
    if !init.is_alive() {
        let expected = format!("process {} alive until delete ends it", init.pid);
        return Err(Stop::violated("a container ended with its shim", expected, "it is gone"));
    }
    cleaned_up(&force, &pod, &task, struck).await
}

/// The shim is gone, its containers are not: `delete` ends them, and the next shim finds its place empty.
pub(super) async fn cleaned_up(
    force: &InForce<'_>,
    pod: &Pod<'_>,
    task: &Container<'_>,
    struck: WallTime,
) -> Result<(), Stop> {
    let lab = task.lab();
    pod.lives()?;
    lab.kill_containerd().await?;
    lab.start_containerd().await?;
    for container in [task, &pod.bystander] {
        true_exit(container, struck).await?;
        container.forget().await?;
    }
    lab.left_nothing("the shim has died and delete has cleaned up", NOTICE, true).await?;
    force.heal();
    let again = lab.run(Order::new(program::exits_with(4)).id("pod").group("pod")).await?;
    again.wait().await?.reports(4)?;
    again.remove().await
}

/// `delete` tells an exit that containerd can announce: no success, and not before the shim was `struck`, when the process still ran.
async fn true_exit(container: &Container<'_>, struck: WallTime) -> Result<(), Stop> {
    let exit = container.cleaned().await?;
    if exit.status == 0 {
        return Err(Stop::violated("delete says that a killed container ended well", "a status other than 0", "0"));
    }
    if exit.at.seconds < struck.seconds {
        return Err(Stop::violated(
            "delete tells of an exit while the process still ran",
            format!("{} s or later", struck.seconds),
            format!("{} s", exit.at.seconds),
        ));
    }
    Ok(())
}

/// What a struck process creates when it minds SIGTERM.
const READY: &str = "ready";

/// The status of [`program::touches`] after this signal, which it minds when it is SIGTERM.
fn status(signal: Signal) -> u32 {
    match signal {
        Signal::Kill => 137,
        Signal::Terminate | Signal::Stop => 0,
    }
}

/// Init.
pub(super) async fn init(lab: &Lab, fault: &'static Fault, signal: Signal) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, process) = pod.running(program::touches(READY)).await?;
    lab.touched(READY, pod::CALL).await?;
    let waiting = task.begin(Method::Wait).await?;
    let force = lab.inject(fault, Upon::Process(&task, process)).await?;
    if signal == Signal::Stop {
        task.is(Status::Running).await?;
        let exec = task.exec("e", &program::exits_with(5), Wiring::Null).await?;
        exec.start().await?;
        exec.wait().await?.reports(5)?;
        force.heal();
        pod::ended(&task).await?;
        return pod.lives_on().await;
    }
    let exit = pod::told(lab, waiting, status(signal)).await?;
    force.heal();
    pod::over(&task, exit, NOTICE).await?;
    pod.lives_on().await
}

/// An exec. Init runs on.
pub(super) async fn exec(lab: &Lab, fault: &'static Fault, signal: Signal) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, _) = pod.running(program::sleeps()).await?;
    let (exec, process) = pod.exec(&task, &program::touches(READY)).await?;
    lab.touched(READY, pod::CALL).await?;
    let waiting = exec.begin(Method::Wait).await?;
    let force = lab.inject(fault, Upon::Process(&task, process)).await?;
    let exit = if signal == Signal::Stop {
        exec.is(Status::Running).await?;
        force.heal();
        exec.end().await?
    } else {
        let exit = pod::told(lab, waiting, status(signal)).await?;
        force.heal();
        exit
    };
    let event = exec.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    exec.delete().await?.agrees(exit, "Wait")?;
    task.is(Status::Running).await?;
    pod::ended(&task).await?;
    pod.lives_on().await
}

/// The runtime while it starts a task, before it has done anything.
pub(super) async fn runtime(lab: &Lab, fault: &'static Fault, signal: Signal) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let task = pod.created(program::sleeps()).await?;
    let rules = lab.hold("start")?;
    let starting = task.begin(Method::Start).await?;
    let runtime = rules.reached("start").await?;
    let force = lab.inject(fault, Upon::Process(&task, runtime)).await?;
    if signal == Signal::Stop {
        rules.open();
        pod.unharmed().await?;
        force.heal();
        pod::answered(lab, starting, "the runtime goes on").await?.done("Start")?;
        pod::ended(&task).await?;
        return pod.lives_on().await;
    }
    pod::answered(lab, starting, "the runtime has died").await?.declined("Start whose runtime died")?;
    force.heal();
    rules.open();
    task.state().await?;
    pod::disposed(&task).await?;
    pod.lives_on().await
}
