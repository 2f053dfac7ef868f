//! Before checks run: can a world be made here, and which containerd does the shim speak to?
//!
//! Both questions are answered inside a world, so that nothing an unknown program does touches the host.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{process::Command, task::LocalSet};

use crate::{
    check::Stop,
    contract::Era,
    exit_code::Failure,
    history::Ran,
    lab::{
        Engine, ExitPolicy, Job, Lab, Order, Word, program,
        world::{self, Isolation},
    },
    profile::{self, Profile},
    runner::{self, Control, End},
    subject::{ProfileWish, Subject},
    tenancy,
    wire::{Bootstrap, Form, Unusable},
};

/// The job of a world that does nothing.
const WORLD: &str = "probe/world";
/// The job of a world in which `start` is executed once.
const START: &str = "probe/start";
/// The order in which containerds are tried: most shims of today speak to the first.
const TRIED: [Profile; 3] = [profile::V2_1, profile::V2_3, profile::V1_6];
/// How long a shim may take to tell its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);
/// How long the whole probe may take beside the deadline of `start`, milliseconds.
const LIMIT_MS: u64 = 30_000;

/// What one execution of `start` came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probed {
    /// The run, or why it cannot be executed.
    pub ran: Result<Ran, String>,
    /// What that containerd makes of the answer.
    pub answer: Result<Bootstrap, Unusable>,
    /// What the shim says to `-v`.
    pub version: Option<String>,
}

/// What is known of a shim before any check has run.
#[derive(Debug, Clone)]
pub struct Found {
    /// The containerd to play.
    pub profile: Profile,
    /// What the shim answers to it; nothing when that cannot be used.
    pub answer: Option<Answer>,
    /// What the shim says to `-v`.
    pub version: Option<String>,
}

/// How a shim answers `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The form.
    pub form: Form,
    /// The version of the Task service that it promises.
    pub task: u32,
}

impl Answer {
    /// Whether it is of this era.
    pub const fn is_of(self, era: Era) -> bool {
        match era {
            Era::BareAddress => matches!(self.form, Form::Bare),
            Era::Json => matches!(self.form, Form::Json),
            Era::Protobuf => matches!(self.form, Form::Protobuf),
            Era::TaskV2 => self.task == 2,
            Era::TaskV3 => self.task == 3,
        }
    }
}

/// Whether a world can be made, or why not.
///
/// # Errors
///
/// When the suite fails.
pub fn world(isolation: Isolation, control: &Control) -> Result<Result<(), String>> {
    let job = Job {
        check: WORLD.to_owned(),
        script: None,
        plan: None,
        lie: None,
        shim: "/".into(),
        engine: Engine::Ours,
        profile: profile::V2_1,
        exit_policy: ExitPolicy::OnShutdown,
        isolation,
        unique: tenancy::unique(),
        unprivileged: false,
        cgroups: false,
        timeout_scale: 1.0,
        limit_ms: LIMIT_MS,
        env: Vec::new(),
        debug: false,
        visit: None,
    };
    let said = runner::world(&job, crate::entry::PROBE, control)?;
    Ok(match (said.words.last(), said.end) {
        (Some(Word::Ready), _) => Ok(()),
        (_, End::Interrupted) => Err("interrupted".to_owned()),
        (_, End::Limit) => Err(format!("it was not made within {LIMIT_MS} ms")),
        (_, End::Itself) => Err(said.complaint.trim().to_owned()),
    })
}

/// Finds out which containerd to play for this shim.
///
/// # Errors
///
/// When `start` succeeds under none: then it is no shim, or cannot work here; and when the shim speaks gRPC.
pub fn shim(subject: &Subject, wish: ProfileWish, control: &Control) -> Result<Found, Failure> {
    let profiles = match &wish {
        ProfileWish::Auto => &TRIED[..],
        ProfileWish::Exactly(profile) => std::slice::from_ref(profile),
    };
    let mut attempts = Vec::new();
    for &profile in profiles {
        let probed = start(&Subject { profile, ..subject.clone() }, control)?;
        if let Err(grpc @ Unusable::Grpc(_)) = &probed.answer {
            return Err(Failure::Undecided(format!("shim {}: not decided: {grpc}", subject.shim.display())));
        }
        let answer = probed.answer.as_ref().ok();
        let answer = answer.map(|bootstrap| Answer { form: bootstrap.form, task: bootstrap.version });
        // Whoever names a containerd wants its checks to judge what comes of it.
        if answer.is_some() || matches!(wish, ProfileWish::Exactly(_)) {
            return Ok(Found { profile, answer, version: probed.version });
        }
        attempts.push(format!("{profile}: {}", describe(&probed)));
        // Neither is a matter of generations, and a hang takes long.
        if probed.ran.as_ref().map_or(true, |ran| ran.code.is_none()) {
            break;
        }
    }
    Err(Failure::Usage(format!(
        "shim {}: `start` gives containerd no address, so this is no shim, or it cannot work here\n  {}\n  \
         name the containerd to play with --profile to run the checks all the same",
        subject.shim.display(),
        attempts.join("\n  ")
    )))
}

fn describe(probed: &Probed) -> String {
    let Probed { ran, answer, .. } = probed;
    let ran = match ran {
        Ok(ran) => ran,
        Err(reason) => return format!("cannot be executed: {reason}"),
    };
    let said = match ran.stderr.trim() {
        "" => String::new(),
        text => format!(", stderr: {}", text.lines().last().unwrap_or_default()),
    };
    match (ran.code, answer) {
        (None, _) => format!("it did not end in time{said}"),
        (Some(0), Err(reason)) => format!("rc 0, but {reason}{said}"),
        (Some(code), _) => format!("rc {code}{said}"),
    }
}

fn start(subject: &Subject, control: &Control) -> Result<Probed, Failure> {
    let job = subject.job(START, None, None, tenancy::unique());
    let mut said = runner::world(&job, crate::entry::PROBE, control)?;
    if let (Some(signal), End::Interrupted) = (control.signal(), said.end) {
        return Err(Failure::Signalled(signal));
    }
    match said.words.pop() {
        Some(Word::Probed(probed)) => Ok(*probed),
        _ => Err(Failure::Suite(anyhow::anyhow!(
            "the probe of {} ended without a word: {}",
            subject.shim.display(),
            said.complaint.trim()
        ))),
    }
}

/// Inside the world.
///
/// # Errors
///
/// When there is nothing to tell; the suite's fault.
pub fn main(job: Job) -> Result<()> {
    match job.check.as_str() {
        WORLD => world::tell(&Word::Ready),
        START => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
            let probed = LocalSet::new().block_on(&runtime, execute_start(job))?;
            world::tell(&Word::Probed(Box::new(probed)))
        }
        other => bail!("there is no probe {other}"),
    }
}

async fn execute_start(job: Job) -> Result<Probed> {
    let version = match version(&job).await {
        Ok(version) => version,
        Err(e) => {
            return Ok(Probed {
                ran: Err(e.to_string()),
                answer: Err(Unusable::No("it was never executed".to_owned())),
                version: None,
            });
        }
    };
    let lab = Lab::open(job).await?;
    let probed = async {
        let container = lab.bundle(Order::new(program::sleeps())).await?;
        container.execute_start().await
    };
    match probed.await {
        Ok((ran, answer)) => Ok(Probed { ran: Ok(ran), answer, version }),
        Err(Stop::Error(reason) | Stop::Inconclusive(reason) | Stop::Skipped(reason) | Stop::NotApplicable(reason)) => {
            bail!(reason)
        }
        Err(Stop::Violated(violation)) => bail!("{violation}"),
    }
}

/// What the shim says to `-v`, as those made with containerd's library do: its version, or the first line of anything else.
///
/// An error means that it cannot be executed at all.
async fn version(job: &Job) -> std::io::Result<Option<String>> {
    let child = Command::new(&job.shim)
        .arg("-v")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let deadline = VERSION_DEADLINE.mul_f64(job.timeout_scale);
    // A shim need not have a version, nor end when it is asked for one.
    let Ok(Ok(output)) = tokio::time::timeout(deadline, child.wait_with_output()).await else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success().then(|| read_version(&text)).flatten())
}

fn read_version(text: &str) -> Option<String> {
    let named = text.lines().find_map(|line| line.trim().strip_prefix("Version:").map(str::trim));
    named.or_else(|| text.lines().map(str::trim).next()).filter(|version| !version.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::of_containerd("shim:\n  Version:  1.6.20\n  Revision: abc\n", Some("1.6.20"))]
    #[case::of_others("shim 0.2.0\n", Some("shim 0.2.0"))]
    #[case::silent("", None)]
    fn versions_are_found(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(read_version(text).as_deref(), expected);
    }
}
