//! The events service is away, forgets or dies while an init ends.

use fault_injector::fault::{Action, Fault};

use super::pod::{self, Pod};
use crate::{
    check::Stop,
    history::{Method, Status, Topic},
    lab::{Lab, NOTICE, REDELIVERY, Upon, program},
};

/// Calls are answered all the while; the exit is announced when somebody takes it.
pub(super) async fn story(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    lab.front_events().await?;
    let pod = Pod::begin(lab).await?;
    let (task, init) = pod.running(program::sleeps()).await?;
    // Nothing is under way when it strikes, so it is known which event it strikes.
    for task in [&task, &pod.bystander] {
        task.announced(Topic::Start, NOTICE).await?;
    }
    let force = lab.inject(fault, Upon::World).await?;
    if let Action::Refuse(_) = fault.does {
        force.bitten(1).await?;
    }
    task.kill_from_outside(init.pid)?;
    force.bitten(1).await?;
    let exit = pod::told(lab, task.begin(Method::Wait).await?, 137).await?;
    task.is(Status::Stopped).await?;
    pod.unharmed().await?;
    force.heal();
    pod::over(&task, exit, REDELIVERY).await?;
    pod.lives_on().await
}
