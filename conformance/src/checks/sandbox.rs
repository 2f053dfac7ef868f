//! Sandboxes and their members, for shims that offer the Sandbox API.

use std::fs;

use crate::{
    check::{Body, Check, Stop},
    clock,
    contract::sandbox,
    history::{Answer, Code, Method, WallTime},
    lab::{Container, Lab, NOTICE, Order, Pending, SHUTDOWN, Sandbox, Stage, program},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "sandbox/unknown-method",
        clause: &sandbox::UNKNOWN_METHOD,
        needs: &[],
        notices: &[Lie::UnknownServed],
        body: Body::Example(|lab| Box::pin(unknown_method(lab))),
    },
    Check {
        id: "sandbox/life",
        clause: &sandbox::LIFE,
        needs: &[],
        notices: &[
            Lie::Refused(Method::CreateSandbox),
            Lie::Refused(Method::StartSandbox),
            Lie::Refused(Method::StopSandbox),
            Lie::Refused(Method::ShutdownSandbox),
            Lie::DeleteFails,
        ],
        body: Body::Example(|lab| Box::pin(life(lab))),
    },
    Check {
        id: "sandbox/twice-with-one-id",
        clause: &sandbox::LIFE,
        needs: &[],
        notices: &[Lie::StartFails, Lie::Refused(Method::CreateSandbox), Lie::ShimUndead],
        body: Body::Example(|lab| Box::pin(twice_with_one_id(lab))),
    },
    Check {
        id: "sandbox/create-twice",
        clause: &sandbox::CREATE_ONCE,
        needs: &[],
        notices: &[
            Lie::Accepted(Method::CreateSandbox),
            Lie::Code(Method::CreateSandbox, Code::Unknown),
            Lie::SandboxReady(false),
        ],
        body: Body::Example(|lab| Box::pin(create_twice(lab))),
    },
    Check {
        id: "sandbox/options",
        clause: &sandbox::OPTIONS,
        needs: &[],
        notices: &[Lie::Refused(Method::CreateSandbox), Lie::SandboxReady(false)],
        body: Body::Example(|lab| Box::pin(options(lab))),
    },
    Check {
        id: "sandbox/start-before-create",
        clause: &sandbox::START_FIRST,
        needs: &[],
        notices: &[Lie::Accepted(Method::StartSandbox), Lie::Code(Method::StartSandbox, Code::Unknown)],
        body: Body::Example(|lab| Box::pin(start_before_create(lab))),
    },
    Check {
        id: "sandbox/start-twice",
        clause: &sandbox::START_AGAIN,
        needs: &[],
        notices: &[Lie::Broken(Method::StartSandbox), Lie::Pid(Method::SandboxStatus), Lie::SandboxReady(false)],
        body: Body::Example(|lab| Box::pin(start_twice(lab))),
    },
    Check {
        id: "sandbox/start-after-stop",
        clause: &sandbox::CLOSED,
        needs: &[],
        notices: &[Lie::Accepted(Method::StartSandbox), Lie::SandboxReady(true)],
        body: Body::Example(|lab| Box::pin(start_after_stop(lab))),
    },
    Check {
        id: "sandbox/process",
        clause: &sandbox::START,
        needs: &[],
        notices: &[Lie::Pid(Method::StartSandbox), Lie::SandboxTimes, Lie::Refused(Method::StartSandbox)],
        body: Body::Example(|lab| Box::pin(process_lives(lab))),
    },
    Check {
        id: "sandbox/platform",
        clause: &sandbox::PLATFORM,
        needs: &[],
        notices: &[Lie::PlatformEmpty, Lie::Refused(Method::Platform)],
        body: Body::Example(|lab| Box::pin(platform(lab))),
    },
    Check {
        id: "sandbox/status-before-start",
        clause: &sandbox::STATUS,
        needs: &[],
        notices: &[Lie::SandboxReady(true)],
        body: Body::Example(|lab| Box::pin(status_before_start(lab))),
    },
    Check {
        id: "sandbox/status-while-ready",
        clause: &sandbox::STATUS,
        needs: &[],
        notices: &[Lie::SandboxReady(false), Lie::Description, Lie::Refused(Method::SandboxStatus)],
        body: Body::Example(|lab| Box::pin(status_while_ready(lab))),
    },
    Check {
        id: "sandbox/status-after-stop",
        clause: &sandbox::STATUS,
        needs: &[],
        notices: &[Lie::SandboxReady(true), Lie::Refused(Method::SandboxStatus)],
        body: Body::Example(|lab| Box::pin(status_after_stop(lab))),
    },
    Check {
        id: "sandbox/status-tells-exit",
        clause: &sandbox::STATUS_ENDED,
        needs: &[],
        notices: &[Lie::SandboxTimes],
        body: Body::Example(|lab| Box::pin(status_tells_exit(lab))),
    },
    Check {
        id: "sandbox/ping",
        clause: &sandbox::PING,
        needs: &[],
        notices: &[Lie::Refused(Method::PingSandbox), Lie::Unanswered(Method::PingSandbox)],
        body: Body::Example(|lab| Box::pin(ping(lab))),
    },
    Check {
        id: "sandbox/wait",
        clause: &sandbox::WAIT,
        needs: &[],
        notices: &[
            Lie::Refused(Method::WaitSandbox),
            Lie::Unanswered(Method::WaitSandbox),
            Lie::Broken(Method::WaitSandbox),
            Lie::ExitTime(Method::WaitSandbox),
        ],
        body: Body::Example(|lab| Box::pin(wait(lab))),
    },
    Check {
        id: "sandbox/wait-after-stop",
        clause: &sandbox::WAIT,
        needs: &[],
        notices: &[Lie::Refused(Method::WaitSandbox), Lie::ExitTime(Method::WaitSandbox)],
        body: Body::Example(|lab| Box::pin(wait_after_stop(lab))),
    },
    Check {
        id: "sandbox/wait-without-start",
        clause: &sandbox::WAIT,
        needs: &[],
        notices: &[Lie::Unanswered(Method::WaitSandbox), Lie::Refused(Method::WaitSandbox)],
        body: Body::Example(|lab| Box::pin(wait_without_start(lab))),
    },
    Check {
        id: "sandbox/stop-twice",
        clause: &sandbox::STOP,
        needs: &[],
        notices: &[Lie::Refused(Method::StopSandbox), Lie::Broken(Method::StopSandbox)],
        body: Body::Example(|lab| Box::pin(stops(lab, Stage::Stopped))),
    },
    Check {
        id: "sandbox/stop-before-start",
        clause: &sandbox::STOP,
        needs: &[],
        notices: &[Lie::Refused(Method::StopSandbox), Lie::Broken(Method::StopSandbox)],
        body: Body::Example(|lab| Box::pin(stops(lab, Stage::Created))),
    },
    Check {
        id: "sandbox/stop-before-create",
        clause: &sandbox::STOP,
        needs: &[],
        notices: &[Lie::Code(Method::StopSandbox, Code::Unknown), Lie::Broken(Method::StopSandbox)],
        body: Body::Example(|lab| Box::pin(stops(lab, Stage::Unknown))),
    },
    Check {
        id: "sandbox/stop-at-once",
        clause: &sandbox::STOP,
        needs: &[],
        notices: &[Lie::Refused(Method::StopSandbox), Lie::Unanswered(Method::StopSandbox)],
        body: Body::Example(|lab| Box::pin(stop_at_once(lab))),
    },
    Check {
        id: "sandbox/shutdown",
        clause: &sandbox::SHUTDOWN,
        needs: &[],
        notices: &[
            Lie::Refused(Method::ShutdownSandbox),
            Lie::Broken(Method::ShutdownSandbox),
            Lie::ShimUndead,
            Lie::LeftSocket,
        ],
        body: Body::Example(|lab| Box::pin(shutdown(lab, Stage::Stopped))),
    },
    Check {
        id: "sandbox/shutdown-without-stop",
        clause: &sandbox::SHUTDOWN,
        needs: &[],
        notices: &[Lie::Broken(Method::ShutdownSandbox), Lie::ShimUndead, Lie::LeftProcess],
        body: Body::Example(|lab| Box::pin(shutdown(lab, Stage::Ready))),
    },
    Check {
        id: "sandbox/shutdown-before-start",
        clause: &sandbox::SHUTDOWN,
        needs: &[],
        notices: &[Lie::Broken(Method::ShutdownSandbox), Lie::ShimUndead, Lie::LeftSocket],
        body: Body::Example(|lab| Box::pin(shutdown(lab, Stage::Created))),
    },
    Check {
        id: "sandbox/shutdown-answers-waits",
        clause: &sandbox::WAIT,
        needs: &[],
        notices: &[Lie::Broken(Method::WaitSandbox), Lie::Unanswered(Method::WaitSandbox)],
        body: Body::Example(|lab| Box::pin(shutdown_answers_waits(lab))),
    },
    Check {
        id: "sandbox/shutdown-before-create",
        clause: &sandbox::SHUTDOWN_UNCREATED,
        needs: &[],
        notices: &[Lie::LeftProcess, Lie::LeftSocket],
        body: Body::Example(|lab| Box::pin(shutdown_before_create(lab))),
    },
    Check {
        id: "sandbox/metrics",
        clause: &sandbox::METRICS,
        needs: &[],
        notices: &[Lie::Description, Lie::Broken(Method::SandboxMetrics), Lie::Unanswered(Method::SandboxMetrics)],
        body: Body::Example(|lab| Box::pin(metrics(lab))),
    },
    Check {
        id: "sandbox/unknown-id",
        clause: &sandbox::UNKNOWN_ID,
        needs: &[],
        notices: &[
            Lie::Accepted(Method::StopSandbox),
            Lie::Code(Method::SandboxStatus, Code::Unknown),
            Lie::Code(Method::ShutdownSandbox, Code::Unknown),
            Lie::SandboxReady(false),
        ],
        body: Body::Example(|lab| Box::pin(unknown_id(lab))),
    },
    Check {
        id: "sandbox/without-config",
        clause: &sandbox::WITHOUT_CONFIG,
        needs: &[],
        notices: &[Lie::StartFails, Lie::Refused(Method::CreateSandbox), Lie::Refused(Method::StartSandbox)],
        body: Body::Example(|lab| Box::pin(without_config(lab))),
    },
];

/// Whether or not the shim has the service, it does not have this method.
async fn unknown_method(lab: &Lab) -> Result<(), Stop> {
    let host = lab.serve(Order::new(program::sleeps())).await?;
    lab.call_unknown(&host).await?.refused("a method that nobody has", &[Code::Unimplemented])?;
    alive(&host)
}

/// Everything that containerd does with a sandbox, and nothing is left of it.
async fn life(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Stopped).await?;
    leaves(lab, &sandbox).await
}

/// ShutdownSandbox, the shim's end, and delete.
pub(super) async fn leaves(lab: &Lab, sandbox: &Sandbox<'_>) -> Result<(), Stop> {
    sandbox.ask(Method::ShutdownSandbox).await?.done("ShutdownSandbox")?;
    sandbox.host().shim_gone(SHUTDOWN).await?;
    sandbox.cleaned(&[]).await?;
    lab.left_nothing("a whole life of a sandbox", NOTICE, false).await
}

/// The id of a sandbox that is gone may be used again.
async fn twice_with_one_id(lab: &Lab) -> Result<(), Stop> {
    for _ in 0..2 {
        let sandbox = lab.sandbox_at(Stage::Stopped).await?;
        leaves(lab, &sandbox).await?;
    }
    Ok(())
}

/// The second CreateSandbox is refused, and the first one's sandbox is as it was.
async fn create_twice(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let (before, _) = sandbox.is_ready(true).await?;
    sandbox.ask(Method::CreateSandbox).await?.refused("the second CreateSandbox", &[Code::AlreadyExists])?;
    same_pid(&sandbox, before.pid).await
}

/// A sandbox with all that Kubernetes says of it becomes ready.
async fn options(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Unknown).await?;
    sandbox.create_for_kubernetes().await?.done("CreateSandbox")?;
    sandbox.ask(Method::StartSandbox).await?.done("StartSandbox")?;
    sandbox.is_ready(true).await?;
    Ok(())
}

/// StartSandbox comes first.
async fn start_before_create(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Unknown).await?;
    let answer = sandbox.ask(Method::StartSandbox).await?;
    answer.refused("StartSandbox without CreateSandbox", &[Code::NotFound, Code::FailedPrecondition])
}

/// StartSandbox comes again; the process stays the same.
async fn start_twice(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Created).await?;
    let first = sandbox.ask(Method::StartSandbox).await?.done("StartSandbox")?;
    let second = sandbox.ask(Method::StartSandbox).await?;
    if let Answer::Done(reply) = &second {
        if reply.pid != first.pid {
            let (expected, actual) = (format!("{:?}", first.pid), format!("{:?}", reply.pid));
            return Err(Stop::violated("the second StartSandbox names another process", expected, actual));
        }
    } else {
        second.refused("the second StartSandbox", &[Code::AlreadyExists, Code::FailedPrecondition])?;
    }
    same_pid(&sandbox, first.pid).await
}

/// The sandbox is ready and its process is `pid`.
pub(super) async fn same_pid(sandbox: &Sandbox<'_>, pid: Option<u32>) -> Result<(), Stop> {
    let (now, _) = sandbox.is_ready(true).await?;
    if now.pid == pid {
        return Ok(());
    }
    Err(Stop::violated("the sandbox has another process", format!("{pid:?}"), format!("{:?}", now.pid)))
}

/// What has ended does not begin again.
async fn start_after_stop(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Stopped).await?;
    sandbox.ask(Method::StartSandbox).await?.declined("StartSandbox after StopSandbox")?;
    sandbox.is_ready(false).await?;
    Ok(())
}

/// The process can be seen with its namespaces, and the sandbox has just been created.
async fn process_lives(lab: &Lab) -> Result<(), Stop> {
    let earliest = whole_seconds(clock::wall());
    let sandbox = lab.sandbox_at(Stage::Created).await?;
    let reply = sandbox.ask(Method::StartSandbox).await?.done("StartSandbox")?;
    let latest = clock::wall();
    let pid = reply.pid.filter(|&pid| pid > 0);
    let pid = pid.ok_or_else(|| Stop::violated("StartSandbox names no pid", "a pid above 0", "0"))?;
    let namespace = format!("/proc/{pid}/ns/net");
    if let Err(e) = fs::read_link(&namespace) {
        return Err(Stop::violated("StartSandbox names a process that does not live", namespace, e.to_string()));
    }
    let created = reply.sandbox.map_or_else(WallTime::default, |facts| facts.created);
    within("the creation of the sandbox", created, earliest, latest)?;
    let (status, facts) = sandbox.is_ready(true).await?;
    if (status.pid, facts.created) == (Some(pid), created) {
        return Ok(());
    }
    Err(Stop::violated(
        "SandboxStatus differs from what StartSandbox told",
        format!("pid {pid}, created at {}.{:09}", created.seconds, created.nanos),
        format!("pid {:?}, created at {}.{:09}", status.pid, facts.created.seconds, facts.created.nanos),
    ))
}

/// The platform is this one.
async fn platform(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let reply = sandbox.ask(Method::Platform).await?.done("Platform")?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let expected = Some(("linux".to_owned(), architecture.to_owned()));
    let actual = reply.sandbox.and_then(|facts| facts.platform);
    if actual == expected {
        return Ok(());
    }
    Err(Stop::violated("Platform names another platform", format!("{expected:?}"), format!("{actual:?}")))
}

/// A sandbox that was created is not ready.
async fn status_before_start(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Created).await?;
    sandbox.is_ready(false).await?;
    Ok(())
}

/// A sandbox that was started is ready, whoever asks how; it says who it is and has not exited.
async fn status_while_ready(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let (_, facts) = sandbox.is_ready(true).await?;
    if facts.id != sandbox.id() {
        return Err(Stop::violated("SandboxStatus is about another sandbox", sandbox.id(), facts.id));
    }
    if !facts.exited.is_unset() {
        let actual = facts.exited.seconds.to_string();
        return Err(Stop::violated("a sandbox that is ready has an exit time", "none", actual));
    }
    let verbose = sandbox.verbose_status().await?.done("SandboxStatus, verbose")?;
    let state = verbose.sandbox.map(|facts| facts.state).unwrap_or_default();
    if state == facts.state {
        return Ok(());
    }
    Err(Stop::violated("a verbose SandboxStatus says something else", facts.state, state))
}

/// A sandbox that was stopped can still be asked.
async fn status_after_stop(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Stopped).await?;
    sandbox.is_ready(false).await?;
    Ok(())
}

/// The time is that of the stop.
async fn status_tells_exit(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let earliest = whole_seconds(clock::wall());
    sandbox.stop().await?;
    let latest = clock::wall();
    let (_, facts) = sandbox.is_ready(false).await?;
    within("the exit that SandboxStatus tells", facts.exited, earliest, latest)
}

/// A sandbox that runs answers.
async fn ping(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    sandbox.ask(Method::PingSandbox).await?.done("PingSandbox").map(drop)
}

/// Two wait while the sandbox runs; the stop answers both alike.
async fn wait(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let waits = [sandbox.begin(Method::WaitSandbox).await?, sandbox.begin(Method::WaitSandbox).await?];
    // Whoever does not wait has answered by the time that a later call has been.
    sandbox.is_ready(true).await?;
    if !waits.iter().all(Pending::is_open) {
        return Err(Stop::violated("WaitSandbox answers while the sandbox runs", "no answer before its end", "one"));
    }
    let earliest = whole_seconds(clock::wall());
    sandbox.stop().await?;
    let mut exits = Vec::new();
    for wait in waits {
        let answer = wait.answer_within(lab.scaled(NOTICE), "the sandbox was stopped").await?;
        exits.push(answer.exit("WaitSandbox")?);
    }
    within("the exit that WaitSandbox tells", exits[0].at, earliest, clock::wall())?;
    exits[0].agrees(exits[1], "the other WaitSandbox")?;
    Ok(())
}

/// The end can be asked for afterwards, as often as anybody likes.
async fn wait_after_stop(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let earliest = whole_seconds(clock::wall());
    sandbox.stop().await?;
    let exit = sandbox.wait().await?;
    within("the exit that WaitSandbox tells", exit.at, earliest, clock::wall())?;
    sandbox.wait().await?.agrees(exit, "the first WaitSandbox")?;
    Ok(())
}

/// Who waits for a sandbox that is given up before its start is told so.
async fn wait_without_start(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Created).await?;
    let wait = sandbox.begin(Method::WaitSandbox).await?;
    sandbox.stop().await?;
    wait.answer_within(lab.scaled(NOTICE), "the sandbox was stopped").await?.exit("WaitSandbox")?;
    Ok(())
}

/// StopSandbox, in whatever state, is no failure to containerd.
async fn stops(lab: &Lab, stage: Stage) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(stage).await?;
    match sandbox.ask(Method::StopSandbox).await? {
        Answer::Done(_) => Ok(()),
        refusal @ (Answer::Refused { .. } | Answer::Lost(_)) => {
            refusal.refused("StopSandbox", &[Code::NotFound, Code::Unavailable])
        }
    }
}

/// A sandbox without members needs none of the time that it is given.
async fn stop_at_once(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    sandbox.stop_within(60).await?.done("StopSandbox")?;
    sandbox.is_ready(false).await?;
    Ok(())
}

/// ShutdownSandbox of a sandbox without members.
async fn shutdown(lab: &Lab, stage: Stage) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(stage).await?;
    leaves(lab, &sandbox).await
}

/// Who waits when the sandbox is shut down is answered before the shim goes.
async fn shutdown_answers_waits(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let wait = sandbox.begin(Method::WaitSandbox).await?;
    sandbox.ask(Method::ShutdownSandbox).await?.done("ShutdownSandbox")?;
    wait.answer().await?.exit("WaitSandbox")?;
    Ok(())
}

/// What containerd does when CreateSandbox has failed; the answer is only logged.
async fn shutdown_before_create(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_at(Stage::Unknown).await?;
    sandbox.ask(Method::ShutdownSandbox).await?;
    sandbox.host().execute_delete().await?;
    lab.left_nothing("ShutdownSandbox without CreateSandbox, and delete", SHUTDOWN, false).await
}

/// The metrics are of this sandbox, with members and without, or there are none.
async fn metrics(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    told_metrics(&sandbox).await?;
    sandbox.member(Order::new(program::sleeps())).await?;
    told_metrics(&sandbox).await
}

async fn told_metrics(sandbox: &Sandbox<'_>) -> Result<(), Stop> {
    match sandbox.ask(Method::SandboxMetrics).await? {
        Answer::Done(reply) => {
            let id = reply.sandbox.map(|facts| facts.id).unwrap_or_default();
            if id == sandbox.id() {
                return Ok(());
            }
            Err(Stop::violated("SandboxMetrics are of another sandbox", sandbox.id(), id))
        }
        refusal @ (Answer::Refused { .. } | Answer::Lost(_)) => {
            refusal.refused("SandboxMetrics", &[Code::Unimplemented])
        }
    }
}

/// Calls about another sandbox find nobody and touch nothing.
async fn unknown_id(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox().await?;
    let calls = [
        Method::StartSandbox,
        Method::Platform,
        Method::StopSandbox,
        Method::WaitSandbox,
        Method::SandboxStatus,
        Method::PingSandbox,
        Method::SandboxMetrics,
        Method::ShutdownSandbox,
    ];
    for method in calls {
        sandbox.ask_about_another(method).await?.refused(method.name(), &[Code::NotFound])?;
    }
    sandbox.is_ready(true).await?;
    alive(sandbox.host())
}

/// `start` finds no config.json, and the sandbox becomes ready all the same.
async fn without_config(lab: &Lab) -> Result<(), Stop> {
    let sandbox = lab.sandbox_without_config().await?;
    sandbox.ask(Method::CreateSandbox).await?.done("CreateSandbox")?;
    sandbox.ask(Method::StartSandbox).await?.done("StartSandbox")?;
    sandbox.is_ready(true).await?;
    Ok(())
}

fn whole_seconds(mut time: WallTime) -> WallTime {
    time.nanos = 0;
    time
}

/// Whether `what` happened in this time; `earliest` is of whole seconds, which are exact enough.
fn within(what: &str, at: WallTime, earliest: WallTime, latest: WallTime) -> Result<(), Stop> {
    if (earliest..=latest).contains(&at) {
        return Ok(());
    }
    Err(Stop::violated(
        format!("{what} is not at the time when it happened"),
        format!("between {} and {}.{:09}", earliest.seconds, latest.seconds, latest.nanos),
        format!("{}.{:09}", at.seconds, at.nanos),
    ))
}

pub(super) fn alive(host: &Container<'_>) -> Result<(), Stop> {
    if host.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim has gone", "a shim that stays", "none"))
}
