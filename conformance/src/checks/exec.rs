//! The calls about execs.

use std::time::Duration;

use crate::{
    check::{Body, Check, Need, Stop},
    contract::exec,
    history::{Answer, Code, Method, Status, Target, Topic},
    lab::{Lab, NOTICE, Order, Pending, message, program, stdio::Wiring},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "exec/life",
        clause: &exec::LIFE,
        needs: &[],
        notices: &[
            Lie::ExitStatus(Method::Wait),
            Lie::ExitStatus(Method::Delete),
            Lie::ExitTime(Method::Delete),
            Lie::EventExit(Topic::Exit),
            Lie::EventPid(Topic::Exit),
            Lie::Pid(Method::Start),
        ],
        body: Body::Example(|lab| Box::pin(life(lab))),
    },
    Check {
        id: "exec/state",
        clause: &exec::STATE,
        needs: &[],
        notices: &[
            Lie::State(Status::Running),
            Lie::State(Status::Created),
            Lie::Pid(Method::State),
            Lie::ExitStatus(Method::State),
            Lie::Description,
        ],
        body: Body::Example(|lab| Box::pin(state(lab))),
    },
    Check {
        id: "exec/duplicate-id",
        clause: &exec::UNIQUE_ID,
        needs: &[],
        notices: &[Lie::Accepted(Method::Exec), Lie::Code(Method::Exec, Code::Unknown), Lie::Broken(Method::Exec)],
        body: Body::Example(|lab| Box::pin(duplicate_id(lab))),
    },
    Check {
        id: "exec/start-twice",
        clause: &exec::STARTS_ONCE,
        needs: &[],
        notices: &[Lie::Accepted(Method::Start), Lie::Doubled(Topic::ExecStarted), Lie::Pid(Method::State)],
        body: Body::Example(|lab| Box::pin(start_twice(lab))),
    },
    Check {
        id: "exec/missing-program",
        clause: &exec::FAILED_START,
        needs: &[],
        notices: &[Lie::Accepted(Method::Start), Lie::Refused(Method::Delete), Lie::Dropped(Topic::ExecAdded)],
        body: Body::Example(|lab| Box::pin(missing_program(lab))),
    },
    Check {
        id: "exec/start-after-failed-start",
        clause: &exec::FAILED_START,
        needs: &[],
        notices: &[Lie::Accepted(Method::Start), Lie::Broken(Method::State)],
        body: Body::Example(|lab| Box::pin(start_after_failed_start(lab))),
    },
    Check {
        id: "exec/wait-after-failed-start",
        clause: &exec::FAILED_WAIT,
        needs: &[],
        notices: &[Lie::Accepted(Method::Wait)],
        body: Body::Example(|lab| Box::pin(wait_after_failed_start(lab))),
    },
    Check {
        id: "exec/wait-before-start",
        clause: &exec::WAIT_FIRST,
        needs: &[],
        notices: &[Lie::Refused(Method::Wait), Lie::ExitStatus(Method::Wait), Lie::Unanswered(Method::Wait)],
        body: Body::Example(|lab| Box::pin(wait_before_start(lab))),
    },
    Check {
        id: "exec/kill-created",
        clause: &exec::KILL_CREATED,
        needs: &[],
        notices: &[Lie::Accepted(Method::Kill), Lie::Code(Method::Kill, Code::Unknown), Lie::Refused(Method::Start)],
        body: Body::Example(|lab| Box::pin(kill_created(lab))),
    },
    Check {
        id: "exec/kill-exited",
        clause: &exec::KILL_EXITED,
        needs: &[],
        notices: &[Lie::Accepted(Method::Kill), Lie::Code(Method::Kill, Code::Internal)],
        body: Body::Example(|lab| Box::pin(kill_exited(lab))),
    },
    Check {
        id: "exec/delete",
        clause: &exec::DELETE,
        needs: &[],
        notices: &[
            Lie::Accepted(Method::Delete),
            Lie::Refused(Method::Delete),
            Lie::Accepted(Method::State),
            Lie::Refused(Method::Exec),
        ],
        body: Body::Example(|lab| Box::pin(delete(lab))),
    },
    Check {
        id: "exec/unknown",
        clause: &exec::UNKNOWN,
        needs: &[],
        notices: &[
            Lie::Accepted(Method::State),
            Lie::Accepted(Method::Wait),
            Lie::Code(Method::Start, Code::Unknown),
            Lie::Code(Method::Delete, Code::Internal),
            Lie::Code(Method::Kill, Code::FailedPrecondition),
            Lie::Broken(Method::CloseIo),
        ],
        body: Body::Example(|lab| Box::pin(unknown(lab))),
    },
    Check {
        id: "exec/ends-with-init",
        clause: &exec::ENDS_WITH_INIT,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::Dropped(Topic::Exit), Lie::EventExit(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(ends_with_init(lab))),
    },
    Check {
        id: "exec/exits-before-init",
        clause: &exec::EXITS_BEFORE_INIT,
        needs: &[],
        notices: &[Lie::Swapped(Topic::Exit, Topic::Exit), Lie::Dropped(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(exits_before_init(lab))),
    },
    Check {
        id: "exec/start-after-init-exit",
        clause: &exec::START_AFTER_INIT,
        needs: &[],
        notices: &[Lie::Accepted(Method::Start), Lie::Code(Method::Start, Code::Unknown), Lie::Broken(Method::Start)],
        body: Body::Example(|lab| Box::pin(start_after_init_exit(lab))),
    },
    Check {
        id: "exec/paused",
        clause: &exec::PAUSED,
        needs: &[Need::Freezer],
        notices: &[Lie::Accepted(Method::Exec), Lie::State(Status::Running), Lie::Refused(Method::Exec)],
        body: Body::Example(|lab| Box::pin(paused(lab))),
    },
    Check {
        id: "exec/events-of-fast-execs",
        clause: &exec::EVENTS,
        needs: &[],
        notices: &[
            Lie::Swapped(Topic::ExecStarted, Topic::Exit),
            Lie::Swapped(Topic::ExecAdded, Topic::ExecStarted),
            Lie::Dropped(Topic::ExecStarted),
            Lie::Doubled(Topic::Exit),
            Lie::EventPid(Topic::Exit),
        ],
        body: Body::Example(|lab| Box::pin(events_of_fast_execs(lab))),
    },
    Check {
        id: "exec/eight-at-once",
        clause: &exec::CONCURRENT,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::OutputCut, Lie::OutputDoubled, Lie::PidsEmpty],
        body: Body::Example(|lab| Box::pin(eight_at_once(lab))),
    },
    Check {
        id: "exec/leaves-nothing",
        clause: &exec::LEAVES_NOTHING,
        needs: &[],
        notices: &[Lie::DescriptorsGrow, Lie::Zombie],
        body: Body::Example(|lab| Box::pin(leaves_nothing(lab))),
    },
];

/// The events of an exec that ran, before it is deleted: its deletion may be announced or not.
const RAN: &[Topic] = &[Topic::ExecAdded, Topic::ExecStarted, Topic::Exit];

/// An exec's exit code is the same in Wait, the exit event and Delete; init runs on.
async fn life(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::exits_with(5), Wiring::Null).await?;
    let pid = exec.start().await?;
    let exit = exec.wait().await?.reports(5)?;
    let event = exec.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    if event.pid != pid {
        return Err(Stop::violated(
            "the exit event names another process than Start",
            pid.to_string(),
            event.pid.to_string(),
        ));
    }
    exec.announces(RAN, NOTICE).await?;
    exec.delete().await?.agrees(exit, "Wait")?;
    task.is(Status::Running).await?;
    Ok(())
}

/// State of an exec before Start, while it runs, and after its end.
async fn state(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Output).await?;
    let created = exec.is(Status::Created).await?;
    if created.pid != Some(0) {
        let actual = format!("{:?}", created.pid);
        return Err(Stop::violated("State names a pid of an exec that was not started", "0", actual));
    }
    let described = created.described.unwrap_or_default();
    let paths = &exec.streams().paths;
    if described.stdout != paths.stdout || described.stderr != paths.stderr || described.terminal {
        return Err(Stop::violated(
            "State describes other streams than the Exec request",
            format!("{paths:?}"),
            format!("{described:?}"),
        ));
    }
    let pid = exec.start().await?;
    let running = exec.is(Status::Running).await?;
    if running.pid != Some(pid) {
        return Err(Stop::violated(
            "State names another process than Start",
            pid.to_string(),
            format!("{:?}", running.pid),
        ));
    }
    let exit = exec.end().await?;
    let stopped = exec.is(Status::Stopped).await?;
    let told = stopped.exit.ok_or_else(|| Stop::violated("State tells no exit", "the exit of Wait", "none"))?;
    told.agrees(exit, "Wait")?;
    Ok(())
}

/// A second Exec with the same id, whatever the first one is doing.
async fn duplicate_id(lab: &Lab) -> Result<(), Stop> {
    const TAKEN: &[Code] = &[Code::AlreadyExists];
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let again = || lab.call(exec.request(&program::exits_with(1)));
    again().await?.refused("Exec with the id of a created exec", TAKEN)?;
    exec.start().await?;
    again().await?.refused("Exec with the id of a running exec", TAKEN)?;
    exec.end().await?;
    again().await?.refused("Exec with the id of a stopped exec", TAKEN)?;
    exec.delete().await?.reports(137)?;
    Ok(())
}

/// Start, Start: one process and one event.
async fn start_twice(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let pid = exec.start().await?;
    exec.call(Method::Start).await?.declined("Start of a running exec")?;
    let running = exec.is(Status::Running).await?;
    let processes = task.call(Method::Pids).await?.done("Pids")?.processes;
    if running.pid != Some(pid) || processes.len() != 2 {
        return Err(Stop::violated(
            "a second Start changed something",
            format!("init and process {pid}"),
            format!("State says {:?}, Pids says {processes:?}", running.pid),
        ));
    }
    exec.end().await?;
    exec.announces(RAN, NOTICE).await
}

/// A program that does not exist: Start fails, nothing else happens, and the next exec works.
async fn missing_program(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("bad", &program::missing(), Wiring::Null).await?;
    exec.call(Method::Start).await?.declined("Start of a program that does not exist")?;
    exec.call(Method::Delete).await?.done("Delete of an exec that could not be started")?;
    let next = task.exec("good", &program::exits_with(0), Wiring::Null).await?;
    next.start().await?;
    next.wait().await?.reports(0)?;
    // What the failed one might announce would come before the end of the next one.
    next.announced(Topic::Exit, NOTICE).await?;
    let topics = exec.topics();
    if topics.iter().any(|topic| matches!(topic, Topic::ExecStarted | Topic::Exit)) || topics.is_empty() {
        return Err(Stop::violated(
            "the events of an exec that could not be started are wrong",
            Topic::ExecAdded.name(),
            format!("{topics:?}"),
        ));
    }
    Ok(())
}

/// Start again after a failed Start is refused, and the shim answers on.
async fn start_after_failed_start(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::missing(), Wiring::Null).await?;
    exec.call(Method::Start).await?.declined("Start of a program that does not exist")?;
    exec.call(Method::Start).await?.declined("a second Start of a program that does not exist")?;
    task.is(Status::Running).await?;
    Ok(())
}

/// Wait for what never ran: any answer but success, at the latest when the exec is deleted.
async fn wait_after_failed_start(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::missing(), Wiring::Null).await?;
    exec.call(Method::Start).await?.declined("Start of a program that does not exist")?;
    let waiting = exec.begin(Method::Wait).await?;
    // A round trip, so that Wait comes before Delete in all likelihood.
    exec.state().await?;
    exec.call(Method::Delete).await?.done("Delete of an exec that could not be started")?;
    let answer = waiting.answer_within(lab.scaled(NOTICE), "the exec is deleted and will never end").await?;
    match answer {
        Answer::Done(reply) if reply.exit.is_none_or(|exit| exit.status == 0) => Err(Stop::violated(
            "Wait says that an exec which could not be started ended well",
            "a refusal, or a status other than 0",
            format!("{reply:?}"),
        )),
        Answer::Done(_) => Ok(()),
        other @ (Answer::Refused { .. } | Answer::Lost(_)) => other.declined("Wait"),
    }
}

/// Wait is on the wire before Start is.
async fn wait_before_start(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    let waiting = exec.begin(Method::Wait).await?;
    exec.start().await?;
    exec.kill(libc::SIGKILL).await?;
    let exit =
        waiting.answer_within(lab.scaled(NOTICE), "the exec has been killed").await?.exit("Wait")?.reports(137)?;
    exec.delete().await?.agrees(exit, "Wait")?;
    Ok(())
}

/// An exec that was not started cannot be killed, and can still be started.
async fn kill_created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::exits_with(3), Wiring::Null).await?;
    exec.try_kill(libc::SIGKILL).await?.refused("Kill of an exec that was not started", &[Code::FailedPrecondition])?;
    exec.start().await?;
    exec.wait().await?.reports(3)?;
    Ok(())
}

/// An exec that has ended cannot be killed.
async fn kill_exited(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::exits_with(0), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?;
    exec.try_kill(libc::SIGKILL).await?.refused("Kill of an exec that has ended", &[Code::NotFound])
}

/// Delete of a running, a stopped and a created exec; each id can be used again.
async fn delete(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let running = task.exec("r", &program::sleeps(), Wiring::Null).await?;
    running.start().await?;
    running.call(Method::Delete).await?.declined("Delete of a running exec")?;
    running.is(Status::Running).await?;
    running.end().await?;
    running.delete().await?.reports(137)?;

    let created = task.exec("c", &program::sleeps(), Wiring::Null).await?;
    created.call(Method::Delete).await?.done("Delete of an exec that was not started")?;

    for exec in [running, created] {
        exec.call(Method::State).await?.refused("State of a deleted exec", &[Code::NotFound])?;
        lab.call(exec.request(&program::exits_with(4))).await?.done("Exec with the id of a deleted exec")?;
        exec.start().await?;
        exec.wait().await?.reports(4)?;
    }
    Ok(())
}

/// Every call about an exec that nobody added.
async fn unknown(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec_named("nobody");
    for method in [Method::State, Method::Start, Method::Delete, Method::Kill, Method::Wait] {
        let call = format!("{method} of an unknown exec");
        exec.call(method).await?.refused(&call, &[Code::NotFound])?;
    }
    let resize = message::resize(exec.target(), 80, 25);
    lab.call(resize).await?.refused("ResizePty of an unknown exec", &[Code::NotFound])?;
    // containerd-shim-runc-v2 forgets to translate this one.
    lab.call(message::close_stdin(exec.target()))
        .await?
        .refused("CloseIO of an unknown exec", &[Code::NotFound, Code::Unknown])?;
    task.is(Status::Running).await?;
    Ok(())
}

/// Init is killed while an exec runs.
async fn ends_with_init(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    exec.start().await?;
    let waiting = exec.begin(Method::Wait).await?;
    task.end().await?;
    let exit = waiting.answer_within(lab.scaled(NOTICE), "init has ended").await?.exit("Wait")?.reports(137)?;
    let event = exec.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    Ok(())
}

/// Three execs run when init is killed: the last exit event is init's.
async fn exits_before_init(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let mut execs = Vec::new();
    for id in ["e0", "e1", "e2"] {
        let exec = task.exec(id, &program::sleeps(), Wiring::Null).await?;
        exec.start().await?;
        execs.push(exec);
    }
    task.end().await?;
    task.announced(Topic::Exit, NOTICE).await?;
    for exec in &execs {
        exec.announced(Topic::Exit, NOTICE).await?;
    }
    let history = lab.recorder().history();
    let exits: Vec<&Target> =
        history.events().filter(|(_, event)| event.topic == Topic::Exit).map(|(_, event)| &event.target).collect();
    if exits.last().is_some_and(|target| target.is_init()) {
        return Ok(());
    }
    let actual = exits.iter().map(ToString::to_string).collect::<Vec<_>>().join(" < ");
    Err(Stop::violated("the exit of an exec was announced after that of init", "init's exit last", actual))
}

/// The container ends between Exec and Start.
async fn start_after_init_exit(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::sleeps(), Wiring::Null).await?;
    task.end().await?;
    exec.call(Method::Start).await?.refused("Start of an exec whose container has ended", &[Code::FailedPrecondition])
}

/// Exec into a paused container is refused, and works after Resume.
async fn paused(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    task.is(Status::Paused).await?;
    let exec = task.plan_exec("e", Wiring::Null)?;
    let answer = lab.call(exec.request(&program::exits_with(6))).await?;
    match answer {
        Answer::Done(_) => {
            exec.state().await?;
            let start = exec.call(Method::Start).await?;
            start.declined("Start of an exec in a paused container")?;
        }
        Answer::Refused { .. } | Answer::Lost(_) => answer.declined("Exec in a paused container")?,
    }
    task.call(Method::Resume).await?.done("Resume")?;
    let exec = task.exec("after", &program::exits_with(6), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?.reports(6)?;
    Ok(())
}

/// Twenty execs that end at once, started at the same time.
async fn events_of_fast_execs(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let mut execs = Vec::new();
    for number in 0..20 {
        let id = format!("e{number}");
        let exec = task.exec(&id, &program::exits_with(0), Wiring::Null).await?;
        let starting = exec.begin(Method::Start).await?;
        execs.push((exec, starting));
    }
    let mut started = Vec::new();
    for (exec, starting) in execs {
        started.push((exec, starting.answer().await?.done("Start")?));
    }
    for (exec, started) in started {
        let event = exec.announced(Topic::Exit, NOTICE).await?;
        if started.pid != Some(event.pid) {
            return Err(Stop::violated(
                "the exit event names another process than Start",
                format!("{:?}", started.pid),
                event.pid.to_string(),
            ));
        }
        exec.announces(RAN, NOTICE).await?;
        exec.delete().await?;
    }
    Ok(())
}

/// Eight execs run together; each has its own status, process and output.
async fn eight_at_once(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let gate = lab.gate("together")?;
    let mut execs = Vec::new();
    for number in 1..=8_u8 {
        let id = format!("e{number}");
        let says = program::says(&id, "", number);
        let exec = task.exec(&id, &program::behind("together", &says), Wiring::Output).await?;
        let starting: Pending<'_> = exec.begin(Method::Start).await?;
        execs.push((number, exec, starting));
    }
    let mut started = Vec::new();
    for (number, exec, starting) in execs {
        let pid = starting.answer().await?.done("Start")?.pid.unwrap_or(0);
        started.push((number, exec, pid));
    }
    let processes = task.call(Method::Pids).await?.done("Pids")?.processes;
    if let Some((_, exec, pid)) =
        started.iter().find(|(_, _, pid)| !processes.iter().any(|process| process.pid == *pid))
    {
        return Err(Stop::violated(
            format!("Pids does not list {}", exec.target()),
            format!("process {pid} among others"),
            format!("{processes:?}"),
        ));
    }
    gate.open()?;
    for (number, exec, _) in started {
        exec.wait().await?.reports(u32::from(number))?;
        exec.delete().await?;
        let expected = format!("e{number}");
        let output = exec.streams().stdout.to_end(lab, NOTICE).await?;
        if output != expected.as_bytes() {
            let actual = String::from_utf8_lossy(&output).into_owned();
            return Err(Stop::violated("an exec's output is not its own", expected, actual));
        }
    }
    Ok(())
}

/// Forty execs one after another: the shim holds no more than after the first few.
async fn leaves_nothing(lab: &Lab) -> Result<(), Stop> {
    /// Both come and go with the load; one for each exec would be forty.
    const SLACK: usize = 12;
    let task = lab.run(Order::new(program::sleeps())).await?;
    let one = async |number: u32| -> Result<(), Stop> {
        let exec = task.exec(&format!("e{number}"), &program::exits_with(0), Wiring::Output).await?;
        exec.start().await?;
        exec.wait().await?;
        exec.delete().await?;
        Ok(())
    };
    for number in 0..5 {
        one(number).await?;
    }
    task.reaps_all(NOTICE).await?;
    let before = task.footprint()?;
    for number in 5..45 {
        one(number).await?;
    }
    task.reaps_all(NOTICE).await?;
    let flat = crate::lab::deadline::until(lab.scaled(Duration::from_secs(1)), || match task.footprint() {
        Ok(now) if now.fds <= before.fds + SLACK && now.threads <= before.threads + SLACK => Some(Ok(())),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    })
    .await;
    match flat {
        Some(looked) => Ok(looked?),
        None => Err(Stop::violated(
            "the shim holds more after forty execs than before",
            format!("{before:?}"),
            format!("{:?}", task.footprint()?),
        )),
    }
}
