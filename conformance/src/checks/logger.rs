//! Programs that take a container's output: `binary://`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use super::stdio::create_wired;
use crate::{
    check::{Body, Check, Stop},
    contract::{runtime, security, stdio},
    history::{Answer, Method},
    lab::{
        Container, Lab, NOTICE, Order, deadline,
        message::Stdio,
        process::{Identity, identify, processes},
        program,
    },
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "stdio/logger",
        clause: &stdio::LOGGER,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(logger(lab))),
    },
    Check {
        id: "stdio/logger-environment",
        clause: &stdio::LOGGER_ENVIRONMENT,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(environment(lab))),
    },
    Check {
        id: "security/logger-secrets",
        clause: &security::LOGGER_SECRETS,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::ContainerSees],
        body: Body::Example(|lab| Box::pin(secrets(lab))),
    },
    Check {
        id: "stdio/logger-is-waited-for",
        clause: &stdio::LOGGER_READY,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(is_waited_for(lab))),
    },
    Check {
        id: "runtime/slow-logger-holds-up-nobody",
        clause: &runtime::NEIGHBOURS_ANSWER,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::Unanswered(Method::State)],
        body: Body::Example(|lab| Box::pin(holds_up_nobody(lab))),
    },
    Check {
        id: "stdio/logger-dead",
        clause: &stdio::LOGGER_DEAD,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::Unanswered(Method::Create)],
        body: Body::Example(|lab| Box::pin(dead(lab))),
    },
    Check {
        id: "stdio/logger-stops",
        clause: &stdio::LOGGER_STOPS,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::LeftProcess],
        body: Body::Example(|lab| Box::pin(stops(lab))),
    },
];

/// How long a logger and its files may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What containerd-shim-runc-v2 gives a logger before it uses force, and a little.
const FORCE: Duration = Duration::from_secs(15);

/// The payload as a logger of this manner.
struct Logger<'l> {
    lab: &'l Lab,
    manner: &'static str,
    to: PathBuf,
}

impl<'l> Logger<'l> {
    fn new(lab: &'l Lab, manner: &'static str) -> Self {
        Self { lab, manner, to: lab.places().base.join("logged") }
    }

    fn stdio(&self) -> Stdio {
        let uri = format!("binary://{}?{}={}", self.lab.places().payload.display(), self.manner, self.to.display());
        Stdio { stdout: uri.clone(), stderr: uri, ..Stdio::default() }
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.to.with_extension(ending)
    }

    /// Waits until it has written the file of this ending.
    async fn wrote(&self, ending: &str) -> Result<(), Stop> {
        let path = self.file(ending);
        let found = deadline::until(self.lab.scaled(PATIENCE), || path.exists().then_some(())).await;
        found.ok_or_else(|| {
            Stop::violated(
                "the logger does not get to its end",
                format!("{} written", path.display()),
                "it is not there",
            )
        })
    }

    /// Waits until it runs. A shim that never executes it and hangs is ended, so that it holds up nothing else.
    async fn begun(&self, task: &Container<'_>) -> Result<(), Stop> {
        let begun = self.wrote("begun").await;
        if begun.is_err() {
            task.signal_shim(Signal::SIGKILL)?;
        }
        begun
    }

    fn text(&self, ending: &str) -> Result<String, Stop> {
        let path = self.file(ending);
        let mut bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        if let Some(lie) = self.lab.lie() {
            lie.output(&mut bytes);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its process, while it runs.
    fn process(&self) -> Option<Identity> {
        let found = processes().ok()?.into_iter().find(|stat| {
            let line =
                procfs::process::Process::new(stat.pid).and_then(|process| process.cmdline()).unwrap_or_default();
            line.iter().any(|word| word == self.manner)
        });
        identify(u32::try_from(found?.pid).ok()?)
    }

    /// A container whose output it takes has lived and been deleted.
    async fn has_seen_a_life(&self) -> Result<Container<'l>, Stop> {
        let task = self.lab.serve(Order::new(program::says("to stdout", "to stderr", 0))).await?;
        create_wired(self.lab, &task, &self.stdio()).await?.done("Create with a logger")?;
        task.start().await?;
        task.wait().await?.reports(0)?;
        task.delete().await?;
        self.wrote("end").await?;
        Ok(task)
    }
}

/// Both streams arrive, apart.
async fn logger(lab: &Lab) -> Result<(), Stop> {
    let logger = Logger::new(lab, "log");
    logger.has_seen_a_life().await?;
    for (ending, expected) in [("out", "to stdout"), ("err", "to stderr")] {
        let actual = logger.text(ending)?;
        if actual != expected {
            return Err(Stop::violated("the logger got something else", expected, actual));
        }
    }
    Ok(())
}

/// It is told whose output it gets.
async fn environment(lab: &Lab) -> Result<(), Stop> {
    let logger = Logger::new(lab, "log");
    let task = logger.has_seen_a_life().await?;
    let text = logger.text("env")?;
    let namespace = &lab.setup().namespace;
    for variable in [format!("CONTAINER_ID={}", task.id()), format!("CONTAINER_NAMESPACE={namespace}")] {
        // Whole lines: a cut end is no end.
        if !text.split_inclusive('\n').any(|line| line.strip_suffix('\n') == Some(&variable)) {
            return Err(Stop::violated("the logger's environment lacks a variable", variable, text));
        }
    }
    Ok(())
}

/// And nothing else.
async fn secrets(lab: &Lab) -> Result<(), Stop> {
    let logger = Logger::new(lab, "log");
    logger.has_seen_a_life().await?;
    let mut text = logger.text("env")?;
    if lab.lie() == Some(Lie::ContainerSees) {
        text.push_str("TTRPC_ADDRESS=a lie\n");
    }
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let foreign: Vec<String> = text
        .lines()
        .map(name)
        .filter(|name| !matches!(name.as_str(), "CONTAINER_ID" | "CONTAINER_NAMESPACE"))
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let expected = "CONTAINER_ID and CONTAINER_NAMESPACE alone";
    Err(Stop::violated("the logger's environment holds what is not its business", expected, foreign.join(", ")))
}

/// Create ends when the logger says so, and not before.
async fn is_waited_for(lab: &Lab) -> Result<(), Stop> {
    let logger = Logger::new(lab, "log");
    let file = fs::File::create(&logger.to).context("make the logger's gate")?;
    file.lock().context("close the logger's gate")?;
    let task = lab.serve(Order::new(program::says("to stdout", "to stderr", 0))).await?;
    let creating = lab.begin(task.create_request_wired(&logger.stdio())?).await?.answer();
    tokio::pin!(creating);
    // Refused or answered at once, or the logger has begun and Create waits for it.
    let early = tokio::select! {
        answer = &mut creating => Some(answer?),
        begun = logger.begun(&task) => begun.map(|()| None)?,
    };
    // Who does not wait answers as soon as the runtime is done.
    let early = match early {
        None => tokio::time::timeout(lab.scaled(NOTICE), &mut creating).await.ok().transpose()?,
        early => early,
    };
    file.unlock().context("open the logger's gate")?;
    if let Some(answer) = early {
        answer.done("Create with a logger")?;
        return Err(Stop::violated("Create did not wait for the logger", "an answer when it is ready", "one before"));
    }
    creating.await?.done("Create with a logger")?;
    task.start().await?;
    task.wait().await?.reports(0)?;
    task.delete().await?;
    logger.wrote("end").await?;
    let actual = logger.text("out")?;
    if actual == "to stdout" {
        return Ok(());
    }
    Err(Stop::violated("the logger got something else", "to stdout", actual))
}

/// While a logger takes its time, the shim answers others.
async fn holds_up_nobody(lab: &Lab) -> Result<(), Stop> {
    let logger = Logger::new(lab, "log");
    let file = fs::File::create(&logger.to).context("make the logger's gate")?;
    file.lock().context("close the logger's gate")?;
    let neighbour = lab.run(Order::new(program::sleeps()).id("neighbour").group("neighbour")).await?;
    let task = lab.serve(Order::new(program::exits_with(0)).group("neighbour")).await?;
    let creating = lab.begin(task.create_request_wired(&logger.stdio())?).await?.answer();
    tokio::pin!(creating);
    let early = tokio::select! {
        answer = &mut creating => Some(answer?),
        begun = logger.begun(&task) => begun.map(|()| None)?,
    };
    if let Some(answer) = early {
        return answer.done("Create with a logger").map(drop);
    }
    let state = neighbour.begin(Method::State).await?;
    let answered = state.answer_within(lab.scaled(Duration::from_secs(2)), "another container's logger is slow").await;
    file.unlock().context("open the logger's gate")?;
    creating.await?.done("Create with a logger")?;
    answered?.done("State").map(drop)
}

/// A logger that ends at once: by the scheme `binary` nobody can tell it from one that is ready. Create is answered, and the id is good
/// for nothing or for a whole life.
async fn dead(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::exits_with(3))).await?;
    match create_wired(lab, &task, &Logger::new(lab, "log-dead").stdio()).await? {
        Answer::Done(_) => {
            task.start().await?;
            task.wait().await?.reports(3)?;
            task.delete().await.map(drop)
        }
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => {
            answer.declined("Create with a logger that ends at once")
        }
    }
}

/// A logger that outlives its input is ended when its container has been deleted.
async fn stops(lab: &Lab) -> Result<(), Stop> {
    let logger = Logger::new(lab, "log-lingering");
    let task = lab.serve(Order::new(program::sleeps())).await?;
    let answer = create_wired(lab, &task, &logger.stdio()).await?;
    if matches!(answer, Answer::Refused { .. } | Answer::Lost(_)) {
        return answer.done("Create with a logger").map(drop);
    }
    task.start().await?;
    let process = logger.process().context("no logger runs")?;
    task.end().await?;
    task.delete().await?.reports(137)?;
    if process.gone(lab.scaled(FORCE)).await? && lab.lie() != Some(Lie::LeftProcess) {
        return Ok(());
    }
    Err(Stop::violated("the logger of a deleted container runs on", "its end", format!("process {}", process.pid)))
}
