//! Calls that act on a running task: freezing, limits, metrics, terminals, input, checkpoints.

use std::time::Duration;

use serde_json::json;

use crate::{
    check::{Body, Check, Need, Stop},
    contract::task,
    history::{Answer, Loss, Method, Status, Topic},
    lab::{Lab, NOTICE, Order, deadline, message, program, stdio::Wiring},
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "control/pause",
        clause: &task::PAUSE,
        needs: &[Need::Freezer],
        notices: &[
            Lie::NotFrozen,
            Lie::State(Status::Running),
            Lie::Refused(Method::Resume),
            Lie::Dropped(Topic::Paused),
            Lie::Dropped(Topic::Resumed),
        ],
        body: Body::Example(|lab| Box::pin(pause(lab))),
    },
    Check {
        id: "control/stats",
        clause: &task::STATS,
        needs: &[Need::Controller("memory")],
        notices: &[Lie::StatsEmpty, Lie::Refused(Method::Stats)],
        body: Body::Example(|lab| Box::pin(stats(lab))),
    },
    Check {
        id: "control/update-memory",
        clause: &task::UPDATE,
        needs: &[Need::Controller("memory")],
        notices: &[Lie::LimitIgnored, Lie::Refused(Method::Update)],
        body: Body::Example(|lab| Box::pin(update_memory(lab))),
    },
    Check {
        id: "control/update-pids",
        clause: &task::UPDATE,
        needs: &[Need::Controller("pids")],
        notices: &[Lie::LimitIgnored, Lie::Refused(Method::Update)],
        body: Body::Example(|lab| Box::pin(update_pids(lab))),
    },
    Check {
        id: "control/resize",
        clause: &task::RESIZE,
        needs: &[],
        notices: &[Lie::Refused(Method::ResizePty), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(resize(lab))),
    },
    Check {
        id: "control/close-stdin",
        clause: &task::CLOSE_STDIN,
        needs: &[],
        notices: &[Lie::Refused(Method::CloseIo), Lie::OutputCut, Lie::OutputDoubled, Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(close_stdin(lab))),
    },
    Check {
        id: "control/checkpoint",
        clause: &task::CHECKPOINT,
        needs: &[],
        notices: &[
            Lie::Broken(Method::Checkpoint),
            Lie::Unanswered(Method::Checkpoint),
            Lie::State(Status::Stopped),
            Lie::ShimDead,
        ],
        body: Body::Example(|lab| Box::pin(checkpoint(lab))),
    },
];

/// How long a program may take to show what it was told.
const PATIENCE: Duration = Duration::from_secs(5);
/// For so long nothing happens in a frozen task; its program counts every 5 ms.
const FROZEN: Duration = Duration::from_millis(60);

/// A counter stands still from Pause to Resume; State and events say so.
async fn pause(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::counts("beats"))).await?;
    counts_on(lab, 0).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    task.is(Status::Paused).await?;
    task.announced(Topic::Paused, NOTICE).await?;
    let frozen = lab.count("beats")?;
    let moved = deadline::until(FROZEN, || lab.count("beats").ok().filter(|&count| count > frozen)).await;
    if let Some(count) = moved {
        return Err(Stop::violated(
            "a paused task runs on",
            format!("a counter that stays at {frozen}"),
            count.to_string(),
        ));
    }
    task.call(Method::Resume).await?.done("Resume")?;
    task.is(Status::Running).await?;
    task.announced(Topic::Resumed, NOTICE).await?;
    counts_on(lab, frozen).await
}

/// Waits until the counter is past `count`.
async fn counts_on(lab: &Lab, count: u64) -> Result<(), Stop> {
    // Before its first beat there is nothing to look at.
    let moved = deadline::until(lab.scaled(PATIENCE), || lab.count("beats").ok().filter(|&now| now > count));
    let expected = format!("a counter over {count}");
    moved.await.map(drop).ok_or_else(|| Stop::violated("a running task stands still", expected, "it stays"))
}

/// Stats holds the metrics of one of the two cgroup generations.
async fn stats(lab: &Lab) -> Result<(), Stop> {
    const KNOWN: [&str; 2] = ["io.containerd.cgroups.v1.Metrics", "io.containerd.cgroups.v2.Metrics"];
    let task = lab.run(Order::new(program::sleeps())).await?;
    let reply = task.call(Method::Stats).await?.done("Stats")?;
    let (kind, length) = reply.stats.unwrap_or_default();
    // typeurl lets a prefix stand before the name.
    if length > 0 && KNOWN.iter().any(|known| kind.rsplit('/').next() == Some(known)) {
        return Ok(());
    }
    let actual = format!("{length} bytes of {kind:?}");
    Err(Stop::violated("Stats holds no metrics", KNOWN.join(" or "), actual))
}

/// A new memory limit is that of the cgroup.
async fn update_memory(lab: &Lab) -> Result<(), Stop> {
    const BYTES: u64 = 128 << 20;
    let resources = json!({ "memory": { "limit": BYTES } });
    updates(lab, &resources, ["memory.limit_in_bytes", "memory.max"], BYTES).await
}

/// A new limit of processes is that of the cgroup.
async fn update_pids(lab: &Lab) -> Result<(), Stop> {
    const PROCESSES: u64 = 77;
    let resources = json!({ "pids": { "limit": PROCESSES } });
    updates(lab, &resources, ["pids.max", "pids.max"], PROCESSES).await
}

async fn updates(lab: &Lab, resources: &serde_json::Value, files: [&str; 2], limit: u64) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let request = message::update(task.target(), Some(resources));
    task.request(request).await?.done("Update")?;
    let actual = task.limit(files[0], files[1])?;
    if actual == Some(limit) {
        return Ok(());
    }
    let actual = actual.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    Err(Stop::violated("Update changed no limit", limit.to_string(), actual))
}

/// The program in a terminal sees the size that the client gave it.
async fn resize(lab: &Lab) -> Result<(), Stop> {
    let order = Order::new(program::tells_size()).wired(Wiring::Terminal);
    let task = lab.run(order).await?;
    let stdout = &task.streams().stdout;
    // The first line shows that it listens.
    let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
    stdout.until(lab, PATIENCE, "its size at first", |bytes| lines(bytes) == 1).await?;
    let request = message::resize(task.target(), 100, 40);
    task.request(request).await?.done("ResizePty")?;
    let resized = |bytes: &[u8]| bytes.ends_with(b"100x40\r\n");
    stdout.until(lab, PATIENCE, "100x40", resized).await.map(drop)
}

/// What was written arrives, then the end, and the program ends with it.
async fn close_stdin(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::echoes()).wired(Wiring::All)).await?;
    task.streams().write(b"to the last byte")?;
    let stdout = &task.streams().stdout;
    let expected = "to the last byte";
    let arrived = |bytes: &[u8]| bytes == expected.as_bytes();
    stdout.until(lab, PATIENCE, expected, arrived).await?;
    task.streams().close_stdin();
    task.request(message::close_stdin(task.target())).await?.done("CloseIO")?;
    task.wait().await?.reports(0)?;
    Ok(())
}

/// Whether or not the runtime can do it, the task runs on.
async fn checkpoint(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let image = lab.places().base.join("checkpoint").display().to_string();
    let request = message::checkpoint(task.target(), &image);
    let answer = task.request(request).await?;
    if let Answer::Lost(Loss::Deadline | Loss::Disconnected) = answer {
        let actual = answer.to_string();
        return Err(Stop::violated("Checkpoint has no answer", "success or a refusal", actual));
    }
    task.is(Status::Running).await?;
    if !task.shim_is_alive()? {
        return Err(Stop::violated("the shim did not survive Checkpoint", "a living shim", "none"));
    }
    Ok(())
}
