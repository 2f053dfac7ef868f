//! What the shim publishes, and to whom it does not listen meanwhile.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    check::{Body, Check, Need, Stop},
    contract::{events, task},
    history::{Answer, Event, Method, Status, Topic},
    lab::{Lab, NOTICE, Order, program, stdio::Wiring},
    lie::Lie,
    wire::{EventsMode, Order as Command},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "events/fields",
        clause: &events::FIELDS,
        needs: &[],
        notices: &[
            Lie::EventPid(Topic::Create),
            Lie::EventPid(Topic::Exit),
            Lie::EventExit(Topic::Delete),
            Lie::Dropped(Topic::Create),
        ],
        body: Body::Example(|lab| Box::pin(fields(lab))),
    },
    Check {
        id: "events/envelope",
        clause: &events::ENVELOPE,
        needs: &[],
        notices: &[Lie::EventNamespace],
        body: Body::Example(|lab| Box::pin(envelope(lab))),
    },
    Check {
        id: "events/order-of-a-life",
        clause: &task::DELETE_FOLLOWS_EXIT,
        needs: &[],
        notices: &[Lie::Swapped(Topic::Create, Topic::Start), Lie::Doubled(Topic::Start), Lie::Dropped(Topic::Delete)],
        body: Body::Example(|lab| Box::pin(order_of_a_life(lab))),
    },
    Check {
        id: "events/fast-exit",
        clause: &events::ORDER,
        needs: &[],
        notices: &[Lie::Swapped(Topic::Start, Topic::Exit), Lie::Doubled(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(fast_exit(lab))),
    },
    Check {
        id: "events/fast-exec",
        clause: &events::EXEC_ORDER,
        needs: &[],
        notices: &[
            Lie::Swapped(Topic::ExecAdded, Topic::ExecStarted),
            Lie::Dropped(Topic::ExecStarted),
            Lie::Doubled(Topic::Exit),
        ],
        body: Body::Example(|lab| Box::pin(fast_exec(lab))),
    },
    Check {
        id: "events/exec-is-named",
        clause: &events::EXEC_DELETE_ID,
        needs: &[],
        notices: &[Lie::EventExec, Lie::ExitStatus(Method::Wait), Lie::EventPid(Topic::ExecStarted)],
        body: Body::Example(|lab| Box::pin(exec_is_named(lab))),
    },
    Check {
        id: "events/failure-is-silent",
        clause: &events::FAILURES_SILENT,
        needs: &[],
        notices: &[Lie::Accepted(Method::Create), Lie::Dropped(Topic::Create)],
        body: Body::Example(|lab| Box::pin(failure_is_silent(lab))),
    },
    Check {
        id: "events/paused-and-resumed",
        clause: &events::PAUSED_TOLD,
        needs: &[Need::Freezer],
        notices: &[Lie::Dropped(Topic::Paused), Lie::Dropped(Topic::Resumed), Lie::Doubled(Topic::Paused)],
        body: Body::Example(|lab| Box::pin(paused_and_resumed(lab))),
    },
    Check {
        id: "events/outage",
        clause: &events::OUTAGE,
        needs: &[],
        notices: &[Lie::Dropped(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(outage(lab))),
    },
    Check {
        id: "events/service-stalls",
        clause: &events::INDEPENDENT,
        needs: &[],
        notices: &[Lie::Unanswered(Method::Start), Lie::Refused(Method::Delete)],
        body: Body::Example(|lab| Box::pin(life_without_events(lab, EventsMode::Stall))),
    },
    Check {
        id: "events/service-absent-at-start",
        clause: &events::INDEPENDENT,
        needs: &[],
        notices: &[Lie::StartFails, Lie::Refused(Method::Create)],
        body: Body::Example(|lab| Box::pin(life_without_events(lab, EventsMode::Refuse))),
    },
    Check {
        id: "events/out-of-memory",
        clause: &events::OOM_TOLD,
        needs: &[Need::Controller("memory")],
        notices: &[Lie::Dropped(Topic::Oom)],
        body: Body::Example(|lab| Box::pin(out_of_memory(lab))),
    },
];

/// Expects a pid in an event.
fn names(event: &Event, pid: u32) -> Result<(), Stop> {
    if event.pid == pid {
        return Ok(());
    }
    Err(Stop::violated(format!("{} names the wrong process", event.topic), pid.to_string(), event.pid.to_string()))
}

/// Create, start, exit and delete name the container and its pid, and the last two how it ended.
async fn fields(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::exits_with(3))).await?;
    let pid = task.create().await?;
    task.start().await?;
    let exit = task.wait().await?;
    task.announced(Topic::Exit, NOTICE).await?;
    task.delete().await?;
    for topic in [Topic::Create, Topic::Start, Topic::Exit, Topic::Delete] {
        let event = task.announced(topic, NOTICE).await?;
        names(&event, pid)?;
        if let Some(told) = event.exit {
            told.agrees(exit, "Wait")?;
        }
    }
    Ok(())
}

/// The envelope tells the namespace, and a time between the call and its answer's arrival.
async fn envelope(lab: &Lab) -> Result<(), Stop> {
    let seconds = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    };
    let before = seconds();
    let task = lab.create(Order::new(program::sleeps())).await?;
    let event = task.announced(Topic::Create, NOTICE).await?;
    if event.namespace != lab.setup().namespace {
        return Err(Stop::violated(
            "an event belongs to another namespace",
            lab.setup().namespace.clone(),
            event.namespace,
        ));
    }
    let published = event.published.seconds;
    if (before..=seconds()).contains(&published) {
        return Ok(());
    }
    Err(Stop::violated(
        "an event was not published when it happened",
        format!("a time from {before} to {}", seconds()),
        published.to_string(),
    ))
}

/// The events of a life that takes its time come once each, in its order.
async fn order_of_a_life(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.end().await?;
    task.announced(Topic::Exit, NOTICE).await?;
    task.delete().await?;
    task.announces(&[Topic::Create, Topic::Start, Topic::Exit, Topic::Delete], NOTICE).await
}

/// An init that has exited before Start is answered is announced as started first.
async fn fast_exit(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    task.announces(&[Topic::Create, Topic::Start, Topic::Exit], NOTICE).await
}

/// Execs that exit at once are announced as added, started and exited, each once.
async fn fast_exec(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    for id in ["e0", "e1", "e2"] {
        let exec = task.exec(id, &program::exits_with(0), Wiring::Null).await?;
        exec.start().await?;
        exec.wait().await?;
        exec.announces(&[Topic::ExecAdded, Topic::ExecStarted, Topic::Exit], NOTICE).await?;
    }
    Ok(())
}

/// The events of an exec name it; its deletion, where it is announced at all, is not that of the container.
async fn exec_is_named(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e0", &program::exits_with(5), Wiring::Null).await?;
    let pid = exec.start().await?;
    names(&exec.announced(Topic::ExecStarted, NOTICE).await?, pid)?;
    let exit = exec.wait().await?.reports(5)?;
    let event = exec.announced(Topic::Exit, NOTICE).await?;
    names(&event, pid)?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait")?;
    exec.delete().await?;
    // Init's exit comes after whatever the deletion of the exec has announced.
    task.end().await?;
    task.announces(&[Topic::Create, Topic::Start, Topic::Exit], NOTICE).await
}

/// A program that does not exist fails Create, or Start where the runtime looks for it so late; the step that failed is not announced.
async fn failure_is_silent(lab: &Lab) -> Result<(), Stop> {
    // The group bears the name of its first member, so that nothing but events is in question.
    let failing = lab.serve(Order::new(program::missing()).id("g").group("g")).await?;
    let created = lab.call(failing.create_request()?).await?;
    let expected: &[Topic] = match created {
        Answer::Refused { .. } => &[],
        Answer::Done(_) | Answer::Lost(_) => {
            created.done("Create")?;
            match failing.call(Method::Start).await? {
                Answer::Refused { .. } => &[Topic::Create],
                started @ (Answer::Done(_) | Answer::Lost(_)) => {
                    let actual = started.to_string();
                    return Err(Stop::violated("a program that does not exist was started", "a refusal", actual));
                }
            }
        }
    };
    // The same shim announces this one after whatever it had to say before.
    let other = lab.create(Order::new(program::sleeps()).group("g")).await?;
    other.announced(Topic::Create, NOTICE).await?;
    failing.announces(expected, NOTICE).await
}

/// A pause and its end are announced once each; a second pause is refused and not announced.
async fn paused_and_resumed(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    task.is(Status::Paused).await?;
    if matches!(task.call(Method::Pause).await?, Answer::Done(_)) {
        return Err(Stop::violated("a paused task was paused again", "a refusal", "success"));
    }
    task.call(Method::Resume).await?.done("Resume")?;
    let all = [Topic::Create, Topic::Start, Topic::Paused, Topic::Resumed];
    task.announces(&all, NOTICE).await
}

/// How long nobody listens; less than what must be survived (contract EVT-13: 5 s), and more than one attempt lasts.
const AWAY: Duration = Duration::from_secs(2);
/// How long a shim may take to notice that somebody listens again: its attempts come at growing intervals.
const BACK: Duration = Duration::from_secs(10);

/// An exit while nobody listens is announced when somebody does.
async fn outage(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.announced(Topic::Start, NOTICE).await?;
    lab.obey(Command::Events(EventsMode::Refuse)).await?;
    let exit = task.end().await?;
    let heard = |history: &crate::history::History| history.events().find(|(_, e)| e.topic == Topic::Exit).map(drop);
    if lab.recorder().until(AWAY, heard).await.is_some() {
        return Err(Stop::Error("an event arrived where nobody listens".to_owned()));
    }
    lab.obey(Command::Events(EventsMode::Serve)).await?;
    let event = task.announced(Topic::Exit, BACK).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait").map(drop)
}

/// A whole life is lived while the events service is `mode`.
async fn life_without_events(lab: &Lab, mode: EventsMode) -> Result<(), Stop> {
    lab.obey(Command::Events(mode)).await?;
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e0", &program::exits_with(4), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?.reports(4)?;
    exec.delete().await?;
    task.is(Status::Running).await?;
    task.end().await?;
    task.delete().await?.reports(137).map(drop)
}

/// A limit that no useful runtime refuses and every eater of memory exceeds.
const LIMIT: u64 = 32 << 20;

/// A container that the kernel stops for its memory is announced as such.
async fn out_of_memory(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::eats_memory()).memory(LIMIT)).await?;
    task.wait().await?;
    task.announced(Topic::Oom, NOTICE * 2).await.map(drop)
}
