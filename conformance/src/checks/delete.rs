//! The `delete` action.

use std::fs;

use anyhow::Context as _;
use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};

use super::reaping;
use crate::{
    check::{Body, Check, Need, Stop},
    clock,
    contract::delete,
    history::{Exit, Method, Status, Topic},
    lab::{Container, Lab, NOTICE, Order, SHUTDOWN, process, program, stdio::Wiring},
    lie::Lie,
    wire::{self, EventsMode},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "delete/after-a-life",
        clause: &delete::ANSWERS,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteSilent],
        body: Body::Example(|lab| Box::pin(after_a_life(lab))),
    },
    Check {
        id: "delete/created",
        clause: &delete::CLEANS_UP,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(created(lab))),
    },
    Check {
        id: "delete/running",
        clause: &delete::CLEANS_UP,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(running(lab))),
    },
    Check {
        id: "delete/paused",
        clause: &delete::CLEANS_UP,
        needs: &[Need::Freezer],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(paused(lab))),
    },
    Check {
        id: "delete/many-processes",
        clause: &delete::IN_TIME,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(many_processes(lab))),
    },
    Check {
        id: "delete/without-events-service",
        clause: &delete::ALONE,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(without_events_service(lab))),
    },
    Check {
        id: "delete/exit",
        clause: &delete::EXIT,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteSilent, Lie::DeleteClean, Lie::DeleteLate],
        body: Body::Example(|lab| Box::pin(exit(lab))),
    },
    Check {
        id: "delete/true-exit",
        clause: &delete::TRUE_EXIT,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteClean],
        body: Body::Example(|lab| Box::pin(true_exit(lab))),
    },
    Check {
        id: "delete/twice",
        clause: &delete::AGAIN,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(twice(lab))),
    },
    Check {
        id: "delete/two-at-once",
        clause: &delete::AGAIN,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(two_at_once(lab))),
    },
    Check {
        id: "delete/never-created",
        clause: &delete::NEVER_CREATED,
        needs: &[],
        notices: &[Lie::DeleteFails],
        body: Body::Example(|lab| Box::pin(never_created(lab))),
    },
    Check {
        id: "delete/spares-others",
        clause: &delete::SPARES_OTHERS,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::ShimDead, Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(spares_others(lab))),
    },
    Check {
        id: "delete/stopped",
        clause: &delete::CLEANS_UP,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(stopped(lab))),
    },
    Check {
        id: "delete/with-exec",
        clause: &delete::CLEANS_UP,
        needs: &[],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(with_exec(lab))),
    },
    Check {
        id: "delete/host-pid",
        clause: &delete::REAPS,
        needs: &[Need::HostPid],
        notices: CLEANING_LIES,
        body: Body::Example(|lab| Box::pin(host_pid(lab))),
    },
    Check {
        id: "delete/nested-mounts",
        clause: &delete::UNMOUNTS,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::LeftMount],
        body: Body::Example(|lab| Box::pin(nested_mounts(lab))),
    },
    Check {
        id: "delete/debug",
        clause: &delete::FLAGS,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteSilent],
        body: Body::Example(|lab| Box::pin(debug(lab))),
    },
    Check {
        id: "delete/keeps-bundle",
        clause: &delete::KEEPS_BUNDLE,
        needs: &[],
        notices: &[Lie::DeleteFails],
        body: Body::Example(|lab| Box::pin(keeps_bundle(lab))),
    },
    Check {
        id: "delete/silent",
        clause: &delete::SILENT,
        needs: &[],
        notices: &[Lie::DeleteFails],
        body: Body::Example(|lab| Box::pin(silent(lab))),
    },
    Check {
        id: "delete/beside-a-living-shim",
        clause: &delete::ALONE,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteSilent],
        body: Body::Example(|lab| Box::pin(beside_a_living_shim(lab))),
    },
    Check {
        id: "delete/beside-a-frozen-shim",
        clause: &delete::ALONE,
        needs: &[],
        notices: &[Lie::DeleteFails, Lie::DeleteSilent],
        body: Body::Example(|lab| Box::pin(beside_a_frozen_shim(lab))),
    },
    Check {
        id: "delete/no-config",
        clause: &delete::HALF_A_BUNDLE,
        needs: &[],
        notices: HALF_LIES,
        body: Body::Example(|lab| Box::pin(half_a_bundle(lab, Half::NoConfig))),
    },
    Check {
        id: "delete/half-a-config",
        clause: &delete::HALF_A_BUNDLE,
        needs: &[],
        notices: HALF_LIES,
        body: Body::Example(|lab| Box::pin(half_a_bundle(lab, Half::CutConfig))),
    },
    Check {
        id: "delete/empty-bundle",
        clause: &delete::HALF_A_BUNDLE,
        needs: &[],
        notices: HALF_LIES,
        body: Body::Example(|lab| Box::pin(half_a_bundle(lab, Half::Empty))),
    },
];

/// Under each of these delete does not clean up.
const CLEANING_LIES: &[Lie] = &[Lie::DeleteFails, Lie::DeleteSilent, Lie::LeftProcess, Lie::LeftMount, Lie::LeftFile];

/// Under each of these something is left of half a bundle.
const HALF_LIES: &[Lie] = &[Lie::LeftProcess, Lie::LeftFile, Lie::DeleteHangs];

/// What a bundle lacks.
#[derive(Debug, Clone, Copy)]
enum Half {
    /// config.json.
    NoConfig,
    /// The end of config.json.
    CutConfig,
    /// Everything.
    Empty,
}

/// containerd's last step with every task: rc 0 and a message, though there is nothing left to do.
async fn after_a_life(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    task.remove().await
}

/// The shim dies between Create and Start.
async fn created(lab: &Lab) -> Result<(), Stop> {
    let task = lab.create(Order::new(program::sleeps())).await?;
    cleans_up(lab, &task).await.map(drop)
}

/// The shim dies while init, which heeds no signal, runs.
async fn running(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::ignores_signals())).await?;
    cleans_up(lab, &task).await.map(drop)
}

/// The shim dies while init is frozen.
async fn paused(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.call(Method::Pause).await?.done("Pause")?;
    cleans_up(lab, &task).await.map(drop)
}

/// The shim dies over a container of a hundred processes.
async fn many_processes(lab: &Lab) -> Result<(), Stop> {
    let task = reaping::orphaned(lab, Order::new(program::orphans(100))).await?;
    cleans_up(lab, &task).await.map(drop)
}

/// Nobody is there to hear of it.
async fn without_events_service(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    lab.obey(wire::Order::Events(EventsMode::Refuse)).await?;
    cleans_up(lab, &task).await.map(drop)
}

/// The exit of a container that was ended is neither clean nor of another day.
async fn exit(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exit = cleans_up(lab, &task).await?;
    if exit.status == 0 {
        return Err(Stop::violated("delete tells a clean exit", "a status over 0", "0"));
    }
    let now = clock::wall().seconds;
    if (now - exit.at.seconds).abs() <= 5 {
        return Ok(());
    }
    Err(Stop::violated("delete tells the wrong time", format!("about {now}"), exit.at.seconds.to_string()))
}

/// Init ended with 7 and everybody was told so; then the shim died.
async fn true_exit(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(7))).await?;
    task.wait().await?.reports(7)?;
    cleans_up(lab, &task).await?.reports(7)?;
    Ok(())
}

/// The second delete finds nothing to do.
async fn twice(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    cleans_up(lab, &task).await?;
    let (ran, _) = task.execute_delete().await?;
    succeeded(ran.code, &ran.stderr)?;
    nothing_left(lab).await
}

/// Init has exited, nobody fetched the exit, and the shim died.
async fn stopped(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::exits_with(0))).await?;
    task.wait().await?;
    kill_shim(&task).await?;
    task.cleaned().await?;
    nothing_left(lab).await
}

/// The shim dies over an exec as well.
async fn with_exec(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::ignores_signals(), Wiring::Null).await?;
    exec.start().await?;
    cleans_up(lab, &task).await.map(drop)
}

/// No PID namespace takes the rest of the container with init.
async fn host_pid(lab: &Lab) -> Result<(), Stop> {
    let task = reaping::orphaned(lab, Order::new(program::orphans(5)).host_pid()).await?;
    let exec = task.exec("e", &program::ignores_signals(), Wiring::Null).await?;
    exec.start().await?;
    cleans_up(lab, &task).await.map(drop)
}

/// Something was mounted inside the container's root, as snapshotters and volumes do.
async fn nested_mounts(lab: &Lab) -> Result<(), Stop> {
    const NONE: Option<&str> = None;
    let task = lab.create(Order::new(program::sleeps())).await?;
    let inside = task.bundle().join("rootfs/tmp");
    mount(Some("tmpfs"), &inside, Some("tmpfs"), MsFlags::empty(), NONE)
        .with_context(|| format!("mount {}", inside.display()))?;
    kill_shim(&task).await?;
    task.cleaned().await?;
    nothing_left(lab).await?;
    task.forget().await
}

/// `-debug`, which containerd passes since 1.7 when it logs so itself.
async fn debug(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    kill_shim(&task).await?;
    let (ran, exit) = task.delete_ended(task.begin_delete_with(true).await?).await?;
    succeeded(ran.code, &ran.stderr)?;
    if exit.is_none() {
        return Err(Stop::violated("delete told no exit", "a DeleteResponse on stdout", format!("{:?}", ran.stdout)));
    }
    nothing_left(lab).await
}

/// The directory is containerd's to remove.
async fn keeps_bundle(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    cleans_up(lab, &task).await?;
    if task.bundle().join("config.json").exists() {
        return Ok(());
    }
    Err(Stop::violated("delete removes the bundle", "the bundle with its config.json", "none"))
}

/// containerd announces what delete tells; a second announcement would come before that of a later container.
async fn silent(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    task.announced(Topic::Start, NOTICE).await?;
    cleans_up(lab, &task).await?;
    let later = lab.run(Order::new(program::exits_with(0))).await?;
    later.wait().await?;
    later.announced(Topic::Exit, NOTICE).await?;
    let told: Vec<Topic> =
        task.topics().into_iter().filter(|topic| matches!(topic, Topic::Exit | Topic::Delete)).collect();
    if told.is_empty() {
        return Ok(());
    }
    Err(Stop::violated("delete announces what containerd announces", "no event", format!("{told:?}")))
}

/// containerd could not load the shim, though it lives: it executes delete and forgets both.
async fn beside_a_living_shim(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::ignores_signals())).await?;
    let init = task.state().await?.pid.and_then(process::identify);
    task.cleaned().await?;
    ended(init)
}

/// The same with a shim that hangs.
async fn beside_a_frozen_shim(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::ignores_signals())).await?;
    let init = task.state().await?.pid.and_then(process::identify);
    task.signal_shim(Signal::SIGSTOP)?;
    let cleaned = task.cleaned().await;
    task.signal_shim(Signal::SIGCONT)?;
    cleaned?;
    ended(init)
}

fn ended(init: Option<process::Identity>) -> Result<(), Stop> {
    if init.is_some_and(process::Identity::is_alive) {
        return Err(Stop::violated("init outlives delete", "no process", "a living one"));
    }
    Ok(())
}

/// containerd died while it laid the bundle out, and the next one cannot load what is there. Its status does not matter to containerd.
async fn half_a_bundle(lab: &Lab, half: Half) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let bundle = container.bundle();
    match half {
        Half::NoConfig => fs::remove_file(bundle.join("config.json"))?,
        Half::CutConfig => fs::write(bundle.join("config.json"), "{\"ociVersion\": \"1.")?,
        Half::Empty => {
            fs::remove_dir(bundle.join("rootfs"))?;
            for name in ["config.json", "log", "work"] {
                fs::remove_file(bundle.join(name))?;
            }
        }
    }
    let (ran, _) = container.execute_delete().await?;
    if ran.code.is_none() {
        return Err(Stop::violated("delete hangs on half a bundle", "its end within 5 s", "none"));
    }
    lab.left_nothing("delete of half a bundle", NOTICE, false).await?;
    container.forget().await
}

/// Two at the same time: both end, one at least well, and nothing is left.
async fn two_at_once(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    kill_shim(&task).await?;
    let (one, other) = (task.begin_delete().await?, task.begin_delete().await?);
    let (one, _) = task.delete_ended(one).await?;
    let (other, _) = task.delete_ended(other).await?;
    if one.code.is_none() || other.code.is_none() {
        let expected = "two ends within 5 s";
        return Err(Stop::violated("delete hangs beside another one", expected, "one stays"));
    }
    if one.code != Some(0) {
        succeeded(other.code, &other.stderr)?;
    }
    nothing_left(lab).await
}

/// start, and no Create.
async fn never_created(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    container.shutdown().await?;
    container.shim_gone(SHUTDOWN).await?;
    let (ran, _) = container.execute_delete().await?;
    succeeded(ran.code, &ran.stderr)
}

/// One of two goes, delete and all; the shim and the other one live on.
async fn spares_others(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(Order::new(program::sleeps()).id("pod").group("pod")).await?;
    let second = lab.run(Order::new(program::sleeps()).group("pod")).await?;
    second.end().await?;
    second.delete().await?;
    second.cleaned().await?;
    if !first.shim_is_alive()? {
        return Err(Stop::violated("delete ended the shim", "a living shim", "none"));
    }
    first.is(Status::Running).await?;
    first.end().await?;
    Ok(())
}

/// Kills the shim and expects that delete makes an end of everything.
async fn cleans_up(lab: &Lab, task: &Container<'_>) -> Result<Exit, Stop> {
    let init = task.state().await?.pid.and_then(process::identify);
    kill_shim(task).await?;
    let exit = task.cleaned().await?;
    if init.is_some_and(process::Identity::is_alive) {
        return Err(Stop::violated("init outlives delete", "no process", "a living one"));
    }
    nothing_left(lab).await?;
    Ok(exit)
}

async fn kill_shim(task: &Container<'_>) -> Result<(), Stop> {
    task.signal_shim(Signal::SIGKILL)?;
    task.shim_gone(NOTICE).await
}

async fn nothing_left(lab: &Lab) -> Result<(), Stop> {
    lab.left_nothing("delete", NOTICE, true).await
}

fn succeeded(code: Option<i32>, stderr: &str) -> Result<(), Stop> {
    if code == Some(0) {
        return Ok(());
    }
    let actual = format!("{code:?}: {}", stderr.trim());
    Err(Stop::violated("the delete action failed", "exit code 0", actual))
}
