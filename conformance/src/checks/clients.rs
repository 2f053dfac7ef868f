//! Clients that come and go.

use crate::{
    check::{Body, Check, Stop},
    contract::life,
    history::{Method, Status},
    lab::{Lab, NOTICE, Order, deadline, program, stdio::Wiring},
    lie::Lie,
    wire::Order as Command,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "life/abandoned-calls",
        clause: &life::ABANDONED_CALLS,
        needs: &[],
        notices: &[Lie::ShimDead, Lie::State(Status::Stopped), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(abandoned_calls(lab))),
    },
    Check {
        id: "life/reconnects",
        clause: &life::RECONNECTS,
        needs: &[],
        notices: &[Lie::DescriptorsGrow],
        body: Body::Example(|lab| Box::pin(reconnects(lab))),
    },
];

/// Twenty Waits are under way when their connection ends.
async fn abandoned_calls(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    exec.start().await?;
    let mut abandoned = Vec::new();
    for _ in 0..10 {
        abandoned.push(task.begin(Method::Wait).await?);
        abandoned.push(exec.begin(Method::Wait).await?);
    }
    lab.obey(Command::Redial { id: task.id().to_owned(), via: None }).await?;
    // Nobody answers them any more.
    drop(abandoned);
    task.is(Status::Running).await?;
    exec.end().await?;
    task.end().await?;
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive", "a living shim", "none"))
}

/// Forty connections, one after another, each used.
async fn reconnects(lab: &Lab) -> Result<(), Stop> {
    /// Both come and go with the load; one for each connection would be forty.
    const SLACK: usize = 12;
    let task = lab.run(Order::new(program::sleeps())).await?;
    let before = task.footprint()?;
    for _ in 0..40 {
        lab.obey(Command::Redial { id: task.id().to_owned(), via: None }).await?;
        task.is(Status::Running).await?;
    }
    let flat = deadline::until(lab.scaled(NOTICE), || match task.footprint() {
        Ok(now) if now.fds <= before.fds + SLACK && now.threads <= before.threads + SLACK => Some(Ok(())),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    })
    .await;
    match flat {
        Some(looked) => Ok(looked?),
        None => Err(Stop::violated(
            "the shim holds more after forty connections than before",
            format!("{before:?}"),
            format!("{:?}", task.footprint()?),
        )),
    }
}
