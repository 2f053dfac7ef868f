//! What an exec is given: its process, its id, and the state of its container.

use std::{fs, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    check::{Body, Check, Need, Stop},
    contract::exec,
    history::{Answer, Loss, Method, Status, Topic},
    lab::{Container, Lab, NOTICE, Order, program, spec, stdio::Wiring},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "exec/as-specified",
        clause: &exec::AS_SPECIFIED,
        needs: &[],
        notices: &[Lie::ContainerSees, Lie::OutputCut, Lie::Refused(Method::Exec)],
        body: Body::Example(|lab| Box::pin(as_specified(lab))),
    },
    Check {
        id: "exec/missing-directory",
        clause: &exec::FAILED_START,
        needs: &[],
        notices: START_LIES,
        body: Body::Example(|lab| Box::pin(cannot_start(lab, "cwd", "/no/such/directory"))),
    },
    Check {
        id: "exec/not-executable",
        clause: &exec::FAILED_START,
        needs: &[],
        notices: START_LIES,
        body: Body::Example(|lab| Box::pin(cannot_start(lab, "args", "/shared/text"))),
    },
    Check {
        id: "exec/a-directory",
        clause: &exec::FAILED_START,
        needs: &[],
        notices: START_LIES,
        body: Body::Example(|lab| Box::pin(cannot_start(lab, "args", "/shared"))),
    },
    Check {
        id: "exec/in-created",
        clause: &exec::IN_CREATED,
        needs: &[],
        notices: &[Lie::Refused(Method::Exec), Lie::ExitStatus(Method::Wait), Lie::State(Status::Running)],
        body: Body::Example(|lab| Box::pin(in_created(lab))),
    },
    Check {
        id: "exec/never-started-wait",
        clause: &exec::NEVER_STARTED_WAIT,
        needs: &[],
        notices: &[Lie::Unanswered(Method::Wait)],
        body: Body::Example(|lab| Box::pin(never_started_wait(lab))),
    },
    Check {
        id: "exec/leaves-init-alone",
        clause: &exec::LEAVES_INIT_ALONE,
        needs: &[],
        notices: &[Lie::State(Status::Stopped), Lie::ExitStatus(Method::Wait), Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(leaves_init_alone(lab))),
    },
    Check {
        id: "exec/kill-all-of-an-exec",
        clause: &exec::KILL_OTHERS_NOT,
        needs: &[],
        notices: &[Lie::State(Status::Stopped), Lie::Refused(Method::Kill), Lie::PidsEmpty],
        body: Body::Example(|lab| Box::pin(kill_all_of_an_exec(lab))),
    },
    Check {
        id: "exec/same-id-elsewhere",
        clause: &exec::OF_ITS_CONTAINER,
        needs: &[],
        notices: &[Lie::Refused(Method::Exec), Lie::ExitStatus(Method::Wait), Lie::EventExit(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(same_id_elsewhere(lab))),
    },
    Check {
        id: "exec/empty-id",
        clause: &exec::EMPTY_ID,
        needs: &[],
        notices: &[Lie::Broken(Method::Exec), Lie::State(Status::Stopped), Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(odd_id(lab, ""))),
    },
    Check {
        id: "exec/very-long-id",
        clause: &exec::ANY_ID,
        needs: &[],
        notices: ID_LIES,
        body: Body::Example(|lab| Box::pin(async { odd_id(lab, &"x".repeat(300)).await })),
    },
    Check {
        id: "exec/id-with-a-slash",
        clause: &exec::ANY_ID,
        needs: &[],
        notices: ID_LIES,
        body: Body::Example(|lab| Box::pin(odd_id(lab, "a/b"))),
    },
    Check {
        id: "exec/id-with-a-space",
        clause: &exec::ANY_ID,
        needs: &[],
        notices: ID_LIES,
        body: Body::Example(|lab| Box::pin(odd_id(lab, "a b"))),
    },
    Check {
        id: "exec/id-like-an-option",
        clause: &exec::ANY_ID,
        needs: &[],
        notices: ID_LIES,
        body: Body::Example(|lab| Box::pin(odd_id(lab, "--all"))),
    },
    Check {
        id: "exec/paused-in-between",
        clause: &exec::PAUSED,
        needs: &[Need::Freezer],
        notices: &[Lie::Refused(Method::Resume), Lie::ExitStatus(Method::Wait), Lie::Unanswered(Method::Start)],
        body: Body::Example(|lab| Box::pin(paused_in_between(lab))),
    },
];

const START_LIES: &[Lie] = &[Lie::Accepted(Method::Start), Lie::Broken(Method::Start), Lie::Refused(Method::Delete)];
const ID_LIES: &[Lie] = &[Lie::Broken(Method::Exec), Lie::State(Status::Stopped), Lie::ShimDead];

/// An exec's own user, directory and environment.
async fn as_specified(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps()).env("OF=init")).await?;
    let exec = task.plan_exec("e", Wiring::Output)?;
    let mut process = spec::process(&program::reports(), false, &["OF=exec".to_owned()]);
    process["cwd"] = json!("/shared");
    if !lab.job().unprivileged {
        process["user"] = json!({ "uid": 1234, "gid": 5678 });
    }
    lab.call(exec.request_of(&process)).await?.done("Exec")?;
    exec.start().await?;
    exec.wait().await?.reports(0)?;
    let lines = |seen: &[u8]| seen.ends_with(b"\n");
    let text = exec.streams().stdout.until(lab, Duration::from_secs(5), "a line of report", lines).await?;
    let mut report: Value = serde_json::from_slice(&text).context("decode the payload's report")?;
    if lab.lie() == Some(Lie::ContainerSees) {
        report["uid"] = json!(0);
        report["env"] = json!(["OF=init"]);
    }
    let env =
        report["env"].as_array().is_some_and(|env| env.contains(&json!("OF=exec")) && !env.contains(&json!("OF=init")));
    let user = lab.job().unprivileged || (report["uid"] == 1234 && report["gid"] == 5678);
    if env && user && report["cwd"] == "/shared" {
        return Ok(());
    }
    Err(Stop::violated("the exec is not as its spec says", process.to_string(), report.to_string()))
}

/// An exec whose spec cannot be carried out: Start says so, and all that is left is to delete it.
async fn cannot_start(lab: &Lab, field: &str, value: &str) -> Result<(), Stop> {
    fs::write(lab.places().shared.join("text"), "no program").context("write a file that is no program")?;
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.plan_exec("bad", Wiring::Null)?;
    let mut process = spec::process(&program::exits_with(0), false, &[]);
    process[field] = if field == "args" { json!([value]) } else { json!(value) };
    // What Exec refuses already needs no Start.
    match lab.call(exec.request_of(&process)).await? {
        Answer::Done(_) => {
            exec.call(Method::Start).await?.declined("Start of what cannot be executed")?;
            exec.call(Method::Delete).await?.done("Delete of an exec that could not be started")?;
        }
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => answer.declined("Exec of what cannot be executed")?,
    }
    let next = task.exec("good", &program::exits_with(0), Wiring::Null).await?;
    next.start().await?;
    next.wait().await?.reports(0)?;
    next.delete().await?;
    silent(&exec.topics())
}

/// Expects that nothing was announced as started or ended.
fn silent(topics: &[Topic]) -> Result<(), Stop> {
    if topics.iter().any(|topic| matches!(topic, Topic::ExecStarted | Topic::Exit)) {
        let happened = "an exec that could not be started was announced as if it had been";
        return Err(Stop::violated(happened, Topic::ExecAdded.name(), format!("{topics:?}")));
    }
    Ok(())
}

/// An exec lives in a container whose program has not begun.
async fn in_created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::exits_with(4), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?.reports(4)?;
    task.is(Status::Created).await?;
    task.start().await?;
    Ok(())
}

/// Wait for an exec that nobody starts: at the latest the end of its task ends it.
async fn never_started_wait(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let waiting = exec.begin(Method::Wait).await?;
    task.kill(libc::SIGKILL).await?;
    task.announced(Topic::Exit, NOTICE).await?;
    task.delete().await?.reports(137)?;
    let answer = waiting.answer_within(lab.scaled(NOTICE), "its task has been deleted").await?;
    match answer {
        Answer::Done(_) | Answer::Refused { .. } => Ok(()),
        Answer::Lost(Loss::ContainerdDied) => Err(Stop::Inconclusive("containerd died first".to_owned())),
        Answer::Lost(Loss::Deadline | Loss::Disconnected) => {
            Err(Stop::violated("Wait has no answer", "an answer of any kind", answer.to_string()))
        }
    }
}

/// Execs that fail, die and are killed.
async fn leaves_init_alone(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let init = task.start().await?;
    let ends = [
        ("fails", program::exits_with(1), 1),
        ("aborts", program::dies_by(libc::SIGABRT), 134),
        ("is-killed", program::dies_by(libc::SIGKILL), 137),
    ];
    for (id, program, status) in ends {
        let exec = task.exec(id, &program, Wiring::Null).await?;
        exec.start().await?;
        exec.wait().await?.reports(status)?;
        exec.delete().await?.reports(status)?;
        let pid = task.is(Status::Running).await?.pid;
        if pid != Some(init) {
            let happened = format!("init is another process after an exec that {id}");
            return Err(Stop::violated(happened, init.to_string(), format!("{pid:?}")));
        }
    }
    Ok(())
}

/// Kill of one exec, with all: neither init nor the other exec is meant.
async fn kill_all_of_an_exec(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let one = task.exec("one", &program::sleeps(), Wiring::Null).await?;
    let other = task.exec("other", &program::sleeps(), Wiring::Null).await?;
    one.start().await?;
    let pid = other.start().await?;
    let request = crate::lab::message::kill(one.target(), libc::SIGKILL.unsigned_abs(), true);
    lab.call(request).await?.done("Kill of an exec with all")?;
    one.wait().await?.reports(137)?;
    other.is(Status::Running).await?;
    task.is(Status::Running).await?;
    let processes = task.call(Method::Pids).await?.done("Pids")?.processes;
    if processes.len() == 2 && processes.iter().any(|process| process.pid == pid) {
        return Ok(());
    }
    let expected = format!("init and process {pid}");
    Err(Stop::violated("Kill of an exec reached others", expected, format!("{processes:?}")))
}

/// Two containers of one shim, each with an exec of the same id.
async fn same_id_elsewhere(lab: &Lab) -> Result<(), Stop> {
    let member = |id: &str| Order::new(program::sleeps()).id(id).group("left");
    let left = lab.run(member("left")).await?;
    let right = lab.run(member("right")).await?;
    let of = async |task: &Container<'_>, status: u8| -> Result<(), Stop> {
        let exec = task.exec("e", &program::exits_with(status), Wiring::Null).await?;
        exec.start().await?;
        let exit = exec.wait().await?.reports(u32::from(status))?;
        exec.announced(Topic::Exit, NOTICE).await?.exit.unwrap_or(exit).agrees(exit, "Wait")?;
        Ok(())
    };
    of(&left, 11).await?;
    of(&right, 22).await?;
    left.exec_named("e").delete().await?.reports(11)?;
    right.exec_named("e").delete().await?.reports(22)?;
    Ok(())
}

/// An exec of an id that containerd would not let through: served or refused, and init goes on.
async fn odd_id(lab: &Lab, id: &str) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    let init = task.start().await?;
    let exec = task.exec_named(id);
    let process = spec::process(&program::exits_with(0), false, &[]);
    let request = crate::lab::message::exec(exec.target(), Some(&process), &Default::default());
    let answer = lab.call(request).await?;
    // Without an id every further call would be about init.
    if matches!(answer, Answer::Done(_)) && !id.is_empty() {
        if let Answer::Done(_) = exec.call(Method::Start).await? {
            exec.wait().await?.reports(0)?;
        }
        exec.call(Method::Delete).await?.done("Delete of the exec")?;
    } else if !matches!(answer, Answer::Done(_)) {
        answer.declined("Exec")?;
    }
    let pid = task.is(Status::Running).await?.pid;
    if pid != Some(init) {
        return Err(Stop::violated("init is another process", init.to_string(), format!("{pid:?}")));
    }
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive", "a living shim", "none"))
}

/// Added while the container runs, started while it is frozen: it runs at the latest after Resume, or Start was refused.
async fn paused_in_between(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::exits_with(8), Wiring::Null).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    let starting = exec.begin(Method::Start).await?;
    // Start may wait for the thaw; a round trip lets it get there.
    task.is(Status::Paused).await?;
    task.call(Method::Resume).await?.done("Resume")?;
    match starting.answer_within(lab.scaled(NOTICE * 5), "the container has been resumed").await? {
        Answer::Done(_) => exec.wait().await?.reports(8).map(drop),
        refused @ (Answer::Refused { .. } | Answer::Lost(_)) => {
            refused.declined("Start of an exec in a paused container")?;
            let again = task.exec("again", &program::exits_with(8), Wiring::Null).await?;
            again.start().await?;
            again.wait().await?.reports(8).map(drop)
        }
    }
}
