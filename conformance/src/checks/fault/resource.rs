//! What the kernel grants is taken from the shim, or from its container.

use fault_injector::fault::{Fault, Limit};

use super::{
    pod::{self, Pod},
    process, scarce,
};
use crate::{
    check::Stop,
    clock,
    history::{Answer, Method, Status},
    lab::{Lab, NOTICE, Upon, message, program, stdio::Wiring},
};

pub(super) async fn story(lab: &Lab, fault: &'static Fault, limit: Limit) -> Result<(), Stop> {
    match limit {
        Limit::Descriptors => scarce::story(lab, fault).await,
        Limit::Processes | Limit::Memory => confined(lab, fault).await,
        Limit::Time => no_time(lab, fault).await,
    }
}

/// An exec is to be started, for which there is no process or no memory; the kernel may kill the shim for the latter. A shim that
/// survives tells what came of the exec; one that does not is cleaned up after.
async fn confined(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, _) = pod.running(program::sleeps()).await?;
    let exec = task.exec("e", &program::exits_with(0), Wiring::Null).await?;
    let struck = clock::wall();
    let force = lab.inject(fault, Upon::Shim(&task)).await?;
    let starting = exec.begin(Method::Start).await?;
    force.bitten(1).await?;
    // Until the fault has healed an answer may stay out, and afterwards it may not.
    let duty = "what was missing can be had again";
    let mut answering = Box::pin(starting.answer_within(lab.scaled(2 * pod::CALL), duty));
    let answer = match tokio::time::timeout(lab.scaled(pod::CALL), &mut answering).await {
        Ok(answer) => answer?,
        Err(_) => {
            force.heal();
            answering.await?
        }
    };
    if let Answer::Lost(_) = answer {
        task.shim_gone(NOTICE).await?;
    }
    // The group in which the shim was confined would be taken for something that it left.
    force.heal();
    if !matches!(answer, Answer::Lost(_)) && !task.shim_is_alive()? {
        // The kernel came for it behind its answer.
        task.shim_gone(NOTICE).await?;
        return process::cleaned_up(&force, &pod, &task, struck).await;
    }
    match answer {
        Answer::Lost(_) => return process::cleaned_up(&force, &pod, &task, struck).await,
        Answer::Refused { .. } => {
            exec.call(Method::Delete).await?.done("Delete of an exec that could not be started")?;
        }
        Answer::Done(_) => {
            exec.wait().await?.reports(0)?;
            exec.delete().await?;
        }
    }
    pod.unharmed().await?;
    pod::ended(&task).await?;
    pod.lives_on().await
}

/// Who froze the container did not ask the shim: what it says of the state may be either, and a Kill works at the latest once it is
/// thawed.
async fn no_time(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, _) = pod.running(program::sleeps()).await?;
    let force = lab.inject(fault, Upon::Shim(&task)).await?;
    let state = task.state().await?;
    if !matches!(state.status, Some(Status::Running | Status::Paused | Status::Pausing)) {
        let actual = format!("{:?}", state.status);
        return Err(Stop::violated("a container that is frozen from outside has ended", "Running or Paused", actual));
    }
    pod.unharmed().await?;
    let waiting = task.begin(Method::Wait).await?;
    let killing = lab.begin(message::kill(task.target(), 9, false)).await?;
    pod::answered(lab, killing, "a frozen process takes signals").await?.done("Kill of a frozen container")?;
    force.heal();
    let exit = pod::told(lab, waiting, 137).await?;
    pod::over(&task, exit, NOTICE).await?;
    pod.lives_on().await
}
