//! Who may reach the shim, and what containers see of it.

use std::{fs, time::Duration};

use anyhow::Context as _;
use serde::Deserialize;

use crate::{
    check::{Body, Check, Need, Stop},
    contract::security,
    lab::{
        Lab, Order, program,
        stdio::{Streams, Wiring},
        world::Isolation,
    },
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "security/socket",
        clause: &security::SOCKET,
        needs: &[],
        notices: &[Lie::SocketOpen],
        body: Body::Example(|lab| Box::pin(socket(lab))),
    },
    Check {
        id: "security/no-abstract-sockets",
        clause: &security::NO_ABSTRACT,
        needs: &[],
        notices: &[Lie::AbstractSocket],
        body: Body::Example(|lab| Box::pin(no_abstract_sockets(lab))),
    },
    Check {
        id: "security/descriptors",
        clause: &security::DESCRIPTORS,
        needs: &[],
        notices: &[Lie::ContainerSees],
        body: Body::Example(|lab| Box::pin(descriptors(lab))),
    },
    Check {
        id: "security/environment",
        clause: &security::ENVIRONMENT,
        needs: &[],
        notices: &[Lie::ContainerSees],
        body: Body::Example(|lab| Box::pin(environment(lab))),
    },
    Check {
        id: "security/listener",
        clause: &security::LISTENER,
        needs: &[Need::RuntimeRules],
        notices: &[Lie::ListenerLeaks],
        body: Body::Example(|lab| Box::pin(listener(lab))),
    },
    Check {
        id: "security/oom-score",
        clause: &security::OOM_SCORE,
        needs: &[],
        notices: &[Lie::OomScore],
        body: Body::Example(|lab| Box::pin(oom_score(lab))),
    },
    Check {
        id: "security/container-oom-score",
        clause: &security::CONTAINER_OOM_SCORE,
        needs: &[],
        notices: &[Lie::ContainerSees],
        body: Body::Example(|lab| Box::pin(container_oom_score(lab))),
    },
];

/// The socket's permissions, or those of a directory above it.
async fn socket(lab: &Lab) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let socket = container.socket()?;
    let directory = socket.parent().context("the socket lies at the root")?;
    let (own, above) = (container.mode_of(&socket)?, container.mode_of(directory)?);
    // To connect takes the right to write to the socket and to search its directory.
    if own & 0o022 == 0 || above & 0o011 == 0 {
        return Ok(());
    }
    Err(Stop::violated(
        "others can reach the shim's socket",
        "no right for group and others to write to the socket or to search its directory",
        format!("socket {own:04o}, directory {above:04o}"),
    ))
}

/// The world has a network namespace of its own: every abstract socket in it is the shim's.
async fn no_abstract_sockets(lab: &Lab) -> Result<(), Stop> {
    if lab.job().isolation == Isolation::None {
        return Err(Stop::Skipped("without isolation nobody can tell whose sockets these are".to_owned()));
    }
    let task = lab.run(Order::new(program::sleeps())).await?;
    let pid = task.shim()?.pid;
    let path = format!("/proc/{pid}/net/unix");
    let table = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let mut names: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().nth(7)).collect();
    if lab.lie() == Some(Lie::AbstractSocket) {
        names.push("@a lie");
    }
    names.retain(|name| name.starts_with('@'));
    if names.is_empty() {
        return Ok(());
    }
    Err(Stop::violated("there are abstract sockets beside the shim", "sockets at paths alone", names.join(", ")))
}

/// What the payload tells of itself.
#[derive(Deserialize)]
struct Report {
    /// Number and target of each.
    descriptors: Vec<(String, String)>,
    /// `KEY=value`.
    env: Vec<String>,
    /// As /proc tells it.
    oom_score_adj: String,
}

/// Reads a report from `streams`.
async fn report(lab: &Lab, streams: &Streams) -> Result<Report, Stop> {
    let text =
        streams.stdout.until(lab, Duration::from_secs(5), "a line of report", |seen| seen.ends_with(b"\n")).await?;
    let mut report: Report = serde_json::from_slice(&text).context("decode the payload's report")?;
    if lab.lie() == Some(Lie::ContainerSees) {
        report.descriptors.push(("3".to_owned(), "a lie".to_owned()));
        report.env.push("TTRPC_ADDRESS=a lie".to_owned());
        "-1000".clone_into(&mut report.oom_score_adj);
    }
    Ok(report)
}

/// Init and an exec list their own descriptors.
async fn descriptors(lab: &Lab) -> Result<(), Stop> {
    let only_streams = |who: &str, report: &Report| {
        let beyond: Vec<_> =
            report.descriptors.iter().filter(|(number, _)| !matches!(number.as_str(), "0" | "1" | "2")).collect();
        if beyond.is_empty() {
            return Ok(());
        }
        Err(Stop::violated(
            format!("{who} has descriptors that are not its streams"),
            "0, 1 and 2",
            format!("{beyond:?} as well"),
        ))
    };
    let first = lab.run(Order::new(program::reports()).wired(Wiring::All)).await?;
    only_streams("init", &report(lab, first.streams()).await?)?;
    let second = lab.run(Order::new(program::sleeps())).await?;
    let exec = second.exec("e", &program::reports(), Wiring::All).await?;
    exec.start().await?;
    only_streams("an exec", &report(lab, exec.streams()).await?)
}

/// Init lists its environment. Runtimes may add what a login would set, and nothing else.
async fn environment(lab: &Lab) -> Result<(), Stop> {
    const OWN: &str = "CONFORMANCE=yes";
    const RUNTIMES_ADD: &[&str] = &["HOME", "PATH", "TERM", "PWD", "HOSTNAME", "container"];
    let order = Order::new(program::reports()).wired(Wiring::Output).env(OWN);
    let task = lab.run(order).await?;
    let seen = report(lab, task.streams()).await?.env;
    let foreign: Vec<_> = seen
        .iter()
        .filter(|variable| {
            let name = variable.split('=').next().unwrap_or_default();
            variable.as_str() != OWN && !RUNTIMES_ADD.contains(&name)
        })
        .collect();
    if foreign.is_empty() && seen.iter().any(|variable| variable == OWN) {
        return Ok(());
    }
    Err(Stop::violated("the environment in the container is not that of the spec", OWN, format!("{seen:?}")))
}

/// The runtime is held while it creates, and the kernel tells what it has open.
async fn listener(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let rules = lab.hold("create")?;
    let creating = lab.begin(task.create_request()?).await?;
    let runtime = rules.reached("create").await?;
    let holds = task.holds_listener(runtime);
    rules.open();
    drop(rules);
    creating.answer().await?.done("Create")?;
    if holds? {
        let actual = format!("process {} holds it", runtime.pid);
        return Err(Stop::violated(
            "the runtime inherits the socket that the shim serves on",
            "nobody but the shim",
            actual,
        ));
    }
    Ok(())
}

/// The kernel tells both figures.
async fn oom_score(lab: &Lab) -> Result<(), Stop> {
    /// The kernel's own limit.
    const HIGHEST: i32 = 1000;
    let task = lab.run(Order::new(program::sleeps())).await?;
    let path = "/proc/self/oom_score_adj";
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    // The fake containerd has the figure of whoever executed it.
    let containerd: i32 = text.trim().parse().with_context(|| format!("read a number from {path}"))?;
    let (expected, actual) = ((containerd + 1).min(HIGHEST), task.shim_oom_score_adj()?);
    if actual == expected {
        return Ok(());
    }
    Err(Stop::violated("the kernel would not end the shim before containerd", expected.to_string(), actual.to_string()))
}

/// What the spec says, not what the shim has.
async fn container_oom_score(lab: &Lab) -> Result<(), Stop> {
    let order = Order::new(program::reports()).wired(Wiring::Output).oom_score_adj(678);
    let task = lab.run(order).await?;
    let actual = report(lab, task.streams()).await?.oom_score_adj;
    if actual == "678" {
        return Ok(());
    }
    Err(Stop::violated("the container has another oom_score_adj than its spec says", "678", actual))
}
