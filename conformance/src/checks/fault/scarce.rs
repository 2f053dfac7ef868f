//! Something that calls need is not to be had: each call works all the same or is refused, and a refusal leaves nothing.

use fault_injector::fault::Fault;

use super::pod::{self, Pod};
use crate::{
    check::Stop,
    history::{Answer, Method, Status},
    lab::{Container, Exec, Lab, Upon, program, stdio::Wiring},
};

/// A Create and the Start of an exec.
pub(super) async fn story(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, _) = pod.running(program::sleeps()).await?;
    let fresh = pod.second(program::sleeps()).await?;
    let exec = task.exec("e", &program::exits_with(5), Wiring::Null).await?;
    let force = lab.inject(fault, Upon::Shim(&task)).await?;
    let creating = lab.begin(fresh.create_request()?).await?;
    let created = pod::answered(lab, creating, "what is missing is known at once").await?;
    let starting = exec.begin(Method::Start).await?;
    let started = pod::answered(lab, starting, "what is missing is known at once").await?;
    pod.unharmed().await?;
    task.is(Status::Running).await?;
    force.heal();
    created_or_not(&fresh, &created).await?;
    started_or_not(&exec, &started).await?;
    again(&task).await?;
    pod::ended(&task).await?;
    pod.lives_on().await
}

async fn created_or_not(task: &Container<'_>, answer: &Answer) -> Result<(), Stop> {
    match answer {
        Answer::Done(_) => {
            task.start().await?;
            pod::ended(task).await
        }
        Answer::Refused { .. } | Answer::Lost(_) => {
            pod::unknown(task).await?;
            if task.rootfs_is_mounted()? {
                return Err(Stop::violated("a refused Create left the rootfs mounted", "no mount", "a mount"));
            }
            pod::dismissed(task).await
        }
    }
}

pub(super) async fn started_or_not(exec: &Exec<'_>, answer: &Answer) -> Result<(), Stop> {
    match answer {
        Answer::Done(_) => {
            exec.wait().await?.reports(5)?;
            exec.delete().await?;
        }
        Answer::Refused { .. } | Answer::Lost(_) => {
            exec.call(Method::Delete).await?.done("Delete of an exec that could not be started")?;
        }
    }
    Ok(())
}

/// What was refused works now.
pub(super) async fn again(task: &Container<'_>) -> Result<(), Stop> {
    let exec = task.exec("again", &program::exits_with(6), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?.reports(6)?;
    exec.delete().await?.reports(6)?;
    Ok(())
}
