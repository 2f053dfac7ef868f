//! The OCI runtime is slow, fails, or dies at a chosen step.

use std::time::Duration;

use fault_injector::engine::rules::{Action, When};
use nix::sys::signal::Signal;

use crate::{
    check::{Body, Check, Need, Stop},
    contract::runtime,
    history::{Code, Method, Status},
    lab::{Container, Lab, Order, message, program, stdio::Wiring},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "runtime/slow-create-holds-up-nobody",
        clause: &runtime::NEIGHBOURS_ANSWER,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Unanswered(Method::State), Lie::Unanswered(Method::Connect)],
        body: Body::Example(|lab| Box::pin(slow_create(lab))),
    },
    Check {
        id: "runtime/slow-start-holds-up-nobody",
        clause: &runtime::NEIGHBOURS_ANSWER,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Unanswered(Method::State), Lie::Unanswered(Method::Kill)],
        body: Body::Example(|lab| Box::pin(slow_start(lab))),
    },
    Check {
        id: "runtime/create-fails",
        clause: &runtime::FAILED_CREATE_LEAVES_NOTHING,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Accepted(Method::Create), Lie::Broken(Method::Create), Lie::Accepted(Method::State)],
        body: Body::Example(|lab| Box::pin(create_fails(lab, When::Before, fails()))),
    },
    Check {
        id: "runtime/create-is-killed",
        clause: &runtime::FAILED_CREATE_LEAVES_NOTHING,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Accepted(Method::Create), Lie::Unanswered(Method::Create), Lie::Accepted(Method::State)],
        body: Body::Example(|lab| Box::pin(create_fails(lab, When::Before, Action::KillSelf))),
    },
    Check {
        id: "runtime/create-works-then-fails",
        clause: &runtime::FAILED_CREATE_LEAVES_NOTHING,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Accepted(Method::Create), Lie::LeftProcess],
        body: Body::Example(|lab| Box::pin(create_fails(lab, When::After, Action::SucceedThenExit { code: 9 }))),
    },
    Check {
        id: "runtime/start-fails",
        clause: &runtime::START_FAILURE_KEEPS_TASK,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Accepted(Method::Start), Lie::Broken(Method::Start), Lie::Refused(Method::Delete)],
        body: Body::Example(|lab| Box::pin(start_fails(lab))),
    },
    Check {
        id: "runtime/exec-fails",
        clause: &runtime::FAILURE_IS_TOLD,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Accepted(Method::Start), Lie::Broken(Method::Start), Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(exec_fails(lab))),
    },
    Check {
        id: "runtime/kill-fails",
        clause: &runtime::FAILURE_IS_TOLD,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::Accepted(Method::Kill), Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(kill_fails(lab))),
    },
    Check {
        id: "runtime/shim-killed-while-it-creates",
        clause: &runtime::LATE_RUNTIME,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::LeftProcess, Lie::LeftCgroup, Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(shim_killed_while_it_creates(lab))),
    },
];

/// containerd's deadline for State when it lists tasks (`io.containerd.timeout.task.state`).
const STATE: Duration = Duration::from_secs(2);

fn fails() -> Action {
    Action::Exit { code: 3, message: "told to fail".to_owned() }
}

fn member() -> Order {
    Order::new(program::sleeps()).group("pod")
}

/// State and Connect about a running member of a group answer while the runtime is creating another member.
async fn slow_create(lab: &Lab) -> Result<(), Stop> {
    let running = lab.run(member()).await?;
    let other = lab.serve(member()).await?;
    let rules = lab.hold("create")?;
    let creating = lab.begin(other.create_request()?).await?;
    rules.reached("create").await?;
    for method in [Method::State, Method::Connect] {
        let call = running.begin(method).await?;
        let duty = "the runtime is busy with another container";
        call.answer_within(lab.scaled(STATE), duty).await?.done(method.name())?;
    }
    rules.open();
    creating.answer().await?.done("Create").map(drop)
}

/// State and Kill about one member answer while the runtime is starting another one.
async fn slow_start(lab: &Lab) -> Result<(), Stop> {
    let running = lab.run(member()).await?;
    let other = lab.create(member()).await?;
    let rules = lab.hold("start")?;
    let starting = other.begin(Method::Start).await?;
    rules.reached("start").await?;
    let duty = "the runtime is busy with another container";
    let state = running.begin(Method::State).await?;
    state.answer_within(lab.scaled(STATE), duty).await?.done("State")?;
    let kill = lab.begin(message::kill(running.target(), Signal::SIGKILL as u32, false)).await?;
    kill.answer_within(lab.scaled(STATE), duty).await?.done("Kill")?;
    rules.open();
    starting.answer().await?.done("Start").map(drop)
}

/// Whatever way the runtime's `create` fails, Create says so, the id stays unknown, and nothing is left when the shim is sent home.
async fn create_fails(lab: &Lab, when: When, action: Action) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let rules = lab.misbehave("create", when, action)?;
    lab.call(container.create_request()?).await?.declined("Create whose runtime failed")?;
    drop(rules);
    container.call(Method::State).await?.refused("State", &[Code::NotFound])?;
    if container.rootfs_is_mounted()? {
        return Err(Stop::violated("a failed Create left the rootfs mounted", "no mount", "a mount"));
    }
    container.shutdown().await
}

/// Start is refused, State still answers, and the task can be deleted.
async fn start_fails(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let rules = lab.misbehave("start", When::Before, fails())?;
    task.call(Method::Start).await?.declined("Start whose runtime failed")?;
    drop(rules);
    task.state().await?;
    gone(&task).await
}

/// Kills whatever is still there and deletes the task; a task that is stopped already may refuse to be killed.
async fn gone(task: &Container<'_>) -> Result<(), Stop> {
    // Both answers are right here: it may have ended by itself.
    task.try_kill(Signal::SIGKILL as i32).await?;
    let wait = task.begin(Method::Wait).await?;
    wait.answer_within(task.lab().scaled(Duration::from_secs(5)), "init was killed").await?.exit("Wait")?;
    task.delete().await.map(drop)
}

/// Start of an exec is refused, init runs on, and the exec can be deleted.
async fn exec_fails(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::exits_with(0), Wiring::Null).await?;
    let rules = lab.misbehave("exec", When::Before, fails())?;
    exec.call(Method::Start).await?.declined("Start whose runtime failed")?;
    drop(rules);
    task.is(Status::Running).await?;
    exec.call(Method::Delete).await?.done("Delete").map(drop)
}

/// Kill is refused, and the task runs on.
async fn kill_fails(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let rules = lab.misbehave("kill", When::Before, fails())?;
    let answer = task.try_kill(Signal::SIGTERM as i32).await?;
    if rules.bites() == 0 {
        return Err(Stop::NotApplicable("the shim kills without the runtime".to_owned()));
    }
    answer.declined("Kill whose runtime failed")?;
    drop(rules);
    task.is(Status::Running).await.map(drop)
}

/// The shim is killed while the runtime's `create` is held; `delete` runs; then the runtime goes on. In the end nothing may be left.
async fn shim_killed_while_it_creates(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let rules = lab.hold("create")?;
    let creating = lab.begin(container.create_request()?).await?;
    let runtime = rules.reached("create").await?;
    container.signal_shim(Signal::SIGKILL)?;
    container.shim_gone(Duration::from_secs(1)).await?;
    // The shim that could have answered is dead.
    drop(creating);
    container.execute_delete().await?;
    rules.open();
    rules.ended(runtime).await?;
    drop(rules);
    lab.left_nothing("the runtime went on after its shim and delete", Duration::from_secs(2), true).await
}
