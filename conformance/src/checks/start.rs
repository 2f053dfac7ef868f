//! `start`, `-v` and `-info`.

use containerd_shim_protos::{protobuf::Message as _, types::introspection::RuntimeInfo};

use crate::{
    check::{Body, Check, Stop},
    contract::start,
    history::{Method, Status},
    lab::{Container, Lab, NOTICE, Order, SHUTDOWN, program},
    lie::Lie,
    wire::{Input, Twist},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "start/answers",
        clause: &start::START_ANSWERS,
        needs: &[],
        notices: &[Lie::StartFails, Lie::StartHangs, Lie::StartChatters, Lie::StartHeldOpen],
        body: Body::Example(|lab| Box::pin(answers(lab))),
    },
    Check {
        id: "start/daemon",
        clause: &start::START_DAEMON,
        needs: &[],
        notices: &[Lie::ShimPid, Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(daemon(lab))),
    },
    Check {
        id: "start/own-group",
        clause: &start::OWN_GROUP,
        needs: &[],
        notices: &[Lie::ShimGroup],
        body: Body::Example(|lab| Box::pin(own_group(lab))),
    },
    Check {
        id: "start/serves-at-once",
        clause: &start::SERVES_AT_ONCE,
        needs: &[],
        notices: &[Lie::Broken(Method::Connect), Lie::Unanswered(Method::Connect), Lie::Refused(Method::Connect)],
        body: Body::Example(|lab| Box::pin(serves_at_once(lab))),
    },
    Check {
        id: "start/without-options",
        clause: &start::WITHOUT_OPTIONS,
        needs: &[],
        notices: &[Lie::StartFails, Lie::Refused(Method::Create)],
        body: Body::Example(|lab| Box::pin(without_options(lab))),
    },
    Check {
        id: "start/garbage-on-stdin",
        clause: &start::ANY_INPUT,
        needs: &[],
        notices: &[Lie::StartHangs, Lie::LeftProcess],
        body: Body::Example(|lab| Box::pin(garbage_on_stdin(lab))),
    },
    Check {
        id: "start/longest-id",
        clause: &start::ANY_ID,
        needs: &[],
        notices: &[Lie::StartFails, Lie::Refused(Method::Create), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(longest_id(lab))),
    },
    Check {
        id: "start/no-config",
        clause: &start::FAILS_CLEANLY,
        needs: &[],
        notices: &[Lie::StartHangs, Lie::LeftProcess, Lie::LeftSocket],
        body: Body::Example(|lab| Box::pin(no_config(lab))),
    },
    Check {
        id: "start/twice",
        clause: &start::SAME_SHIM,
        needs: &[],
        notices: &[Lie::AddressChanges, Lie::StartFails],
        body: Body::Example(|lab| Box::pin(twice(lab))),
    },
    Check {
        id: "start/after-sigkill",
        clause: &start::STALE_SOCKET,
        needs: &[],
        notices: &[Lie::StartFails, Lie::ShimPid, Lie::Refused(Method::Create)],
        body: Body::Example(|lab| Box::pin(after_sigkill(lab))),
    },
    Check {
        id: "start/group-joins",
        clause: &start::GROUP,
        needs: &[],
        notices: &[Lie::AddressChanges, Lie::Refused(Method::Create), Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(group_joins(lab))),
    },
    Check {
        id: "start/group-outlives-first",
        clause: &start::GROUP,
        needs: &[],
        notices: &[Lie::AddressChanges, Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(group_outlives_first(lab))),
    },
    Check {
        id: "start/group-at-once",
        clause: &start::GROUP,
        needs: &[],
        notices: &[Lie::AddressChanges, Lie::StartFails],
        body: Body::Example(|lab| Box::pin(group_at_once(lab))),
    },
    Check {
        id: "start/version",
        clause: &start::VERSION,
        needs: &[],
        notices: &[Lie::PrintFails, Lie::PrintsNothing],
        body: Body::Example(|lab| Box::pin(version(lab))),
    },
    Check {
        id: "start/info",
        clause: &start::INFO,
        needs: &[],
        notices: &[Lie::PrintsNothing],
        body: Body::Example(|lab| Box::pin(info(lab))),
    },
];

/// start exits with 0, says nothing beside its answer, and nobody holds its output open.
async fn answers(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let (ran, answer) = container.execute_start().await?;
    if ran.code != Some(0) {
        let actual = format!("{:?}, {:?}", ran.code, ran.stderr);
        return Err(Stop::violated("start failed", "exit code 0", actual));
    }
    if ran.held_open {
        let expected = "its end when start ends";
        return Err(Stop::violated("the output of start stays open", expected, "somebody holds it"));
    }
    if !ran.stderr.is_empty() {
        return Err(Stop::violated(
            "start writes to standard error",
            "nothing, because containerd takes it for a part of the answer",
            format!("{:?}", ran.stderr),
        ));
    }
    container.adopt(&ran, answer).await?;
    let address = container.bootstrap()?.address;
    if address.contains(char::is_whitespace) {
        return Err(Stop::violated("start prints more than its answer", "one address", format!("{:?}", ran.stdout)));
    }
    Ok(())
}

/// The shim is not start, has left its family, and lives on.
async fn daemon(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let (ran, answer) = container.execute_start().await?;
    container.adopt(&ran, answer).await?;
    let shim = container.shim()?;
    if shim.pid == ran.pid {
        return Err(Stop::violated("start itself serves", "another process", format!("process {}", shim.pid)));
    }
    // The world's reaper: whatever lost its parent comes to it.
    let reaper = nix::unistd::getppid().as_raw().unsigned_abs();
    let parent = shim.parent()?;
    if parent != reaper {
        return Err(Stop::violated(
            "the shim is a child of somebody who may die",
            format!("the reaper, {reaper}, as its parent"),
            parent.to_string(),
        ));
    }
    alive(&container)
}

/// The shim is in another process group than start was.
async fn own_group(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    let (ran, answer) = container.execute_start().await?;
    container.adopt(&ran, answer).await?;
    if container.shim_shares_group(&ran)? {
        return Err(Stop::violated(
            "the shim is in the process group of start",
            "a group of its own",
            ran.pid.to_string(),
        ));
    }
    Ok(())
}

/// The address takes a connection without delay, and a call is answered.
async fn serves_at_once(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    container.call(Method::Connect).await?.done("Connect")?;
    Ok(())
}

/// A shim that was started without runtime options runs a container.
async fn without_options(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::exits_with(0))).await?;
    let given = container.begin_start_with(&[], Twist::default()).await?;
    let (ran, answer) = container.start_ended(given).await?;
    container.adopt(&ran, answer).await?;
    container.create().await?;
    container.start().await?;
    container.wait().await?.reports(0)?;
    Ok(())
}

/// Neither Any nor `BootstrapParams`: start ends, and either serves or leaves nothing.
async fn garbage_on_stdin(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps())).await?;
    // Field 31 with the wire type 7, which protobuf does not have.
    let (ran, answer) = container.execute_start_twisted(Twist::fed(Input::Bytes(b"\xff\x01garbage".to_vec()))).await?;
    match ran.code {
        Some(0) => container.adopt(&ran, answer).await,
        Some(_) => lab.left_nothing("a failed start", NOTICE, false).await,
        None => Err(hangs("garbage on its standard input")),
    }
}

/// An id of 76 characters, with every separator, lives a whole life.
async fn longest_id(lab: &Lab) -> Result<(), Stop> {
    let id = "a-b_c.".repeat(12) + "0123";
    let task = lab.run(Order::new(program::exits_with(3)).id(&id)).await?;
    task.wait().await?.reports(3)?;
    task.remove().await
}

/// Without config.json start fails, or the shim goes when it is told to; nothing is left of it.
async fn no_config(lab: &Lab) -> Result<(), Stop> {
    let container = lab.bundle(Order::new(program::sleeps()).without_config()).await?;
    let (ran, answer) = container.execute_start().await?;
    match ran.code {
        // Sandboxes of containerd 2.3 have none, so a shim may do without.
        Some(0) => {
            container.adopt(&ran, answer).await?;
            container.shutdown().await?;
            container.shim_gone(SHUTDOWN).await?;
            lab.left_nothing("a start without config.json and Shutdown", NOTICE, false).await
        }
        Some(_) => lab.left_nothing("a failed start", NOTICE, false).await,
        None => Err(hangs("a bundle without config.json")),
    }
}

/// The second start of the same id finds the shim of the first.
async fn twice(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let (address, shim) = (container.bootstrap()?.address, container.shim()?);
    container.start_shim().await?;
    same_address(&address, &container)?;
    if container.shim()? != shim {
        return Err(second_shim(shim.pid, &container));
    }
    Ok(())
}

/// A shim is killed; the next one starts where its socket still lies, and runs a container.
async fn after_sigkill(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::exits_with(0))).await?;
    let dead = container.shim()?;
    container.signal_shim(nix::sys::signal::Signal::SIGKILL)?;
    container.shim_gone(NOTICE).await?;
    container.start_shim().await?;
    if container.shim()?.pid == dead.pid {
        return Err(Stop::violated("start names the shim that was killed", "a new process", dead.pid.to_string()));
    }
    container.create().await?;
    container.start().await?;
    container.wait().await?.reports(0)?;
    Ok(())
}

/// Two containers of a group share a shim, and each is served.
async fn group_joins(lab: &Lab) -> Result<(), Stop> {
    let first = lab.run(sandbox()).await?;
    let second = lab.run(member()).await?;
    shared(&first, &second)?;
    first.is(Status::Running).await?;
    second.is(Status::Running).await?;
    Ok(())
}

/// A third container joins after the first one of the group is gone, bundle and all.
async fn group_outlives_first(lab: &Lab) -> Result<(), Stop> {
    let first = lab.create(sandbox()).await?;
    let second = lab.create(member()).await?;
    shared(&first, &second)?;
    first.delete().await?;
    first.shutdown().await?;
    first.cleaned().await?;
    first.forget().await?;
    let third = lab.create(member()).await?;
    shared(&second, &third)?;
    alive(&third)
}

/// Eight starts of a group at the same time come to one shim.
async fn group_at_once(lab: &Lab) -> Result<(), Stop> {
    let mut starting = Vec::new();
    for order in std::iter::once(sandbox()).chain((1..8).map(|_| member())) {
        let container = lab.bundle(order).await?;
        let given = container.begin_start(Twist::default()).await?;
        starting.push((container, given));
    }
    let mut members: Vec<Container<'_>> = Vec::new();
    for (container, given) in starting {
        let (ran, answer) = container.start_ended(given).await?;
        container.adopt(&ran, answer).await?;
        if let Some(first) = members.first() {
            shared(first, &container)?;
        }
        members.push(container);
    }
    Ok(())
}

/// `-v` prints something and succeeds.
async fn version(lab: &Lab) -> Result<(), Stop> {
    let (ran, stdout) = lab.execute_print(&["-v"], &[]).await?;
    if ran.code != Some(0) {
        let actual = format!("{:?}, {:?}", ran.code, ran.stderr);
        return Err(Stop::violated("-v failed", "exit code 0", actual));
    }
    if stdout.is_empty() {
        return Err(Stop::violated("-v prints nothing", "a version", "nothing"));
    }
    Ok(())
}

/// `-info` prints a message that names the runtime; a shim older than the flag refuses it.
async fn info(lab: &Lab) -> Result<(), Stop> {
    info_fed(lab, &[]).await
}

/// The same with these options on standard input.
pub(super) async fn info_fed(lab: &Lab, options: &[u8]) -> Result<(), Stop> {
    let (ran, stdout) = lab.execute_print(&["-info"], options).await?;
    match ran.code {
        Some(0) => {}
        // containerd goes on without.
        Some(_) => return Err(Stop::Skipped("the shim does not know -info".to_owned())),
        None => return Err(Stop::violated("-info does not end", "its end within 5 s", "none")),
    }
    let actual = match RuntimeInfo::parse_from_bytes(&stdout) {
        Ok(info) if info.name.starts_with("type.googleapis.com/") || info.name.starts_with("types.containerd.io/") => {
            format!("an Any around it, of type {}", info.name)
        }
        Ok(info) if info.name.is_empty() => "a message without a name".to_owned(),
        Ok(_) => return Ok(()),
        Err(e) => e.to_string(),
    };
    Err(Stop::violated("containerd cannot read the answer to -info", "a RuntimeInfo message with a name", actual))
}

/// The container after which its group is named, as with Kubernetes.
fn sandbox() -> Order {
    member().id("pod")
}

/// Another container of the same group.
fn member() -> Order {
    Order::new(program::sleeps()).group("pod")
}

fn alive(container: &Container<'_>) -> Result<(), Stop> {
    if container.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim has gone", "a living shim", "none"))
}

fn hangs(input: &str) -> Stop {
    Stop::violated(format!("start hangs on {input}"), "its end within 20 s", "none")
}

fn second_shim(first: u32, container: &Container<'_>) -> Stop {
    let actual = container.shim().map_or(0, |shim| shim.pid).to_string();
    Stop::violated("another start brought a second shim", first.to_string(), actual)
}

fn same_address(expected: &str, container: &Container<'_>) -> Result<(), Stop> {
    let address = container.bootstrap()?.address;
    if address == expected {
        return Ok(());
    }
    Err(Stop::violated("another start answers with another address", expected, address))
}

/// Expects one shim behind both.
fn shared(first: &Container<'_>, second: &Container<'_>) -> Result<(), Stop> {
    same_address(&first.bootstrap()?.address, second)?;
    if first.shim()? == second.shim()? {
        return Ok(());
    }
    Err(second_shim(first.shim()?.pid, second))
}
