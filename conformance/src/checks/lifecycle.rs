//! Whole lives: what a user of containerd takes for granted.

use crate::{
    check::{Body, Check, Stop},
    contract,
    history::{Method, Status, Topic},
    lab::{Lab, NOTICE, Order, program},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "lifecycle/exit-code",
        clause: &contract::task::EXIT_STATUS,
        needs: &[],
        notices: &[
            Lie::ExitStatus(Method::Wait),
            Lie::ExitStatus(Method::Delete),
            Lie::ExitTime(Method::Delete),
            Lie::EventExit(Topic::Exit),
            Lie::Dropped(Topic::Exit),
            Lie::Refused(Method::Start),
        ],
        body: Body::Example(|lab| Box::pin(exit_code(lab))),
    },
    Check {
        id: "lifecycle/containerd-restarts",
        clause: &contract::life::REATTACH,
        needs: &[],
        notices: &[
            Lie::State(Status::Stopped),
            Lie::Unanswered(Method::Connect),
            Lie::Pid(Method::State),
        ],
        body: Body::Example(|lab| Box::pin(containerd_restarts(lab))),
    },
];

/// A program's exit code is the same in Wait, the exit event and Delete, and the events come in the order of its life.
async fn exit_code(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::exits_with(7))).await?;
    task.start().await?;
    let exit = task.wait().await?.reports(7)?;
    let event = task.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    task.delete().await?.agrees(exit, "Wait")?;
    task.announces(&[Topic::Create, Topic::Start, Topic::Exit, Topic::Delete], NOTICE)
        .await
}

/// containerd is killed while a container runs; the next one finds it running, and its exit arrives.
async fn containerd_restarts(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let pid = task.start().await?;
    lab.kill_containerd().await?;
    lab.start_containerd().await?;
    let found = lab.reattached(&task)?;
    if found.task_pid != Some(pid) {
        return Err(Stop::violated(
            "Connect names another init",
            pid.to_string(),
            format!("{:?}", found.task_pid),
        ));
    }
    let state = task.is(Status::Running).await?;
    if state.pid != Some(pid) {
        return Err(Stop::violated(
            "State names another init",
            pid.to_string(),
            format!("{:?}", state.pid),
        ));
    }
    task.end().await?;
    task.announced(Topic::Exit, NOTICE).await?;
    task.remove().await
}
