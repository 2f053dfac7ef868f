//! Calls that are not permitted: about containers that do not exist, in states that do not allow them, or without sense.

use containerd_shim_protos::protobuf::{Message as _, well_known_types::any::Any};
use serde_json::json;

use crate::{
    check::{Body, Check, Need, Stop},
    contract::task,
    history::{Answer, Code, Loss, Method, Status},
    lab::{
        Container, Lab, Order, Process,
        message::{self, Request, Stdio},
        program, spec,
        stdio::Wiring,
    },
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "refusal/unknown-id",
        clause: &task::UNKNOWN_ID,
        needs: &[],
        notices: &[
            Lie::Code(Method::State, Code::Unknown),
            Lie::Code(Method::Pids, Code::Internal),
            Lie::Accepted(Method::Kill),
            Lie::Broken(Method::Delete),
        ],
        body: Body::Example(|lab| Box::pin(unknown_id(lab, DECIDING))),
    },
    Check {
        id: "refusal/unknown-id-everywhere",
        clause: &task::UNKNOWN_ID_EVERYWHERE,
        needs: &[],
        notices: &[Lie::Code(Method::Start, Code::Unknown), Lie::Accepted(Method::Update), Lie::Broken(Method::Exec)],
        body: Body::Example(|lab| Box::pin(unknown_id(lab, OTHERS))),
    },
    Check {
        id: "refusal/deleted",
        clause: &task::UNKNOWN_ID,
        needs: &[],
        notices: &[Lie::Code(Method::State, Code::Unknown), Lie::Accepted(Method::Pids), Lie::Broken(Method::Kill)],
        body: Body::Example(|lab| Box::pin(deleted(lab))),
    },
    Check {
        id: "refusal/created",
        clause: &task::ILLEGAL_CALL,
        needs: &[],
        notices: &[Lie::Accepted(Method::Pause), Lie::Broken(Method::Resume), Lie::State(Status::Running)],
        body: Body::Example(|lab| Box::pin(created(lab))),
    },
    Check {
        id: "refusal/running",
        clause: &task::ILLEGAL_CALL,
        needs: &[],
        notices: &[Lie::Accepted(Method::Start), Lie::Accepted(Method::Delete), Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(running(lab))),
    },
    Check {
        id: "refusal/paused",
        clause: &task::ILLEGAL_CALL,
        needs: &[Need::Freezer],
        notices: &[Lie::Accepted(Method::Start), Lie::Accepted(Method::Delete), Lie::State(Status::Running)],
        body: Body::Example(|lab| Box::pin(paused(lab))),
    },
    Check {
        id: "refusal/stopped",
        clause: &task::ILLEGAL_CALL,
        needs: &[],
        notices: &[Lie::Accepted(Method::Start), Lie::Accepted(Method::Exec), Lie::State(Status::Running)],
        body: Body::Example(|lab| Box::pin(stopped(lab))),
    },
    Check {
        id: "refusal/code",
        clause: &task::ILLEGAL_CODE,
        needs: &[],
        notices: &[Lie::Code(Method::Start, Code::Unknown), Lie::Code(Method::Delete, Code::Internal)],
        body: Body::Example(|lab| Box::pin(code(lab))),
    },
    Check {
        id: "refusal/second-create",
        clause: &task::SECOND_CREATE,
        needs: &[],
        notices: &[Lie::Accepted(Method::Create), Lie::State(Status::Stopped), Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(second_create(lab))),
    },
    Check {
        id: "refusal/update-of-nothing",
        clause: &task::SENSELESS_REQUEST,
        needs: &[],
        notices: &[Lie::Broken(Method::Update), Lie::ShimDead, Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(update_of_nothing(lab))),
    },
    Check {
        id: "refusal/exec-of-nothing",
        clause: &task::SENSELESS_REQUEST,
        needs: &[],
        notices: &[Lie::Broken(Method::Exec), Lie::ShimDead, Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(exec_of_nothing(lab))),
    },
    Check {
        id: "refusal/garbled-update",
        clause: &task::SENSELESS_REQUEST,
        needs: &[],
        notices: &[Lie::Broken(Method::Update), Lie::ShimDead, Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(garbled_update(lab))),
    },
    Check {
        id: "refusal/foreign-options",
        clause: &task::SENSELESS_REQUEST,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::Unanswered(Method::State)],
        body: Body::Example(|lab| Box::pin(foreign_options(lab))),
    },
];

/// The calls by whose refusal containerd decides whether a task is gone.
const DECIDING: &[Method] = &[Method::State, Method::Pids, Method::Kill, Method::Delete];

/// The other calls that need a container.
const OTHERS: &[Method] = &[
    Method::Start,
    Method::Pause,
    Method::Resume,
    Method::Checkpoint,
    Method::Exec,
    Method::ResizePty,
    Method::CloseIo,
    Method::Update,
    Method::Wait,
    Method::Stats,
];

/// A call about `process` that makes sense, whatever its state.
pub(super) fn sensible(lab: &Lab, method: Method, process: &Process<'_>) -> Request {
    let target = process.target();
    #[expect(clippy::wildcard_enum_match_arm, reason = "of the others the target is all there is to say")]
    match method {
        Method::Kill => message::kill(target, libc::SIGTERM.unsigned_abs(), false),
        Method::Exec => {
            let mut exec = target.clone();
            "e".clone_into(&mut exec.exec);
            let process = spec::process(&program::sleeps(), false, &[]);
            message::exec(&exec, Some(&process), &Stdio::default())
        }
        Method::ResizePty => message::resize(target, 80, 24),
        Method::CloseIo => message::close_stdin(target),
        Method::Update => message::update(target, Some(&json!({ "pids": { "limit": 100 } }))),
        Method::Checkpoint => message::checkpoint(target, &lab.places().base.join("image").display().to_string()),
        _ => message::plain(method, target),
    }
}

/// Each of `methods` finds nobody, beside a container that lives.
async fn unknown_id(lab: &Lab, methods: &[Method]) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let nobody = task.container_named("nobody");
    finds_nobody(lab, &nobody, methods).await?;
    survives(&task)
}

/// After Delete nobody is found under the id.
async fn deleted(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    task.delete().await?;
    finds_nobody(lab, &task, DECIDING).await?;
    survives(&task)
}

async fn finds_nobody(lab: &Lab, nobody: &Process<'_>, methods: &[Method]) -> Result<(), Stop> {
    for &method in methods {
        let answer = nobody.request(sensible(lab, method, nobody)).await?;
        answer.refused(&format!("{method} of an unknown container"), &[Code::NotFound])?;
    }
    Ok(())
}

/// Nothing that has not started can be paused, resumed or checkpointed.
async fn created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let illegal = [Method::Pause, Method::Resume, Method::Checkpoint];
    changes_nothing(lab, &task, Status::Created, &illegal).await
}

/// What runs cannot be started, resumed or deleted.
async fn running(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let illegal = [Method::Start, Method::Resume, Method::Delete];
    changes_nothing(lab, &task, Status::Running, &illegal).await
}

/// What is frozen cannot be started, frozen again or deleted, and nothing can be executed in it.
async fn paused(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    let illegal = [Method::Start, Method::Pause, Method::Delete, Method::Exec];
    changes_nothing(lab, &task, Status::Paused, &illegal).await?;
    task.call(Method::Resume).await?.done("Resume")?;
    Ok(())
}

/// What has ended cannot be started again, nor acted on.
async fn stopped(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    let illegal = [Method::Start, Method::Pause, Method::Resume, Method::Checkpoint, Method::Exec, Method::Update];
    changes_nothing(lab, &task, Status::Stopped, &illegal).await
}

/// Expects that each call is refused, and that the task is then as before.
async fn changes_nothing(lab: &Lab, task: &Container<'_>, status: Status, illegal: &[Method]) -> Result<(), Stop> {
    let before = task.state().await?.pid;
    for &method in illegal {
        let answer = task.request(sensible(lab, method, task)).await?;
        answer.declined(&format!("{method} of a task that is {status:?}"))?;
        as_before(task, status, before).await?;
    }
    survives(task)
}

async fn as_before(task: &Container<'_>, status: Status, pid: Option<u32>) -> Result<(), Stop> {
    let now = task.is(status).await?.pid;
    if now == pid {
        return Ok(());
    }
    let happened = "a call that was refused changed the task's init";
    Err(Stop::violated(happened, format!("{pid:?}"), format!("{now:?}")))
}

fn survives(task: &Container<'_>) -> Result<(), Stop> {
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive", "a living shim", "none"))
}

/// The code for a call at the wrong time says so.
async fn code(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    for method in [Method::Start, Method::Delete] {
        let answer = task.call(method).await?;
        answer.refused(&format!("{method} of a running task"), &[Code::FailedPrecondition])?;
    }
    Ok(())
}

/// A second Create under the id of a running container does it no harm.
async fn second_create(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let pid = task.create().await?;
    task.start().await?;
    lab.call(task.create_request()?).await?.declined("a second Create")?;
    as_before(&task, Status::Running, Some(pid)).await?;
    task.end().await?;
    task.delete().await?;
    Ok(())
}

/// Update without resources.
async fn update_of_nothing(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let request = message::update(task.target(), None);
    is_survived(&task, task.request(request).await?).await
}

/// Exec without a process.
async fn exec_of_nothing(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.plan_exec("e", Wiring::Null)?;
    let request = message::exec(exec.target(), None, &Stdio::default());
    is_survived(&task, lab.call(request).await?).await
}

/// Update with resources that are no resources.
async fn garbled_update(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let request = message::update(task.target(), Some(&json!(["not", "resources"])));
    is_survived(&task, task.request(request).await?).await
}

/// Expects an answer of any kind, and a shim and a task that live on.
async fn is_survived(task: &Container<'_>, answer: Answer) -> Result<(), Stop> {
    answered(&answer)?;
    task.is(Status::Running).await?;
    survives(task)
}

fn answered(answer: &Answer) -> Result<(), Stop> {
    match answer {
        Answer::Done(_) | Answer::Refused { .. } | Answer::Lost(Loss::ContainerdDied) => Ok(()),
        Answer::Lost(Loss::Deadline | Loss::Disconnected) => {
            Err(Stop::violated("the request was not answered", "an answer of any kind", answer.to_string()))
        }
    }
}

/// Create with options of a type that exists and is meant for something else.
async fn foreign_options(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let mut options = Any::new();
    "containerd.runc.v1.ProcessDetails".clone_into(&mut options.type_url);
    // Its exec id: an Any without a value may count as none.
    options.value = b"\x0a\x01e".to_vec();
    let options = options.write_to_bytes().map_err(anyhow::Error::from)?;
    let bundle = task.bundle().display().to_string();
    let rootfs = lab.places().rootfs.display().to_string();
    let request = message::create(task.target(), &bundle, Some(&rootfs), &Stdio::default(), &options)?;
    answered(&lab.call(request).await?)?;
    // Known or unknown, the shim must be there to say.
    answered(&task.call(Method::State).await?)?;
    survives(&task)
}
