//! Who may reach the shim, and what containers see of it.

use std::{fs, time::Duration};

use anyhow::Context as _;
use serde::Deserialize;

use crate::{
    check::{Body, Check, Stop},
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
}

/// Reads a report from `streams`.
async fn report(lab: &Lab, streams: &Streams) -> Result<Report, Stop> {
    let text =
        streams.stdout.until(lab, Duration::from_secs(5), "a line of report", |seen| seen.ends_with(b"\n")).await?;
    let mut report: Report = serde_json::from_slice(&text).context("decode the payload's report")?;
    if lab.lie() == Some(Lie::ContainerSees) {
        report.descriptors.push(("3".to_owned(), "a lie".to_owned()));
        report.env.push("TTRPC_ADDRESS=a lie".to_owned());
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
