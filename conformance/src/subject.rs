//! What is tested, and how: a shim, the OCI runtime it is told to use, and the containerd that is played.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context as _;
use nix::unistd::{AccessFlags, access};

use crate::{
    contract::Clause,
    exit_code::Failure,
    host::{self, Host},
    lab::{Engine, ExitPolicy, Job, world::Isolation},
    lie::Lie,
    overlap,
    probe::{self, Answer},
    profile::{self, Profile},
    runner::Control,
    script::Script,
};

/// How long a check may take before it is ended, milliseconds.
const LIMIT_MS: u32 = 60_000;

/// Which OCI runtime was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineWish {
    /// runc when it is installed, else ours.
    Auto,
    /// The suite's own.
    Ours,
    /// Whatever the shim chooses.
    Shim,
    /// The program of this name.
    Named(String),
    /// The program at this path.
    At(PathBuf),
}

impl FromStr for EngineWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("empty".to_owned()),
            "auto" => Ok(Self::Auto),
            "ours" => Ok(Self::Ours),
            "shim" => Ok(Self::Shim),
            path if path.contains('/') => Ok(Self::At(path.into())),
            name => Ok(Self::Named(name.to_owned())),
        }
    }
}

/// Which containerd was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileWish {
    /// The one under which the shim's `start` succeeds.
    Auto,
    /// This one.
    Exactly(Profile),
}

/// What somebody wants tested.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The shim binary.
    pub shim: PathBuf,
    /// The OCI runtime.
    pub engine: EngineWish,
    /// The containerd to play.
    pub profile: ProfileWish,
    /// When the shim is expected to leave.
    pub exit_policy: ExitPolicy,
    /// How worlds are kept apart.
    pub isolation: Isolation,
    /// Factor on all deadlines.
    pub timeout_scale: f64,
    /// Whether the shim gets `-debug`.
    pub debug: bool,
}

impl Wish {
    /// The shim at `shim`, and otherwise what is usual.
    pub fn new(shim: impl Into<PathBuf>) -> Self {
        Self {
            shim: shim.into(),
            engine: EngineWish::Auto,
            profile: ProfileWish::Auto,
            exit_policy: ExitPolicy::OnShutdown,
            isolation: Isolation::Full,
            timeout_scale: 1.0,
            debug: false,
        }
    }
}

/// A wish that can be fulfilled on this host.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The shim binary, an absolute path.
    pub shim: PathBuf,
    /// What it says to `-v`, when it says something.
    pub version: Option<String>,
    /// The OCI runtime.
    pub engine: Engine,
    /// The containerd that is played.
    pub profile: Profile,
    /// Whether that one was found by what the shim answers.
    pub is_profile_found: bool,
    /// What the shim answers to that one; nothing when it cannot be used.
    pub answer: Option<Answer>,
    /// When the shim is expected to leave.
    pub exit_policy: ExitPolicy,
    /// How worlds are kept apart.
    pub isolation: Isolation,
    /// Factor on all deadlines.
    pub timeout_scale: f64,
    /// Whether the shim gets `-debug`.
    pub debug: bool,
    /// Whether worlds belong to an ordinary user.
    pub unprivileged: bool,
    /// Whether worlds may make cgroups.
    pub cgroups: bool,
}

impl Subject {
    /// Looks at the shim, the engine and the host, and finds out which containerd the shim speaks to.
    ///
    /// # Errors
    ///
    /// What is wrong with the wish or with the host.
    pub fn resolve(wish: &Wish, control: &Control) -> Result<Self, Failure> {
        let shim = program("shim", &wish.shim, wish.isolation)?;
        if wish.isolation == Isolation::None {
            own_place(&std::env::temp_dir())?;
        }
        let engine = engine(&wish.engine, wish.isolation)?;
        own_executable(wish.isolation)?;
        let host = Host::examine(wish.isolation, control)?;
        if let Some(signal) = control.signal() {
            return Err(Failure::Signalled(signal));
        }
        if let Err(reason) = &host.worlds {
            return Err(Failure::Host(format!(
                "no world can be made on this host: {reason}\n  `conformance doctor` tells what is missing"
            )));
        }
        let mut subject = Self {
            shim,
            engine,
            exit_policy: wish.exit_policy,
            isolation: wish.isolation,
            timeout_scale: wish.timeout_scale,
            debug: wish.debug,
            ..Self::nobody(&host)
        };
        let found = probe::shim(&subject, wish.profile, control)?;
        subject.profile = found.profile;
        subject.is_profile_found = wish.profile == ProfileWish::Auto;
        subject.answer = found.answer;
        subject.version = found.version;
        Ok(subject)
    }

    /// What jobs on this host are like, before anybody is tested.
    pub fn nobody(host: &Host) -> Self {
        Self {
            shim: PathBuf::from("/"),
            version: None,
            engine: Engine::Ours,
            profile: profile::V2_1,
            is_profile_found: false,
            answer: None,
            exit_policy: ExitPolicy::OnShutdown,
            isolation: Isolation::Full,
            timeout_scale: 1.0,
            debug: false,
            unprivileged: !host.root,
            cgroups: host.cgroups.is_ok(),
        }
    }

    /// The short name of the engine, which expectations speak of.
    pub fn engine_name(&self) -> String {
        match &self.engine {
            Engine::Ours => "ours".to_owned(),
            Engine::ShimDefault => "shim".to_owned(),
            Engine::Path(path) => file_name(path),
        }
    }

    /// How to ask for this engine again.
    pub fn engine_argument(&self) -> String {
        match &self.engine {
            Engine::Ours | Engine::ShimDefault => self.engine_name(),
            Engine::Path(path) => path.display().to_string(),
        }
    }

    /// How to ask again for what is not usual.
    pub fn unusual_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.exit_policy == ExitPolicy::OnInitExit {
            arguments.extend(["--exit-policy".to_owned(), "on-init-exit".to_owned()]);
        }
        if self.isolation == Isolation::None {
            arguments.extend(["--isolation".to_owned(), "none".to_owned()]);
        }
        if (self.timeout_scale - 1.0).abs() > f64::EPSILON {
            arguments.extend(["--timeout-scale".to_owned(), self.timeout_scale.to_string()]);
        }
        if self.debug {
            arguments.push("--debug-shim".to_owned());
        }
        arguments
    }

    /// The file name of the shim.
    pub fn name(&self) -> String {
        file_name(&self.shim)
    }

    /// Why nobody asks this shim for `clause`; `None` when somebody does.
    pub fn excuse(&self, clause: &Clause) -> Option<String> {
        if !clause.is_asked_by(self.profile.release) {
            return Some(format!("containerd {} asks for it, {} does not", clause.releases(), self.profile));
        }
        let (era, answer) = clause.era.zip(self.answer)?;
        (!answer.is_of(era)).then(|| format!("it is asked of shims of the era {era}, which this one is not"))
    }

    /// The job of one world.
    pub fn job(&self, check: &str, script: Option<Script>, lie: Option<Lie>, unique: String) -> Job {
        Job {
            check: check.to_owned(),
            script,
            plan: None,
            lie,
            shim: self.shim.clone(),
            engine: self.engine.clone(),
            profile: self.profile,
            exit_policy: self.exit_policy,
            isolation: self.isolation,
            unique,
            unprivileged: self.unprivileged,
            cgroups: self.cgroups,
            timeout_scale: self.timeout_scale,
            limit_ms: limit_ms(self.timeout_scale),
            env: Vec::new(),
            debug: self.debug,
            visit: None,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the factor is positive and at most 1000")]
fn limit_ms(scale: f64) -> u64 {
    (f64::from(LIMIT_MS) * scale) as u64
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_else(|| OsStr::new("?")).to_string_lossy().into_owned()
}

fn engine(wish: &EngineWish, isolation: Isolation) -> Result<Engine, Failure> {
    match wish {
        EngineWish::Auto => Ok(host::find_program("runc").map_or(Engine::Ours, Engine::Path)),
        EngineWish::Ours => Ok(Engine::Ours),
        EngineWish::Shim => Ok(Engine::ShimDefault),
        EngineWish::Named(name) => host::find_program(name).map(Engine::Path).ok_or_else(|| {
            Failure::Usage(format!(
                "engine {name}: no such program in PATH\n  give a path, or `--engine ours` for the engine that is built in"
            ))
        }),
        EngineWish::At(path) => program("engine", path, isolation).map(Engine::Path),
    }
}

/// The suite's executable is also what runs inside containers, whose file systems are empty.
///
/// # Errors
///
/// When it cannot be, for containers would then fail to start and the shim would be blamed.
fn own_executable(isolation: Isolation) -> Result<(), Failure> {
    let own = std::env::current_exe().context("find the suite's own executable")?;
    if host::is_dynamic()? {
        return Err(Failure::Host(format!(
            "{} is linked dynamically, but must run in empty containers\n  build it with -C target-feature=+crt-static",
            own.display()
        )));
    }
    if let (Some(place), Isolation::Full) = (hidden_place(&own), isolation) {
        return Err(Failure::Host(format!(
            "the suite's own executable {} lies under {place}, of which every world has its own\n  copy it elsewhere",
            own.display()
        )));
    }
    Ok(())
}

/// Without isolation the directories of worlds lie in `place`, which must not be a containerd's.
fn own_place(place: &Path) -> Result<(), Failure> {
    let owner =
        overlap::of(place).map_err(|e| Failure::Usage(format!("temporary directory {}: {e}", place.display())))?;
    match owner {
        None => Ok(()),
        Some(owner) => Err(Failure::Usage(format!(
            "temporary directory {}: lies in {}, the directory of a containerd that is alive\n  \
             set TMPDIR to a directory of its own, or leave --isolation none away",
            place.display(),
            owner.display()
        ))),
    }
}

/// The directory around `path` that worlds do not share with the host.
fn hidden_place(path: &Path) -> Option<&'static str> {
    ["/run", "/proc"].into_iter().find(|place| path.starts_with(place))
}

/// An absolute path to something that can be executed inside a world.
fn program(what: &str, path: &Path, isolation: Isolation) -> Result<PathBuf, Failure> {
    let usage = |reason: String| Failure::Usage(format!("{what} {}: {reason}", path.display()));
    let absolute = std::path::absolute(path).map_err(|e| usage(e.to_string()))?;
    let metadata = fs::metadata(&absolute).map_err(|e| usage(format!("{e}\n  looked at {}", absolute.display())))?;
    if metadata.is_dir() {
        return Err(usage("is a directory\n  give the path of the binary in it".to_owned()));
    }
    if !metadata.is_file() {
        return Err(usage("is not a regular file".to_owned()));
    }
    if !host::is_executable(&absolute) {
        return Err(usage("is not executable\n  is it the binary itself? then chmod +x".to_owned()));
    }
    access(&absolute, AccessFlags::X_OK).map_err(|e| usage(format!("may not be executed by this user: {e}")))?;
    let real = fs::canonicalize(&absolute).map_err(|e| usage(e.to_string()))?;
    let hidden = hidden_place(&real).or_else(|| hidden_place(&absolute));
    if let (Some(place), Isolation::Full) = (hidden, isolation) {
        return Err(usage(format!(
            "lies under {place}, of which every world has its own\n  copy it elsewhere, or use --isolation none"
        )));
    }
    Ok(absolute)
}
