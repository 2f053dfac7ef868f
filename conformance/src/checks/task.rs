//! What a shim answers about a container and its init, from Create to Delete.

use std::time::Duration;

use crate::{
    check::{Body, Check, Need, Stop},
    clock,
    contract::task,
    history::{Answer, Code, Method, Residue, Status, Topic},
    lab::{
        Container, Lab, NOTICE, Order, SHUTDOWN, deadline,
        message::{self, Request, Stdio},
        process, program, residue,
        stdio::Wiring,
    },
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "task/create-runs-nothing",
        clause: &task::CREATE,
        needs: &[],
        notices: &[Lie::Pid(Method::Create), Lie::Refused(Method::Create)],
        body: Body::Example(|lab| Box::pin(create_runs_nothing(lab))),
    },
    Check {
        id: "task/one-pid",
        clause: &task::PID,
        needs: &[],
        notices: &[Lie::Pid(Method::Create), Lie::Pid(Method::Start), Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(one_pid(lab))),
    },
    Check {
        id: "task/state-describes",
        clause: &task::DESCRIPTION,
        needs: &[],
        notices: &[Lie::Description, Lie::State(Status::Running)],
        body: Body::Example(|lab| Box::pin(state_describes(lab))),
    },
    Check {
        id: "task/connect",
        clause: &task::CONNECT,
        needs: &[],
        notices: &[Lie::TaskPid, Lie::ShimPid, Lie::Refused(Method::Connect)],
        body: Body::Example(|lab| Box::pin(connect(lab))),
    },
    Check {
        id: "task/pids",
        clause: &task::PIDS,
        needs: &[Need::Controller("pids")],
        notices: &[Lie::PidsEmpty, Lie::Refused(Method::Pids)],
        body: Body::Example(|lab| Box::pin(pids(lab))),
    },
    Check {
        id: "task/exits-with-0",
        clause: &task::EXIT_STATUS,
        needs: &[],
        notices: EXIT_LIES,
        body: Body::Example(|lab| Box::pin(exits_with(lab, 0))),
    },
    Check {
        id: "task/exits-with-127",
        clause: &task::EXIT_STATUS,
        needs: &[],
        notices: EXIT_LIES,
        body: Body::Example(|lab| Box::pin(exits_with(lab, 127))),
    },
    Check {
        id: "task/exits-with-255",
        clause: &task::EXIT_STATUS,
        needs: &[],
        notices: EXIT_LIES,
        body: Body::Example(|lab| Box::pin(exits_with(lab, 255))),
    },
    Check {
        id: "task/ends-by-signal",
        clause: &task::EXIT_STATUS,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::ExitStatus(Method::Delete), Lie::Refused(Method::Exec)],
        body: Body::Example(|lab| Box::pin(ends_by_signal(lab))),
    },
    Check {
        id: "task/exit-time",
        clause: &task::EXIT_TIME,
        needs: &[],
        notices: &[Lie::ExitTime(Method::Wait)],
        body: Body::Example(|lab| Box::pin(exit_time(lab))),
    },
    Check {
        id: "task/many-wait",
        clause: &task::WAIT,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::Broken(Method::Wait), Lie::Unanswered(Method::State)],
        body: Body::Example(|lab| Box::pin(many_wait(lab))),
    },
    Check {
        id: "task/late-wait",
        clause: &task::WAIT,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::Refused(Method::Wait)],
        body: Body::Example(|lab| Box::pin(late_wait(lab))),
    },
    Check {
        id: "task/wait-ignores-streams",
        clause: &task::WAIT_FOR_PROCESS,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::Unanswered(Method::Wait)],
        body: Body::Example(|lab| Box::pin(wait_ignores_streams(lab))),
    },
    Check {
        id: "task/wait-over-delete",
        clause: &task::WAIT_OVER_DELETE,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::Refused(Method::Wait), Lie::Broken(Method::Wait)],
        body: Body::Example(|lab| Box::pin(wait_over_delete(lab))),
    },
    Check {
        id: "task/no-such-program",
        clause: &task::FAILED_CREATE,
        needs: &[],
        notices: FAILURE_LIES,
        body: Body::Example(|lab| Box::pin(no_such_program(lab))),
    },
    Check {
        id: "task/no-such-stdio",
        clause: &task::FAILED_CREATE,
        needs: &[],
        notices: FAILURE_LIES,
        body: Body::Example(|lab| Box::pin(no_such_stdio(lab))),
    },
    Check {
        id: "task/no-such-bundle",
        clause: &task::FAILED_CREATE,
        needs: &[],
        notices: FAILURE_LIES,
        body: Body::Example(|lab| Box::pin(no_such_bundle(lab))),
    },
    Check {
        id: "task/delete-created",
        clause: &task::DELETE,
        needs: &[],
        notices: &[Lie::Refused(Method::Delete), Lie::Code(Method::State, Code::Unknown), Lie::Accepted(Method::State)],
        body: Body::Example(|lab| Box::pin(delete_created(lab))),
    },
    Check {
        id: "task/delete-with-execs",
        clause: &task::DELETE,
        needs: &[],
        notices: &[Lie::Refused(Method::Delete), Lie::Accepted(Method::State), Lie::Refused(Method::Exec)],
        body: Body::Example(|lab| Box::pin(delete_with_execs(lab))),
    },
    Check {
        id: "task/delete-twice",
        clause: &task::DELETE_UNKNOWN,
        needs: &[],
        notices: &[
            Lie::Accepted(Method::Delete),
            Lie::Code(Method::Delete, Code::Unknown),
            Lie::Broken(Method::Delete),
        ],
        body: Body::Example(|lab| Box::pin(delete_twice(lab))),
    },
];

/// Under each of these an exit is told differently in one place.
const EXIT_LIES: &[Lie] = &[
    Lie::ExitStatus(Method::Wait),
    Lie::ExitStatus(Method::State),
    Lie::ExitStatus(Method::Delete),
    Lie::EventExit(Topic::Exit),
    Lie::State(Status::Running),
];

/// Under each of these a Create that failed is not clean.
const FAILURE_LIES: &[Lie] = &[
    Lie::Accepted(Method::Create),
    Lie::Code(Method::State, Code::Unknown),
    Lie::LeftMount,
    Lie::LeftCgroup,
    Lie::LeftFile,
];

/// How long the suite waits for something that must happen, where the contract names no time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between Create and Start there is a process, and the program has not begun.
async fn create_runs_nothing(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::touches("ran"))).await?;
    let pid = task.create().await?;
    let told = task.is(Status::Created).await?.pid;
    if process::identify(pid).is_none() || told != Some(pid) {
        let expected = format!("a living process, {told:?} as State says");
        return Err(Stop::violated("Create does not name init", expected, pid.to_string()));
    }
    let trace = lab.places().shared.join("ran");
    if trace.exists() {
        return Err(Stop::violated("the program runs before Start", "a process that waits", "the program's trace"));
    }
    task.start().await?;
    let ran = deadline::until(lab.scaled(PATIENCE), || trace.exists().then_some(())).await;
    ran.ok_or_else(|| Stop::violated("the program does not run after Start", "the program's trace", "none"))
}

/// Create, Start and State agree about init.
async fn one_pid(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let created = task.create().await?;
    let started = task.start().await?;
    let told = task.is(Status::Running).await?.pid;
    if started == created && told == Some(created) {
        return Ok(());
    }
    Err(Stop::violated(
        "the pid of init is told differently",
        format!("{created}, as Create said"),
        format!("{started} by Start, {told:?} by State"),
    ))
}

/// State says what Create was told, before and after Start.
async fn state_describes(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps()).wired(Wiring::All)).await?;
    for status in [Status::Created, Status::Running] {
        if status == Status::Running {
            task.start().await?;
        }
        let told = task.is(status).await?.described.unwrap_or_default();
        let given = &task.streams().paths;
        let fields = [
            ("id", task.id().to_owned(), told.id),
            ("bundle", task.bundle().display().to_string(), told.bundle),
            ("stdin", given.stdin.clone(), told.stdin),
            ("stdout", given.stdout.clone(), told.stdout),
            ("stderr", given.stderr.clone(), told.stderr),
            ("terminal", given.terminal.to_string(), told.terminal.to_string()),
        ];
        for (field, given, told) in fields {
            if given != told {
                let happened = format!("State tells another {field} than Create was given");
                return Err(Stop::violated(happened, given, told));
            }
        }
    }
    Ok(())
}

/// Connect answers at every time and for every id, with what is known.
async fn connect(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    connects(&task, task.id(), 0, "before Create").await?;
    let pid = task.create().await?;
    connects(&task, task.id(), pid, "after Create").await?;
    connects(&task, "nobody", 0, "for an unknown container").await?;
    task.start().await?;
    task.end().await?;
    task.delete().await?;
    connects(&task, task.id(), 0, "after Delete").await
}

/// Expects that Connect about `id` names the shim and this init; 0 for none.
async fn connects(task: &Container<'_>, id: &str, init: u32, when: &str) -> Result<(), Stop> {
    let reply = task.container_named(id).call(Method::Connect).await?.done("Connect")?;
    let expected = (task.shim()?.pid, init);
    let actual = (reply.shim_pid.unwrap_or(0), reply.task_pid.unwrap_or(0));
    if actual == expected && process::identify(expected.0).is_some_and(|shim| shim.pid != 1) {
        return Ok(());
    }
    Err(Stop::violated(
        format!("Connect names others {when}"),
        format!("shim {}, task {}", expected.0, expected.1),
        format!("shim {}, task {}", actual.0, actual.1),
    ))
}

/// Pids lists init and an exec, and after the end nobody.
async fn pids(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let mut expected = vec![task.create().await?];
    lists(&task, &expected, "a created task").await?;
    task.start().await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    expected.push(exec.start().await?);
    lists(&task, &expected, "a running task").await?;
    task.end().await?;
    match task.call(Method::Pids).await? {
        Answer::Done(reply) if reply.processes.is_empty() => Ok(()),
        Answer::Done(reply) => {
            let actual = format!("{} processes", reply.processes.len());
            Err(Stop::violated("Pids lists processes of a task that has ended", "none", actual))
        }
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => answer.refused("Pids", &[Code::NotFound]),
    }
}

async fn lists(task: &Container<'_>, expected: &[u32], what: &str) -> Result<(), Stop> {
    let reply = task.call(Method::Pids).await?.done("Pids")?;
    let listed: Vec<u32> = reply.processes.iter().map(|process| process.pid).collect();
    if expected.iter().all(|pid| listed.contains(pid)) {
        return Ok(());
    }
    let happened = format!("Pids of {what} misses processes");
    Err(Stop::violated(happened, format!("{expected:?}"), format!("{listed:?}")))
}

/// One exit status in Wait, the exit event, State and Delete.
async fn exits_with(lab: &Lab, status: u8) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(status))).await?;
    let exit = task.wait().await?.reports(status.into())?;
    let event = task.announced(Topic::Exit, NOTICE).await?;
    let none = |place: &str| Stop::violated(format!("{place} tells no exit"), "an exit", "none");
    event.exit.ok_or_else(|| none("the exit event"))?.agrees(exit, "Wait")?;
    let state = task.is(Status::Stopped).await?;
    state.exit.ok_or_else(|| none("State"))?.agrees(exit, "Wait")?;
    task.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// A process that a signal ended reports 128 and the signal's number.
async fn ends_by_signal(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    for signal in [libc::SIGTERM, libc::SIGABRT, libc::SIGUSR1, libc::SIGKILL] {
        let id = format!("e{signal}");
        let exec = task.exec(&id, &program::dies_by(signal), Wiring::Null).await?;
        exec.start().await?;
        let exit = exec.wait().await?.reports(128 + signal.unsigned_abs())?;
        exec.delete().await?.agrees(exit, "Wait")?;
    }
    Ok(())
}

/// The time that Wait tells lies between the kill and the answer.
async fn exit_time(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let mut earliest = clock::wall();
    // Whole seconds are exact enough.
    earliest.nanos = 0;
    let exit = task.end().await?;
    let latest = clock::wall();
    if (earliest..=latest).contains(&exit.at) {
        return Ok(());
    }
    Err(Stop::violated(
        "the time of the exit is not when it happened",
        format!("between {}.{:09} and {}.{:09}", earliest.seconds, earliest.nanos, latest.seconds, latest.nanos),
        format!("{}.{:09}", exit.at.seconds, exit.at.nanos),
    ))
}

/// Twenty clients wait, which delays no other call, and all hear the same.
async fn many_wait(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let mut waits = Vec::new();
    for _ in 0..20 {
        waits.push(task.begin(Method::Wait).await?);
    }
    task.is(Status::Running).await?;
    task.kill(libc::SIGKILL).await?;
    let mut first = None;
    for wait in waits {
        let exit = wait.answer().await?.exit("Wait")?.reports(137)?;
        exit.agrees(*first.get_or_insert(exit), "another Wait")?;
    }
    Ok(())
}

/// Who asks after the exit is answered at once.
async fn late_wait(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exit = task.end().await?;
    let wait = task.begin(Method::Wait).await?;
    let answer = wait.answer_within(lab.scaled(NOTICE), "the exit was known").await?;
    answer.exit("Wait")?.agrees(exit, "the first Wait")?;
    Ok(())
}

/// A child holds standard output open when its parent ends; the end is told without it.
async fn wait_ignores_streams(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::leaves_child(3), Wiring::Output).await?;
    exec.start().await?;
    let wait = exec.begin(Method::Wait).await?;
    let answer = wait.answer_within(lab.scaled(PATIENCE), "only a child holds the stream").await?;
    answer.exit("Wait")?.reports(3)?;
    Ok(())
}

/// Delete comes as soon as the exit is known; nobody who waited goes without the exit.
async fn wait_over_delete(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let mut waits = Vec::new();
    for _ in 0..10 {
        waits.push(task.begin(Method::Wait).await?);
    }
    task.kill(libc::SIGKILL).await?;
    task.announced(Topic::Exit, PATIENCE).await?;
    let exit = task.delete().await?;
    for wait in waits {
        wait.answer().await?.exit("Wait")?.reports(137)?.agrees(exit, "Delete")?;
    }
    Ok(())
}

/// The container's program does not exist.
async fn no_such_program(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::missing())).await?;
    let request = task.create_request()?;
    fails_cleanly(lab, &task, request).await
}

/// The streams have a scheme that nobody knows.
async fn no_such_stdio(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let nowhere = "nosuchscheme:///dev/null".to_owned();
    let stdio = Stdio { stdout: nowhere.clone(), stderr: nowhere, ..Stdio::default() };
    let bundle = task.bundle().display().to_string();
    let rootfs = lab.places().rootfs.display().to_string();
    let request = message::create(task.target(), &bundle, Some(&rootfs), &stdio, &lab.options())?;
    fails_cleanly(lab, &task, request).await
}

/// The bundle does not exist.
async fn no_such_bundle(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let bundle = task.bundle().join("nowhere").display().to_string();
    let rootfs = lab.places().rootfs.display().to_string();
    let request = message::create(task.target(), &bundle, Some(&rootfs), &Stdio::default(), &lab.options())?;
    fails_cleanly(lab, &task, request).await
}

/// Expects that Create fails, and that it might as well not have been tried.
async fn fails_cleanly(lab: &Lab, task: &Container<'_>, create: Request) -> Result<(), Stop> {
    let before = pids_of(&residue::look(lab)?.processes);
    let answer = lab.begin(create).await?.answer_within(lab.scaled(PATIENCE), "it cannot succeed");
    answer.await?.declined("Create")?;
    task.call(Method::State).await?.refused("State after a failed Create", &[Code::NotFound])?;
    let left = residue::settled(lab, NOTICE, |residue| {
        // The shim itself, which serves on.
        residue.sockets.clear();
        residue.processes.retain(|process| !before.contains(&pid_of(process)));
    });
    let left = left.await?;
    if left != Residue::default() {
        return Err(Stop::violated("something is left after a failed Create", "nothing", left.to_string()));
    }
    // A shim ends after its last event.
    task.shutdown().await?;
    task.shim_gone(SHUTDOWN).await?;
    task.announces(&[], NOTICE).await
}

fn pids_of(processes: &[String]) -> Vec<String> {
    processes.iter().map(|process| pid_of(process)).collect()
}

/// The number with which a line of a residue begins.
fn pid_of(process: &str) -> String {
    process.split(' ').next().unwrap_or_default().to_owned()
}

/// Delete of a task that never started ends its process and unmounts its root.
async fn delete_created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let init = process::identify(task.create().await?);
    task.call(Method::Delete).await?.done("Delete")?;
    if init.is_some_and(process::Identity::is_alive) {
        return Err(Stop::violated("init outlives Delete", "no process", "a living one"));
    }
    is_gone(&task).await
}

/// Execs that nobody deleted, or started, go with their task.
async fn delete_with_execs(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let ended = task.exec("ended", &program::exits_with(1), Wiring::Null).await?;
    ended.start().await?;
    ended.wait().await?;
    let unstarted = task.exec("unstarted", &program::sleeps(), Wiring::Null).await?;
    task.end().await?;
    task.delete().await?;
    for exec in [ended, unstarted] {
        exec.call(Method::State).await?.refused("State of an exec", &[Code::NotFound])?;
    }
    is_gone(&task).await
}

/// Expects that nothing is known of, nor mounted for, the task.
async fn is_gone(task: &Container<'_>) -> Result<(), Stop> {
    if task.rootfs_is_mounted()? {
        return Err(Stop::violated("the root stays mounted after Delete", "no mount", "rootfs"));
    }
    task.call(Method::State).await?.refused("State after Delete", &[Code::NotFound])
}

/// Delete after Delete says that there is nothing.
async fn delete_twice(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    task.delete().await?;
    task.call(Method::Delete).await?.refused("the second Delete", &[Code::NotFound])?;
    task.container_named("nobody")
        .call(Method::Delete)
        .await?
        .refused("Delete of an unknown container", &[Code::NotFound])
}
