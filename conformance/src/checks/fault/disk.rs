//! Files are damaged under the feet of shim and containerd.

use fault_injector::fault::{Damage, Fault};

use super::{
    pod::{self, Pod},
    scarce,
};
use crate::{
    check::Stop,
    history::{Method, Status},
    lab::{Lab, Upon, program, stdio::Wiring},
};

pub(super) async fn story(lab: &Lab, fault: &'static Fault, damage: Damage) -> Result<(), Stop> {
    match damage {
        Damage::Full | Damage::ReadOnly => scarce::story(lab, fault).await,
        Damage::SocketGone | Damage::AddressGone => no_way(lab, fault).await,
        Damage::BundleGone => no_bundle(lab, fault).await,
    }
}

/// Nobody finds the way to the shim any more, but connections that stand do, and once it is found again everybody does.
async fn no_way(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, _) = pod.running(program::sleeps()).await?;
    let force = lab.inject(fault, Upon::Shim(&task)).await?;
    let exec = task.exec("e", &program::exits_with(7), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?.reports(7)?;
    exec.delete().await?.reports(7)?;
    pod.unharmed().await?;
    force.heal();
    lab.kill_containerd().await?;
    lab.start_containerd().await?;
    task.is(Status::Running).await?;
    pod::ended(&task).await?;
    pod.lives_on().await
}

/// An exec may need something of the bundle; what runs is known without.
async fn no_bundle(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let (task, _) = pod.running(program::sleeps()).await?;
    let exec = task.exec("e", &program::exits_with(5), Wiring::Null).await?;
    let force = lab.inject(fault, Upon::Shim(&task)).await?;
    let starting = exec.begin(Method::Start).await?;
    let started = pod::answered(lab, starting, "what is missing is known at once").await?;
    task.is(Status::Running).await?;
    pod.unharmed().await?;
    force.heal();
    scarce::started_or_not(&exec, &started).await?;
    scarce::again(&task).await?;
    pod::ended(&task).await?;
    pod.lives_on().await
}
