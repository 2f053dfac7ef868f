//! The connection over which containerd asks for a Start is slow, cut or garbled.

use fault_injector::fault::{Action, Fault, Obligation, Tamper};

use super::pod::{self, Pod};
use crate::{
    check::Stop,
    history::{Answer, Method, Status},
    lab::{Container, InForce, Lab, NOTICE, Pending, Upon, program},
};

/// What of the Start is owed, the fault's excuses say; the bystander has a connection of its own. Whatever became of the Start, the task
/// can be started and ended over a new connection.
pub(super) async fn story(lab: &Lab, fault: &'static Fault) -> Result<(), Stop> {
    let pod = Pod::begin(lab).await?;
    let task = pod.created(program::sleeps()).await?;
    let force = lab.inject(fault, Upon::Shim(&task)).await?;
    let starting = task.begin(Method::Start).await?;
    if fault.excuses(Obligation::ConnectionLasts) {
        lost(&pod, &task, &force, starting).await?;
    } else if fault.excuses(Obligation::AnswersInTime) {
        late(lab, &pod, &task, (&force, fault), starting).await?;
    } else {
        let answer = pod::answered(lab, starting, "its connection is whole").await?;
        if !fault.excuses(Obligation::CallsSucceed) {
            answer.done("Start")?;
        }
        force.bitten(1).await?;
        force.heal();
    }
    runs(lab, &task).await?;
    pod::ended(&task).await?;
    pod.lives_on().await
}

/// The Start may be lost, and its connection with it.
async fn lost(pod: &Pod<'_>, task: &Container<'_>, force: &InForce<'_>, starting: Pending<'_>) -> Result<(), Stop> {
    force.bitten(1).await?;
    pod.unharmed().await?;
    force.heal();
    // Nobody waits for what may never come.
    drop(starting);
    if !task.shim_is_alive()? {
        return Err(Stop::violated("the shim died of a broken connection", "a shim that serves", "it is gone"));
    }
    Ok(task.redial().await?)
}

/// The answer comes when the fault has healed. What is only held back is overtaken.
async fn late(
    lab: &Lab,
    pod: &Pod<'_>,
    task: &Container<'_>,
    (force, fault): (&InForce<'_>, &Fault),
    starting: Pending<'_>,
) -> Result<(), Stop> {
    force.bitten(1).await?;
    pod.unharmed().await?;
    if matches!(fault.does, Action::Frame(_, Tamper::Hold)) {
        let asking = task.begin(Method::State).await?;
        asking.answer_within(lab.scaled(NOTICE), "another call of its connection is late").await?.done("State")?;
    }
    force.heal();
    let answer = pod::answered(lab, starting, "nothing holds it up any more").await?;
    if fault.excuses(Obligation::CallsSucceed) { Ok(()) } else { answer.done("Start").map(drop) }
}

/// The task runs, or can be started: a Start that was lost has been carried out, or it has not.
async fn runs(lab: &Lab, task: &Container<'_>) -> Result<(), Stop> {
    let asking = async {
        loop {
            if task.state().await?.status == Some(Status::Running) {
                return Ok(());
            }
            // A refusal may come of the former Start, which is being carried out; the next State shows it.
            if let lost @ Answer::Lost(_) = task.call(Method::Start).await? {
                return lost.done("Start over a new connection").map(drop);
            }
        }
    };
    let limit = lab.scaled(pod::CALL);
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| {
        let expected = format!("Running within {} ms", limit.as_millis());
        Err(Stop::violated("a task whose Start was lost can neither run nor be started", expected, "another state"))
    })
}
