//! Shims side by side: how long each takes for the same life, and what it weighs.
//!
//! A life is a check that stands in no table: it is played in a world of its own, and the figures are computed from its history alone. A
//! timing never decides anything, nor do the invariants here; a life that cannot be lived to its end does.

pub mod figures;

use std::time::Duration;

use self::figures::{BRIEF, DELETE_ORDERED, EXECS, INIT_KILLED, LONG, START_ORDERED, Sample};
use crate::{
    check::{Body, Check, Stop, Verdict},
    contract,
    history::{Method, Topic},
    lab::{Container, Lab, NOTICE, Order, SHUTDOWN, program, stdio::Wiring},
    runner::{self, Control},
    subject::Subject,
    tenancy,
};

/// How long the event of an exit is waited for: the duty is [`NOTICE`], the rest is for a busy host.
const PATIENCE: Duration = NOTICE.saturating_mul(5);

/// What is measured: two containers one after the other.
static LIFE: Check = Check {
    id: "bench/life",
    clause: &contract::always::MATRIX,
    needs: &[],
    notices: &[],
    body: Body::Example(|lab| Box::pin(life(lab))),
};

/// The check of this id, when it is the benchmark's.
pub fn named(id: &str) -> Option<&'static Check> {
    (id == LIFE.id).then_some(&LIFE)
}

/// One whole life of a program that ends at once; then a container that is weighed, does execs and is killed.
async fn life(lab: &Lab) -> Result<(), Stop> {
    brief(lab).await?;
    long(lab).await
}

/// The calls that containerd makes for `ctr run --rm`, in its order.
async fn brief(lab: &Lab) -> Result<(), Stop> {
    let task = start(lab, Order::new(program::exits_with(0)).id(BRIEF)).await?;
    task.create().await?;
    let wait = task.begin(Method::Wait).await?;
    task.start().await?;
    wait.answer().await?.exit("Wait")?.reports(0)?;
    task.announced(Topic::Exit, PATIENCE).await?;
    remove(&task).await
}

async fn long(lab: &Lab) -> Result<(), Stop> {
    let task = start(lab, Order::new(program::sleeps()).id(LONG)).await?;
    task.create().await?;
    let init = task.start().await?;
    task.announced(Topic::Start, PATIENCE).await?;
    task.settle().await?;
    task.weigh()?;
    task.footprint()?;
    for number in 0..EXECS {
        let exec = task.exec(&format!("e{number}"), &program::exits_with(0), Wiring::Null).await?;
        exec.start().await?;
        exec.wait().await?.reports(0)?;
        exec.delete().await?;
    }
    lab.note(INIT_KILLED);
    task.kill_from_outside(init)?;
    task.announced(Topic::Exit, PATIENCE).await?;
    remove(&task).await
}

async fn start(lab: &Lab, order: Order) -> Result<Container<'_>, Stop> {
    let task = lab.bundle(order).await?;
    lab.note(START_ORDERED);
    task.start_shim().await?;
    Ok(task)
}

/// Delete, Shutdown, the shim's end and the `delete` action; the shim gets the time that it is owed to announce the deletion.
async fn remove(task: &Container<'_>) -> Result<(), Stop> {
    task.delete().await?;
    task.announced(Topic::Delete, PATIENCE).await?;
    task.shutdown().await?;
    task.shim_gone(SHUTDOWN).await?;
    task.lab().note(DELETE_ORDERED);
    task.cleaned().await?;
    task.forget().await
}

/// A life that failed, of which no figure is kept.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The place of its shim.
    pub shim: usize,
    /// Its round; 0 is the warm-up.
    pub round: u32,
    /// How it ended.
    pub verdict: Verdict,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// For each shim, one sample of each round that succeeded.
    pub samples: Vec<Vec<Sample>>,
    /// What failed.
    pub failures: Vec<Failure>,
}

/// Plays `rounds` lives of each of `shims` and one before them to warm up, in turns, so that whatever else this host does hits all alike.
/// `tell` hears of each round before it begins.
pub fn measure(shims: &[Subject], rounds: u32, control: &Control, mut tell: impl FnMut(u32)) -> Measured {
    let mut measured = Measured { samples: vec![Vec::new(); shims.len()], failures: Vec::new() };
    for round in 0..=rounds {
        tell(round);
        for (shim, subject) in shims.iter().enumerate() {
            let ending = runner::in_world(&subject.job(LIFE.id, None, None, tenancy::unique()), control);
            if control.signal().is_some() {
                return measured;
            }
            let verdict = ending.verdict;
            if verdict != Verdict::Held {
                measured.failures.push(Failure { shim, round, verdict });
            } else if round > 0 {
                measured.samples[shim].push(Sample::of(&ending.history));
            }
        }
    }
    measured
}
