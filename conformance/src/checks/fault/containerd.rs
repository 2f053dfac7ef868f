//! containerd dies or stands still while an init ends.

use fault_injector::fault::{Fault, Signal};

use super::pod::{self, Pod};
use crate::{
    check::Stop,
    history::Method,
    lab::{Lab, REDELIVERY, Upon, program},
};

/// Whoever plays containerd next learns of the exit, by calls and by the event.
pub(super) async fn story(lab: &Lab, fault: &'static Fault, signal: Signal) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, init) = pod.running(program::sleeps()).await?;
    let force = lab.inject(fault, Upon::World).await?;
    task.kill_from_outside(init.pid)?;
    match signal {
        Signal::Stop => {}
        Signal::Kill | Signal::Terminate => {
            lab.start_containerd().await?;
            for container in [&task, &pod.bystander] {
                lab.reattached(container)?;
            }
        }
    }
    force.heal();
    let exit = pod::told(lab, task.begin(Method::Wait).await?, 137).await?;
    pod::over(&task, exit, REDELIVERY).await?;
    pod.lives_on().await
}
