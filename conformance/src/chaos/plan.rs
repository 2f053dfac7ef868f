//! The plan of a chaos world: what is done to several containers in turns, and which faults strike meanwhile.
//!
//! It is a script with a container in front of each step, and it is read and written in the same words. A line without a container is
//! about the first one, so every script is a plan.

use std::{fmt, ops::Range, str::FromStr};

use fault_injector::{
    catalogue,
    fault::{Fault, Seam},
};
use serde::{Deserialize, Serialize};

use crate::{
    property::Divisible,
    script::{self, ParseError, Script, Step},
};

/// The containers that a plan can name.
const LETTERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A container of a plan, written as a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Name(u8);

/// A fault, and the container that it is about where it is about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// A row of the catalogue.
    pub fault: &'static Fault,
    /// `None` for what all containers share: the runtime, the events service, containerd.
    pub on: Option<Name>,
}

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A step of a container's story.
    Step {
        /// The container; for steps that concern all of them, the first.
        of: Name,
        /// What is done.
        step: Step,
        /// Whether the next act begins before this call is answered.
        unawaited: bool,
    },
    /// A fault begins.
    Inject(Strike),
    /// It ends.
    Heal(Strike),
}

/// What is done in one world.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Plan {
    /// The containers that are to share a shim, as the containers of a pod do.
    pub pod: Vec<Name>,
    /// What is done, in this order.
    pub acts: Vec<Act>,
}

impl Name {
    /// Every name that can be given.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..6).map(Self)
    }

    /// The letter, which is also the container's id.
    pub fn letter(self) -> &'static str {
        LETTERS[usize::from(self.0)]
    }

    fn read(word: &str) -> Option<Self> {
        Self::all().find(|name| name.letter() == word)
    }
}

impl Strike {
    /// `fault`, about the container `of` if it is about one at all.
    pub fn new(fault: &'static Fault, of: Name) -> Self {
        let on = match fault.seam {
            Seam::Process | Seam::TaskSocket | Seam::Resource | Seam::Disk | Seam::Syscall => Some(of),
            Seam::Events | Seam::Runtime | Seam::Containerd => None,
        };
        Self { fault, on }
    }
}

impl Act {
    /// A step of the container `of` that is waited for.
    pub fn step(of: Name, step: Step) -> Self {
        let of = if is_common(step) { Name::default() } else { of };
        Self::Step { of, step, unawaited: false }
    }

    /// The container that it is about, unless it concerns all of them.
    pub fn about(&self) -> Option<Name> {
        match self {
            Self::Step { step, .. } if is_common(*step) => None,
            Self::Step { of, .. } => Some(*of),
            Self::Inject(strike) | Self::Heal(strike) => strike.on,
        }
    }
}

/// Whether a step concerns every container: containerd's death, and how it takes events.
pub fn is_common(step: Step) -> bool {
    match step {
        Step::Restart | Step::EventsRefuse | Step::EventsStall | Step::EventsServe => true,
        Step::Call(_)
        | Step::RestartDuring(_)
        | Step::Exit(_)
        | Step::KillInit
        | Step::StopShim
        | Step::ContinueShim
        | Step::Redial => false,
    }
}

impl Plan {
    /// The containers that it names.
    pub fn names(&self) -> Vec<Name> {
        Name::all().filter(|name| self.acts.iter().any(|act| act.about() == Some(*name))).collect()
    }

    /// The faults that it injects.
    pub fn strikes(&self) -> impl Iterator<Item = Strike> {
        self.acts.iter().filter_map(|act| match act {
            Act::Inject(strike) => Some(*strike),
            Act::Heal(_) | Act::Step { .. } => None,
        })
    }

    /// What is left without the acts that `unwanted` names.
    #[must_use]
    pub fn less(&self, unwanted: impl Fn(&Act) -> bool) -> Self {
        let acts: Vec<Act> = self.acts.iter().filter(|act| !unwanted(act)).copied().collect();
        let mut rest = Self { pod: Vec::new(), acts };
        let names = rest.names();
        rest.pod = self.pod.iter().filter(|name| names.contains(name)).copied().collect();
        rest
    }
}

impl Divisible for Plan {
    fn pieces(&self) -> usize {
        self.acts.len()
    }

    fn without(&self, pieces: Range<usize>) -> Self {
        let mut rest = self.clone();
        rest.acts.drain(pieces);
        rest.less(|_| false)
    }
}

impl From<&Script> for Plan {
    fn from(script: &Script) -> Self {
        let acts = script.steps.iter().map(|step| Act::step(Name::default(), *step)).collect();
        Self { pod: Vec::new(), acts }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault.id)?;
        self.on.map_or(Ok(()), |on| write!(f, " on {on}"))
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.about() {
            write!(f, "{name}: ")?;
        }
        match self {
            Self::Step { step, unawaited, .. } => write!(f, "{step}{}", if *unawaited { " &" } else { "" }),
            Self::Inject(strike) => write!(f, "inject {}", strike.fault.id),
            Self::Heal(strike) => write!(f, "heal {}", strike.fault.id),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pod.is_empty() {
            f.write_str("pod")?;
            self.pod.iter().try_for_each(|name| write!(f, " {name}"))?;
            writeln!(f)?;
        }
        self.acts.iter().try_for_each(|act| writeln!(f, "{act}"))
    }
}

/// The act that a line says, without its comment.
fn act(said: &str) -> Option<Act> {
    let (of, said) = match said.split_once(':') {
        Some((name, said)) => (Name::read(name.trim())?, said),
        None => (Name::default(), said),
    };
    let mut words: Vec<&str> = said.split_whitespace().collect();
    let strike = |id: &str| Some(Strike::new(catalogue::find(id)?, of));
    match words[..] {
        ["inject", id] => return strike(id).map(Act::Inject),
        ["heal", id] => return strike(id).map(Act::Heal),
        _ => {}
    }
    let unawaited = words.pop_if(|word| *word == "&").is_some();
    let step = script::step(&words)?;
    match (step, unawaited) {
        (Step::Call(_), true) => Some(Act::Step { of, step, unawaited }),
        (_, true) => None,
        (step, false) => Some(Act::step(of, step)),
    }
}

/// Reads one act a line, and at most one line `pod` with the containers that share a shim; everything after `#` is a comment.
impl FromStr for Plan {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut plan = Self::default();
        for (number, said) in script::lines(text) {
            let error = || ParseError::new(number, said);
            match said.split_whitespace().collect::<Vec<_>>()[..] {
                ["pod", ref names @ ..] if plan.pod.is_empty() => {
                    plan.pod = names.iter().map(|name| Name::read(name)).collect::<Option<_>>().ok_or_else(error)?;
                }
                _ => plan.acts.push(act(said).ok_or_else(error)?),
            }
        }
        Ok(plan)
    }
}

impl From<Plan> for String {
    fn from(plan: Plan) -> Self {
        plan.to_string()
    }
}

impl TryFrom<String> for Plan {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Ask, Call};

    #[test]
    fn a_plan_is_read_as_it_is_written() {
        let text = "pod a b\na: create\nb: start &\ninject runtime/start-hangs\nb: inject process/stop-shim\nrestart\n\
                    b: restart during kill e1 TERM\nheal runtime/start-hangs\nevents stall\n";
        let plan: Plan = text.parse().unwrap();
        assert_eq!(plan.to_string(), text);
        assert_eq!(plan.names().len(), 2);
        assert_eq!(plan.strikes().count(), 2);
    }

    #[test]
    fn a_script_is_a_plan_of_one_container() {
        let text = "create # a life\n\nexec e2\nrestart\n";
        let script: Script = text.parse().unwrap();
        assert_eq!(text.parse::<Plan>().unwrap(), Plan::from(&script));
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for line in ["z: create", "a:", "inject runtime/dances", "restart &", "pod a y", "heal", "a: create & &", "a"] {
            let error = format!("pod a b\n{line}").parse::<Plan>().unwrap_err();
            assert!(error.to_string().starts_with("line 2: "), "{line}: {error}");
        }
    }

    #[test]
    fn what_is_common_to_all_containers_names_none() {
        let plan: Plan = "c: restart\nc: inject events/stalled".parse().unwrap();
        assert_eq!(plan.to_string(), "restart\ninject events/stalled\n");
        assert!(plan.names().is_empty());
    }

    #[test]
    fn a_pod_loses_the_containers_of_which_nothing_is_told_any_more() {
        let plan: Plan = "pod a b\na: create\nb: create".parse().unwrap();
        assert_eq!(plan.without(1..2).to_string(), "pod a\na: create\n");
        let create = Act::step(Name::default(), Step::Call(Call::init(Ask::Create)));
        assert_eq!(plan.less(|act| *act == create).names(), [Name(1)]);
    }
}
