//! Whole lives: what a user of containerd takes for granted.

use proptest::strategy::BoxedStrategy;

use crate::{
    check::{Body, Check, Stop},
    contract,
    history::{Method, Status, Topic},
    lab::{Lab, NOTICE, Order, REDELIVERY, program},
    lie::Lie,
    property::{self, Mix},
    script::Script,
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
        notices: &[Lie::State(Status::Stopped), Lie::NotFoundAgain, Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(containerd_restarts(lab))),
    },
    Check {
        id: "lifecycle/any-life",
        clause: &contract::always::MATRIX,
        needs: &[],
        notices: &[
            Lie::Refused(Method::Create),
            Lie::Pid(Method::Create),
            Lie::ExitStatus(Method::Delete),
            Lie::Dropped(Topic::Delete),
        ],
        body: Body::Property(any_life),
    },
    Check {
        id: "lifecycle/any-life-with-execs",
        clause: &contract::always::MATRIX,
        needs: &[],
        notices: &[Lie::Refused(Method::Exec), Lie::Refused(Method::Create), Lie::ExitStatus(Method::Delete)],
        body: Body::Property(any_life_with_execs),
    },
    Check {
        id: "lifecycle/any-life-with-containerd-deaths",
        clause: &contract::always::MATRIX,
        needs: &[],
        notices: &[Lie::NotFoundAgain, Lie::Refused(Method::Create), Lie::ExitStatus(Method::Delete)],
        body: Body::Property(any_life_with_containerd_deaths),
    },
    Check {
        id: "lifecycle/any-life-with-process-kills",
        clause: &contract::always::MATRIX,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::ExitStatus(Method::Delete), Lie::Dropped(Topic::Exit)],
        body: Body::Property(any_life_with_process_kills),
    },
];

/// Whatever is called in whatever order, the answers are those of the matrix, and every invariant holds.
fn any_life() -> BoxedStrategy<Script> {
    property::lives(Mix::default())
}

/// The same with up to three execs at a time.
fn any_life_with_execs() -> BoxedStrategy<Script> {
    property::lives(Mix { execs: true, ..Mix::default() })
}

/// The same while containerd dies between calls and in the middle of them, hangs up, or does not take events.
fn any_life_with_containerd_deaths() -> BoxedStrategy<Script> {
    property::lives(Mix { execs: true, restarts: true, ..Mix::default() })
}

/// The same while init is killed past the shim and the shim is stopped for a while.
fn any_life_with_process_kills() -> BoxedStrategy<Script> {
    property::lives(Mix { execs: true, kills: true, ..Mix::default() })
}

/// A program's exit code is the same in Wait, the exit event and Delete, and the events come in the order of its life.
async fn exit_code(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::exits_with(7))).await?;
    task.start().await?;
    let exit = task.wait().await?.reports(7)?;
    let event = task.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    task.delete().await?.agrees(exit, "Wait")?;
    task.announces(&[Topic::Create, Topic::Start, Topic::Exit, Topic::Delete], NOTICE).await
}

/// containerd is killed while a container runs; the next one finds it running, and its exit arrives.
async fn containerd_restarts(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let pid = task.start().await?;
    lab.kill_containerd().await?;
    lab.start_containerd().await?;
    let found = lab.reattached(&task)?;
    if found.task_pid != Some(pid) {
        return Err(Stop::violated("Connect names another init", pid.to_string(), format!("{:?}", found.task_pid)));
    }
    let state = task.is(Status::Running).await?;
    if state.pid != Some(pid) {
        return Err(Stop::violated("State names another init", pid.to_string(), format!("{:?}", state.pid)));
    }
    task.end().await?;
    task.announced(Topic::Exit, REDELIVERY).await?;
    task.remove().await
}
