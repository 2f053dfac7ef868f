//! Events at the end of a life, around an outage, and in great number.

use std::time::Duration;

use crate::{
    check::{Body, Check, Stop},
    contract::events,
    history::{Answer, History, Loss, Method, Target, Topic},
    lab::{
        Lab, NOTICE, Order, SHUTDOWN,
        message::{self, Stdio},
        program, spec,
    },
    lie::Lie,
    wire::{EventsMode, Order as Command},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "events/exit-before-the-shim-leaves",
        clause: &events::TOLD_BEFORE_LEAVING,
        needs: &[],
        notices: &[Lie::Dropped(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(told_though_shutdown_follows(lab, Topic::Exit))),
    },
    Check {
        id: "events/delete-before-the-shim-leaves",
        clause: &events::DELETE_TOLD_AT_ONCE,
        needs: &[],
        notices: &[Lie::Dropped(Topic::Delete)],
        body: Body::Example(|lab| Box::pin(told_though_shutdown_follows(lab, Topic::Delete))),
    },
    Check {
        id: "events/delete-of-created",
        clause: &events::DELETE_OF_CREATED,
        needs: &[],
        notices: &[Lie::Dropped(Topic::Exit), Lie::Swapped(Topic::Exit, Topic::Delete)],
        body: Body::Example(|lab| Box::pin(delete_of_created(lab))),
    },
    Check {
        id: "events/order-over-outage",
        clause: &events::ORDER_OVER_OUTAGE,
        needs: &[],
        notices: &[Lie::Dropped(Topic::Start), Lie::Swapped(Topic::Create, Topic::Start)],
        body: Body::Example(|lab| Box::pin(order_over_outage(lab))),
    },
    Check {
        id: "events/a-thousand",
        clause: &events::MANY,
        needs: &[],
        notices: &[Lie::Dropped(Topic::ExecAdded), Lie::Doubled(Topic::ExecAdded)],
        body: Body::Example(|lab| Box::pin(a_thousand(lab))),
    },
    Check {
        id: "events/exit-after-wait",
        clause: &events::WAIT_AGREES,
        needs: &[],
        notices: &[Lie::Dropped(Topic::Exit), Lie::EventExit(Topic::Exit)],
        body: Body::Example(|lab| Box::pin(exit_after_wait(lab))),
    },
];

/// Delete and Shutdown follow each other as closely as containerd's own do; five lives, because it is a race.
async fn told_though_shutdown_follows(lab: &Lab, topic: Topic) -> Result<(), Stop> {
    const LIVES: u32 = 5;
    for number in 0..LIVES {
        let task = lab.run(Order::new(program::exits_with(0)).id(&format!("life{number}"))).await?;
        task.wait().await?;
        let deleting = task.begin(Method::Delete).await?;
        deleting.answer().await?.done("Delete")?;
        // A connection that ends instead of an answer is one.
        match task.call(Method::Shutdown).await? {
            Answer::Done(_) | Answer::Lost(Loss::Disconnected) => {}
            answer @ (Answer::Refused { .. } | Answer::Lost(_)) => answer.done("Shutdown").map(drop)?,
        }
        task.shim_gone(SHUTDOWN).await?;
        task.announced(topic, NOTICE).await?;
    }
    Ok(())
}

/// Delete of what never started ends it first.
async fn delete_of_created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    task.delete().await?;
    task.announces(&[Topic::Create, Topic::Exit, Topic::Delete], NOTICE).await
}

/// A whole life while nobody listens is told in its order afterwards.
async fn order_over_outage(lab: &Lab) -> Result<(), Stop> {
    /// Attempts come at growing intervals.
    const BACK: Duration = Duration::from_secs(12);
    let task = lab.serve(Order::new(program::sleeps())).await?;
    lab.obey(Command::Events(EventsMode::Refuse)).await?;
    task.create().await?;
    task.start().await?;
    task.end().await?;
    lab.obey(Command::Events(EventsMode::Serve)).await?;
    task.announces(&[Topic::Create, Topic::Start, Topic::Exit], BACK).await
}

/// A thousand execs are added, and never started: each is announced, once.
async fn a_thousand(lab: &Lab) -> Result<(), Stop> {
    const EVENTS: usize = 1000;
    let task = lab.run(Order::new(program::sleeps())).await?;
    let process = spec::process(&program::exits_with(0), false, &[]);
    for number in 0..EVENTS {
        let target = Target::exec(task.id(), &format!("e{number}"));
        lab.call(message::exec(&target, Some(&process), &Stdio::default())).await?.done("Exec")?;
    }
    let added = |history: &History| history.events().filter(|(_, event)| event.topic == Topic::ExecAdded).count();
    let all = |history: &History| (added(history) >= EVENTS).then_some(());
    // Whether enough came in time is told by the comparison.
    _ = lab.recorder().until(lab.scaled(NOTICE * 10), all).await;
    // Whatever came twice would come before this.
    task.end().await?;
    task.announced(Topic::Exit, NOTICE * 10).await?;
    let history = lab.recorder().history();
    let mut targets: Vec<&Target> =
        history.events().filter(|(_, event)| event.topic == Topic::ExecAdded).map(|(_, event)| &event.target).collect();
    let events = targets.len();
    targets.sort_unstable();
    targets.dedup();
    if events == EVENTS && targets.len() == EVENTS {
        return Ok(());
    }
    let actual = format!("{events} events about {} execs", targets.len());
    Err(Stop::violated("events were lost or doubled", format!("{EVENTS} execs added, once each"), actual))
}

/// What Wait has told, the event tells.
async fn exit_after_wait(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(3))).await?;
    let exit = task.wait().await?.reports(3)?;
    let event = task.announced(Topic::Exit, NOTICE).await?;
    event.exit.unwrap_or(exit).agrees(exit, "Wait").map(drop)
}
