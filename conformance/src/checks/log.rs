//! The shim's log.

use crate::{
    check::{Body, Check, Stop},
    contract::log,
    history::{Method, Status},
    lab::{Lab, NOTICE, Order, deadline, program, stdio::Wiring},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "log/fifo",
        clause: &log::FIFO,
        needs: &[],
        notices: &[Lie::LogUnheld],
        body: Body::Example(|lab| Box::pin(fifo(lab))),
    },
    Check {
        id: "log/reader-gone",
        clause: &log::READER_GONE,
        needs: &[],
        notices: &[Lie::ShimDead, Lie::LogUnheld, Lie::ExitStatus(Method::Delete)],
        body: Body::Example(|lab| Box::pin(reader_gone(lab))),
    },
];

/// The kernel tells what the shim's descriptors refer to.
async fn fifo(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let held = deadline::until(lab.scaled(NOTICE), || match task.shim_holds_log() {
        Ok(held) => held.then_some(Ok(())),
        Err(e) => Some(Err(e)),
    });
    match held.await {
        Some(looked) => Ok(looked?),
        None => Err(not_held()),
    }
}

fn not_held() -> Stop {
    Stop::violated("the shim does not hold the FIFO of its log", "log of the bundle among its descriptors", "it is not")
}

/// The reader dies while execs fail and an init ends; the next one finds the shim with its log.
async fn reader_gone(lab: &Lab) -> Result<(), Stop> {
    let gate = lab.gate("reader-gone")?;
    let task = lab.run(Order::new(program::behind("reader-gone", &program::exits_with(5)))).await?;
    let exec = task.exec("e", &program::behind("reader-gone", &program::exits_with(6)), Wiring::Null).await?;
    exec.start().await?;
    lab.kill_containerd().await?;
    gate.open()?;
    lab.start_containerd().await?;
    lab.reattached(&task)?;
    let exit = task.wait().await?.reports(5)?;
    task.is(Status::Stopped).await?;
    if !task.shim_holds_log()? {
        return Err(not_held());
    }
    task.delete().await?.agrees(exit, "Wait")?;
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive its reader", "a living shim", "none"))
}
