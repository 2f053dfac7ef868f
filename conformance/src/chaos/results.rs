//! What a run of chaos came to, as a file that others can read and add up.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{Read as _, Write as _},
    path::Path,
    str::FromStr,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::plan::Plan;
use crate::{
    check::{Verdict, Violation},
    history::{History, What},
    lab::{Ending, ExitPolicy, world::Isolation},
    property,
    subject::Subject,
};

/// The form of the file; grows with every change that a reader must know of.
pub const SCHEMA: u32 = 2;

/// A whole result file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// [`SCHEMA`] of the suite that wrote it.
    pub schema: u32,
    /// What decides which plans there are.
    pub run: Run,
    /// Which part of them these are.
    pub shard: Shard,
    /// Whether the run came to its own end; a run that was interrupted tells what was done until then.
    pub complete: bool,
    /// How the plans ended.
    pub plans: Plans,
    /// What was done to the shim, by the fault's id.
    pub faults: BTreeMap<String, Bites>,
    /// How often each call was made.
    pub calls: BTreeMap<String, u64>,
    /// Each way in which a duty was broken, once.
    pub findings: Vec<Finding>,
    /// Why plans were inconclusive or could not be played, and how often.
    pub troubles: BTreeMap<String, u64>,
    /// How long it took, milliseconds; of shards that were put together, all of them.
    pub ms: u64,
}

/// What the shards of one run have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Where every plan comes from.
    pub seed: u64,
    /// How many plans all shards together play; `None` when the time decides.
    pub plans: Option<u64>,
    /// Tells suites apart that draw other plans from the same seed.
    pub draws: String,
    /// What was tested.
    pub shim: ShimFacts,
    /// The OCI runtime, as the command line names it.
    pub engine: String,
    /// The containerd that was played.
    pub profile: String,
    /// When the shim was expected to leave.
    pub exit_policy: ExitPolicy,
    /// How worlds were kept apart.
    pub isolation: Isolation,
    /// Whether the shim got `-debug`.
    pub debug: bool,
}

/// Which binary it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShimFacts {
    /// Where it lay.
    pub path: String,
    /// Its content, in hexadecimal digits.
    pub sha256: String,
    /// What it says to `-v`.
    pub version: Option<String>,
}

/// One of so many parts of a run; written `1/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    /// Which, from one.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

/// How many plans ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are those of the verdicts")]
pub struct Plans {
    pub held: u64,
    pub violated: u64,
    pub inconclusive: u64,
    pub error: u64,
}

/// What became of the faults of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bites {
    /// How often it was put in force.
    pub injected: u64,
    /// How many of these took effect at least once.
    pub bitten: u64,
}

/// One way in which a duty was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The clause.
    pub clause: String,
    /// What happened under the smallest plan.
    pub violation: Violation,
    /// The plan that first ended in it.
    pub number: u64,
    /// How many plans ended in it.
    pub seen: u64,
    /// As it was drawn.
    pub plan: Plan,
    /// The smallest plan found that fails in the same way.
    pub smallest: Plan,
    /// How often that one fails.
    pub reproduces: Reproduction,
    /// The file that keeps it, beside the result file.
    pub capture: Option<String>,
}

/// How often a plan fails; written `7 of 50`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reproduction {
    /// So many times it did.
    pub violated: u32,
    /// So many times it was played.
    pub of: u32,
}

impl Run {
    /// A run of this seed against `subject`.
    ///
    /// # Errors
    ///
    /// When the shim cannot be read.
    pub fn new(seed: u64, plans: Option<u64>, subject: &Subject) -> Result<Self> {
        Ok(Self {
            seed,
            plans,
            draws: draws(),
            shim: ShimFacts::of(subject)?,
            engine: subject.engine_argument(),
            profile: subject.profile.name.to_owned(),
            exit_policy: subject.exit_policy,
            isolation: subject.isolation,
            debug: subject.debug,
        })
    }
}

/// A few plans of a fixed seed, as a number: whatever changes what is drawn changes it.
fn draws() -> String {
    let text: String = (0..16).map(|number| super::draw(0, number).to_string()).collect();
    format!("{:016x}", property::sub_seed(0, &text))
}

impl ShimFacts {
    /// Those of the subject's shim.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn of(subject: &Subject) -> Result<Self> {
        let path = &subject.shim;
        let reading = || format!("read the shim {}", path.display());
        let mut file = fs::File::open(path).with_context(reading)?;
        let (mut hash, mut part) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut part).with_context(reading)? {
                0 => break,
                read => hash.update(&part[..read]),
            }
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.display().to_string(), sha256, version: subject.version.clone() })
    }
}

impl Shard {
    /// The whole run.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    /// The numbers of its plans, in the order in which they are played.
    pub fn numbers(self) -> impl Iterator<Item = u64> + Send {
        (self.index - 1..).step_by(usize::try_from(self.of).unwrap_or(usize::MAX))
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index, of }),
            Some(_) => Err(format!("shard {text} does not exist: they are counted from 1")),
            None => Err(format!("{text:?} is not of the form 1/3")),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl fmt::Display for Reproduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.violated, self.of)
    }
}

impl Plans {
    /// How many were played to an end.
    pub const fn run(&self) -> u64 {
        self.held + self.violated + self.inconclusive + self.error
    }
}

impl Results {
    /// Nothing yet.
    pub fn new(run: Run, shard: Shard) -> Self {
        Self {
            schema: SCHEMA,
            run,
            shard,
            complete: false,
            plans: Plans::default(),
            faults: BTreeMap::new(),
            calls: BTreeMap::new(),
            findings: Vec::new(),
            troubles: BTreeMap::new(),
            ms: 0,
        }
    }

    /// Counts a plan that has ended.
    pub fn count(&mut self, ending: &Ending) {
        let trouble = match &ending.verdict {
            Verdict::Held | Verdict::Waived { .. } => {
                self.plans.held += 1;
                None
            }
            Verdict::Violated { .. } => {
                self.plans.violated += 1;
                None
            }
            Verdict::NotApplicable { reason } | Verdict::Skipped { reason } | Verdict::Inconclusive { reason } => {
                self.plans.inconclusive += 1;
                Some(reason)
            }
            Verdict::Error { reason } => {
                self.plans.error += 1;
                Some(reason)
            }
        };
        if let Some(reason) = trouble {
            *self.troubles.entry(format!("{}: {reason}", ending.verdict.word())).or_default() += 1;
        }
        self.count_history(&ending.history);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only a few of the many things that happen are counted")]
    fn count_history(&mut self, history: &History) {
        for record in &history.records {
            match &record.what {
                What::Invoke { call, .. } => *self.calls.entry(call.method.to_string()).or_default() += 1,
                What::FaultInjected { fault, .. } => self.faults.entry(fault.clone()).or_default().injected += 1,
                What::FaultHealed { fault, bites, .. } => {
                    self.faults.entry(fault.clone()).or_default().bitten += u64::from(*bites > 0);
                }
                _ => {}
            }
        }
    }

    /// How many faults took effect.
    pub fn bitten(&self) -> u64 {
        self.faults.values().map(|bites| bites.bitten).sum()
    }

    /// Plans per second.
    #[expect(clippy::cast_precision_loss, reason = "counts of one run fit 53 bits")]
    pub fn pace(&self) -> f64 {
        if self.ms == 0 { 0.0 } else { self.plans.run() as f64 * 1000.0 / self.ms as f64 }
    }

    /// The name of the file.
    pub fn file_name(&self) -> String {
        format!("chaos-{:#x}-{}of{}.json", self.run.seed, self.shard.index, self.shard.of)
    }

    /// Writes the file `path`, whole or not at all.
    ///
    /// # Errors
    ///
    /// With the path that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).context("encode results")?;
        text.push(b'\n');
        write_whole(path, &text)
    }

    /// Reads a file that was written so.
    ///
    /// # Errors
    ///
    /// When it is of another form, or none at all.
    pub fn read(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Form {
            schema: u32,
        }
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let Form { schema } = decode(path, &text)?;
        anyhow::ensure!(schema == SCHEMA, "{} has schema {schema}, this suite reads {SCHEMA}", path.display());
        decode(path, &text)
    }
}

fn decode<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("{} is no result file of chaos", path.display()))
}

/// Writes a file beside its place and moves it there, so that nobody ever reads half of it.
pub(super) fn write_whole(path: &Path, text: &[u8]) -> Result<()> {
    let writing = || format!("write {}", path.display());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(directory).with_context(writing)?;
    draft.write_all(text).with_context(writing)?;
    draft.as_file().sync_all().with_context(writing)?;
    draft.persist(path).with_context(writing)?;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::history::{Call, Method, Moment, Record, Target};

    pub(in crate::chaos) fn results(shard: &str) -> Results {
        let shim = ShimFacts { path: "/shim".to_owned(), sha256: "00ff".to_owned(), version: None };
        let run = Run {
            seed: 7,
            plans: Some(9),
            draws: "d".to_owned(),
            shim,
            engine: "ours".to_owned(),
            profile: "containerd-2.1".to_owned(),
            exit_policy: ExitPolicy::OnShutdown,
            isolation: Isolation::Full,
            debug: false,
        };
        Results { complete: true, ms: 1000, ..Results::new(run, shard.parse().unwrap()) }
    }

    #[test]
    fn shards_share_all_plans_and_none_twice() {
        let mut all: Vec<u64> = (1..=3).flat_map(|index| Shard { index, of: 3 }.numbers().take(4)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        for wrong in ["0/3", "4/3", "1", "a/b", "1/0"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_replaces_the_former_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut results = results("2/3");
        let path = directory.path().join(results.file_name());
        results.write(&path).unwrap();
        results.plans.held = 5;
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        for (text, part) in
            [("{\"schema\": 99}", "schema 99"), ("[]", "no result file"), ("{\"schema\": 2}", "no result file")]
        {
            fs::write(&path, text).unwrap();
            let error = format!("{:#}", Results::read(&path).unwrap_err());
            assert!(error.contains(part) && error.contains("x.json"), "{error}");
        }
    }

    #[test]
    fn what_happened_is_counted() {
        let call = Call { method: Method::Kill, target: Target::init("a"), args: String::new() };
        let fault = |number, fault: &str| What::FaultInjected {
            number,
            fault: fault.to_owned(),
            container: None,
            excuses: Vec::new(),
        };
        let healed = |number, fault: &str, bites| What::FaultHealed { number, fault: fault.to_owned(), bites };
        let happened = [
            What::Invoke { id: 1, call },
            fault(1, "events/stalled"),
            fault(2, "events/stalled"),
            healed(2, "events/stalled", 3),
            healed(1, "events/stalled", 0),
        ];
        let records = happened.into_iter().map(|what| Record { at: Moment(0), what }).collect();
        let mut results = results("1/1");
        let verdict = Verdict::Inconclusive { reason: "dark".to_owned() };
        results.count(&Ending { verdict, history: History { records }, log: String::new(), diagnosis: None });
        assert_eq!(results.calls["Kill"], 1);
        assert_eq!(results.faults["events/stalled"], Bites { injected: 2, bitten: 1 });
        assert_eq!(results.plans, Plans { inconclusive: 1, ..Plans::default() });
        assert_eq!(results.troubles["inconclusive: dark"], 1);
    }
}
