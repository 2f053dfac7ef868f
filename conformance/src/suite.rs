//! For shim authors: every check as a test of its own in `cargo test`.
//!
//! ```no_run
//! // tests/conformance.rs of the shim's crate; in Cargo.toml: [[test]] name = "conformance", harness = false
//! use std::process::ExitCode;
//!
//! use conformance::suite::{self, Suite};
//!
//! fn main() -> ExitCode {
//!     suite::main(Suite::new("shim", "/usr/bin/containerd-shim-mine-v1").expecting("tests/expected.toml"))
//! }
//! ```
//!
//! The test executable plays all the parts of a run itself, containers included, so it must be linked statically
//! (`-C target-feature=+crt-static`); otherwise each test says so.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock},
    thread,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{
    audit,
    check::{Check, Verdict},
    checks, entry,
    expect::Expectations,
    profile::Profile,
    report::{self, Outcome, Theme},
    runner::{self, Choices, Control, Done, Task},
    signals,
    subject::{EngineWish, ProfileWish, Subject, Wish},
    sweep,
};

/// Worlds wait more than they work.
const THREADS_PER_CORE: usize = 3;
/// How many cases each property tries, unless more are wanted.
const CASES: u32 = 4;
/// Where every random choice comes from, unless another seed is wanted: a test must not fail on one day of many. The command draws a new
/// seed for each run.
const SEED: u64 = 0x5eed;

/// Where a shim comes from; asked once, and only when a test runs.
type Shim = Box<dyn Fn() -> Result<PathBuf, String> + Send + Sync>;

/// One shim with one runtime: a test for each check.
pub struct Suite {
    name: String,
    shim: Shim,
    wish: Wish,
    expectations: Option<PathBuf>,
    seed: u64,
    cases: u32,
    audited: bool,
    /// Only checks whose ids begin so; all when there is none.
    only: &'static [&'static str],
    missing: Option<Missing>,
}

/// A suite that cannot run here.
#[derive(Debug, Clone)]
struct Missing {
    reason: String,
    is_failure: bool,
}

impl From<Suite> for Vec<Suite> {
    fn from(suite: Suite) -> Self {
        vec![suite]
    }
}

impl Suite {
    /// Tests the shim at `path`; the tests are called `name::subject/check`.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::made(name, move || Ok(path.clone()))
    }

    /// Tests the shim that `make` makes, or finds, when the first test runs.
    pub fn made(name: &str, make: impl Fn() -> Result<PathBuf, String> + Send + Sync + 'static) -> Self {
        Self {
            name: name.to_owned(),
            shim: Box::new(make),
            wish: Wish::new(""),
            expectations: None,
            seed: SEED,
            cases: CASES,
            audited: false,
            only: &[],
            missing: None,
        }
    }

    /// One test that tells why there are no others: ignored, or failed where that must not be.
    pub fn missing(name: &str, reason: &str, is_failure: bool) -> Self {
        let mut suite = Self::new(name, "");
        suite.missing = Some(Missing { reason: reason.to_owned(), is_failure });
        suite
    }

    /// With this OCI runtime.
    #[must_use]
    pub fn engine(mut self, engine: EngineWish) -> Self {
        self.wish.engine = engine;
        self
    }

    /// Under this containerd instead of the one that suits the shim.
    #[must_use]
    pub fn under(mut self, profile: Profile) -> Self {
        self.wish.profile = ProfileWish::Exactly(profile);
        self
    }

    /// With the checks alone whose ids begin with one of these.
    #[must_use]
    pub fn only(mut self, beginnings: &'static [&'static str]) -> Self {
        self.only = beginnings;
        self
    }

    /// With what else can be wished; its shim and engine are those of this suite.
    #[must_use]
    pub fn wishing(mut self, wish: Wish) -> Self {
        self.wish = Wish { engine: self.wish.engine, ..wish };
        self
    }

    /// With the known violations of this file.
    #[must_use]
    pub fn expecting(mut self, file: impl Into<PathBuf>) -> Self {
        self.expectations = Some(file.into());
        self
    }

    /// With this seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// With so many cases for each property.
    #[must_use]
    pub fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// And with a test for each check that it notices its lies; for shims that hold everything.
    #[must_use]
    pub fn audited(mut self) -> Self {
        self.audited = true;
        self
    }
}

/// Runs all suites as `cargo test` and its friends want it.
pub fn main(suites: impl Into<Vec<Suite>>) -> ExitCode {
    if let Some(status) = entry::other_self() {
        return status;
    }
    let mut arguments = Arguments::from_args();
    if arguments.test_threads.is_none() {
        arguments.test_threads = Some(thread::available_parallelism().map_or(1, usize::from) * THREADS_PER_CORE);
    }
    let control = match controlled() {
        Ok(control) => control,
        Err(e) => {
            anstream::eprintln!("error: {e:#}");
            return ExitCode::from(crate::exit_code::SUITE_ERROR);
        }
    };
    let trials = suites.into().into_iter().flat_map(|suite| trials(suite, &control)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn controlled() -> anyhow::Result<Arc<Control>> {
    sweep::sweep_and_tell()?;
    let control = Arc::new(Control::new()?);
    signals::watch(&control)?;
    Ok(control)
}

fn trials(suite: Suite, control: &Arc<Control>) -> Vec<Trial> {
    let name = suite.name.clone();
    if let Some(Missing { reason, is_failure }) = suite.missing {
        return vec![Trial::ignorable_test(name, move || match is_failure {
            true => Err(Failed::from(reason)),
            false => Ok(Completion::ignored_with(reason)),
        })];
    }
    let (audited, only) = (suite.audited, suite.only);
    let wanted = |check: &&Check| only.is_empty() || only.iter().any(|beginning| check.id.starts_with(beginning));
    let shared = Arc::new(Shared { suite, control: control.clone(), ready: OnceLock::new() });
    let mut trials = Vec::new();
    for check in checks::all().filter(wanted) {
        let of_check = shared.clone();
        trials.push(Trial::ignorable_test(format!("{name}::{}", check.id), move || of_check.test(check)));
        if audited {
            let of_audit = shared.clone();
            trials.push(Trial::ignorable_test(format!("{name}::audit::{}", check.id), move || of_audit.audit(check)));
        }
    }
    trials
}

/// What the tests of a suite have in common.
struct Shared {
    suite: Suite,
    control: Arc<Control>,
    ready: OnceLock<Result<Ready, String>>,
}

/// What the first test finds out for all.
struct Ready {
    run: report::Run,
    expectations: Expectations,
}

impl Shared {
    fn ready(&self) -> Result<&Ready, Failed> {
        let ready = self.ready.get_or_init(|| self.make_ready());
        ready.as_ref().map_err(Failed::from)
    }

    fn make_ready(&self) -> Result<Ready, String> {
        let wish = Wish { shim: (self.suite.shim)()?, ..self.suite.wish.clone() };
        let expectations = match &self.suite.expectations {
            Some(file) => Expectations::read(file).map_err(|e| e.to_string())?,
            None => Expectations::default(),
        };
        let subject = Subject::resolve(&wish, &self.control).map_err(|e| e.to_string())?;
        Ok(Ready {
            run: report::Run { subject, seed: self.suite.seed, jobs: 1, checks: checks::all().collect() },
            expectations,
        })
    }

    fn carry_out(&self, ready: &Ready, task: Task) -> Done {
        let choices = Choices { jobs: 1, seed: self.suite.seed, cases: self.suite.cases };
        runner::carry_out(&ready.run.subject, task, choices, &self.control)
    }

    fn test(&self, check: &'static Check) -> Result<Completion, Failed> {
        let ready = self.ready()?;
        let done = self.carry_out(ready, Task { check, lie: None });
        let outcome = Outcome::judged(check, done, &ready.expectations, &ready.run.subject);
        match &outcome.verdict {
            Verdict::Held if outcome.unexpected.is_none() => Ok(Completion::Completed),
            Verdict::Waived { reason } => Ok(Completion::ignored_with(format!("waived: {reason}"))),
            Verdict::Skipped { reason } | Verdict::NotApplicable { reason } => Ok(Completion::ignored_with(reason)),
            Verdict::Held | Verdict::Violated { .. } | Verdict::Inconclusive { .. } | Verdict::Error { .. } => {
                let page = report::page(&outcome, &ready.run, Theme::of_environment(), false);
                Err(Failed::from(anstream::adapter::strip_str(&page).to_string()))
            }
        }
    }

    fn audit(&self, check: &'static Check) -> Result<Completion, Failed> {
        let ready = self.ready()?;
        let mut audited = audit::Audited::new(check);
        for task in audit::tasks(&[check]) {
            audited.add(task.lie, self.carry_out(ready, task).ending.verdict);
            // What cannot be decided here cannot be lied about either.
            if audited.is_undecidable() {
                return Ok(Completion::ignored_with("cannot be decided here"));
            }
        }
        let defects = audited.defects();
        if defects.is_empty() { Ok(Completion::Completed) } else { Err(Failed::from(defects.join("\n"))) }
    }
}
