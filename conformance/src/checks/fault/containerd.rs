//! containerd dies or stands still while an init ends.

use fault_injector::fault::{Fault, Signal};

use super::pod::{self, Pod};
use crate::{
    check::Stop,
    history::Method,
    lab::{Lab, NOTICE, REDELIVERY, Upon, deadline, process::identify, program},
};

/// Whoever plays containerd next learns of the exit, by calls and by the event.
pub(super) async fn story(lab: &Lab, fault: &'static Fault, signal: Signal) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, init) = pod.running(program::sleeps()).await?;
    let force = lab.inject(fault, Upon::World).await?;
    task.kill_from_outside(init.pid)?;
    match signal {
        // What the shim makes of the exit it makes of it while nobody listens.
        Signal::Stop => {
            let reaped = deadline::until(lab.scaled(NOTICE), || identify(init.pid).is_none().then_some(())).await;
            if reaped.is_none() {
                return Err(Stop::violated("init is not reaped while containerd stands still", "its end", "a zombie"));
            }
        }
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
