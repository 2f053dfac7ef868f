//! A sequence of calls and faults: generated, shrunk, printed, parsed, replayed.
//!
//! A script says what is tried, never what comes of it: the model judges the answers. Every subsequence of a script is a script, because
//! a step that makes no sense where it stands is left out when it is played.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How many execs a script can have at a time; `e0` to `e2`.
pub const EXECS: usize = 3;

/// Whom a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// The container, or its init.
    Init,
    /// One of the execs, below [`EXECS`].
    Exec(usize),
}

/// What is asked of the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of the Task service")]
pub enum Ask {
    Create,
    Start,
    State,
    Wait,
    Kill(Signal),
    Exec,
    Delete,
    Pids,
    Pause,
    Resume,
    Connect,
    CloseIo,
    ResizePty,
    Stats,
    Update,
    Shutdown,
}

/// The signals that scripts send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Ends every process.
    Kill,
    /// Ends a process that does not handle it; whether the program does already is a race.
    Term,
}

impl Signal {
    /// Its number.
    pub const fn number(self) -> i32 {
        match self {
            Self::Kill => libc::SIGKILL,
            Self::Term => libc::SIGTERM,
        }
    }
}

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    /// What.
    pub ask: Ask,
    /// About whom.
    pub who: Who,
}

/// One step of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A call, and its answer.
    Call(Call),
    /// A call in the middle of which containerd is killed; the next one finds the shim again.
    RestartDuring(Call),
    /// containerd is killed; the next one finds the shim again.
    Restart,
    /// The program of this process is told to exit, past the shim.
    Exit(Who),
    /// Init gets SIGKILL, past the shim.
    KillInit,
    /// The shim is stopped.
    StopShim,
    /// The shim goes on.
    ContinueShim,
    /// The connection to the shim is dropped and made anew.
    Redial,
    /// Nobody listens at the events service.
    EventsRefuse,
    /// The events service accepts and never answers.
    EventsStall,
    /// The events service serves.
    EventsServe,
}

/// A story that was not written by hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Script {
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A line that is no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: no step reads {text:?}")]
pub struct ParseError {
    line: usize,
    text: String,
}

impl ParseError {
    /// What stands in `line`, counted from one, is no step.
    pub(crate) fn new(line: usize, text: &str) -> Self {
        Self { line, text: text.to_owned() }
    }
}

/// A text that says something, with the number of its line, counted from one; everything after `#` is a comment.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let said = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    said.enumerate().filter(|(_, said)| !said.is_empty()).map(|(number, said)| (number + 1, said))
}

/// Calls whose only argument is whom they are about, as they are written.
const WORDS: [(&str, Ask); 15] = [
    ("create", Ask::Create),
    ("start", Ask::Start),
    ("state", Ask::State),
    ("wait", Ask::Wait),
    ("exec", Ask::Exec),
    ("delete", Ask::Delete),
    ("pids", Ask::Pids),
    ("pause", Ask::Pause),
    ("resume", Ask::Resume),
    ("connect", Ask::Connect),
    ("close-io", Ask::CloseIo),
    ("resize-pty", Ask::ResizePty),
    ("stats", Ask::Stats),
    ("update", Ask::Update),
    ("shutdown", Ask::Shutdown),
];

/// Steps without arguments, as they are written.
const PLAIN: [(&str, Step); 8] = [
    ("restart", Step::Restart),
    ("kill-init", Step::KillInit),
    ("stop-shim", Step::StopShim),
    ("continue-shim", Step::ContinueShim),
    ("redial", Step::Redial),
    ("events refuse", Step::EventsRefuse),
    ("events stall", Step::EventsStall),
    ("events serve", Step::EventsServe),
];

impl Call {
    /// A call about init or the container.
    pub const fn init(ask: Ask) -> Self {
        Self { ask, who: Who::Init }
    }

    /// A call about an exec.
    pub const fn exec(ask: Ask, exec: usize) -> Self {
        Self { ask, who: Who::Exec(exec) }
    }

    /// Whether the message of this call has a place for an exec.
    pub const fn is_well_formed(self) -> bool {
        match self.ask {
            Ask::Exec => matches!(self.who, Who::Exec(_)),
            Ask::Start | Ask::State | Ask::Wait | Ask::Kill(_) | Ask::Delete | Ask::CloseIo | Ask::ResizePty => true,
            Ask::Create
            | Ask::Pids
            | Ask::Pause
            | Ask::Resume
            | Ask::Connect
            | Ask::Stats
            | Ask::Update
            | Ask::Shutdown => matches!(self.who, Who::Init),
        }
    }

    /// Every call that can be written.
    pub fn all() -> impl Iterator<Item = Self> {
        let asks = WORDS.into_iter().map(|(_, ask)| ask);
        let asks = asks.chain([Ask::Kill(Signal::Kill), Ask::Kill(Signal::Term)]);
        asks.flat_map(|ask| {
            std::iter::once(Who::Init).chain((0..EXECS).map(Who::Exec)).map(move |who| Self { ask, who })
        })
        .filter(|call| call.is_well_formed())
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init => Ok(()),
            Self::Exec(exec) => write!(f, " e{exec}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ask, who } = self;
        if let Ask::Kill(signal) = ask {
            return write!(f, "kill{who} {signal}");
        }
        write!(f, "{}{who}", word(&WORDS, ask))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "KILL",
            Self::Term => "TERM",
        })
    }
}

/// How `thing` is written.
fn word<T: PartialEq>(words: &[(&'static str, T)], thing: &T) -> &'static str {
    words.iter().find(|(_, listed)| listed == thing).map_or("?", |(word, _)| word)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "{call}"),
            Self::RestartDuring(call) => write!(f, "restart during {call}"),
            Self::Exit(who) => write!(f, "exit{who}"),
            Self::Restart
            | Self::KillInit
            | Self::StopShim
            | Self::ContinueShim
            | Self::Redial
            | Self::EventsRefuse
            | Self::EventsStall
            | Self::EventsServe => f.write_str(word(&PLAIN, self)),
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

fn who(words: &[&str]) -> Option<Who> {
    match words {
        [] => Some(Who::Init),
        [exec] => {
            let number = exec.strip_prefix('e')?.parse().ok()?;
            (number < EXECS).then_some(Who::Exec(number))
        }
        _ => None,
    }
}

fn call(words: &[&str]) -> Option<Call> {
    let call = match words {
        ["kill", about @ .., signal] => {
            let signal = match *signal {
                "KILL" => Signal::Kill,
                "TERM" => Signal::Term,
                _ => return None,
            };
            Call { ask: Ask::Kill(signal), who: who(about)? }
        }
        [word, about @ ..] => Call { ask: WORDS.iter().find(|(listed, _)| listed == word)?.1, who: who(about)? },
        [] => return None,
    };
    call.is_well_formed().then_some(call)
}

/// The step that these words say.
pub(crate) fn step(words: &[&str]) -> Option<Step> {
    let text = words.join(" ");
    if let Some((_, step)) = PLAIN.iter().find(|(listed, _)| *listed == text) {
        return Some(*step);
    }
    match words {
        ["restart", "during", words @ ..] => call(words).map(Step::RestartDuring),
        ["exit", about @ ..] => who(about).map(Step::Exit),
        words => call(words).map(Step::Call),
    }
}

/// Reads one step a line; everything after `#` is a comment.
impl FromStr for Script {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let read = |(number, said): (usize, &str)| {
            let words: Vec<&str> = said.split_whitespace().collect();
            step(&words).ok_or_else(|| ParseError::new(number, said))
        };
        Ok(Self { steps: lines(text).map(read).collect::<Result<_, _>>()? })
    }
}

impl From<Script> for String {
    fn from(script: Script) -> Self {
        script.to_string()
    }
}

impl TryFrom<String> for Script {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_step() -> impl Strategy<Value = Step> {
        let calls: Vec<Call> = Call::all().collect();
        let call = prop::sample::select(calls);
        let plain: Vec<Step> = PLAIN.iter().map(|(_, step)| *step).collect();
        prop_oneof![
            call.clone().prop_map(Step::Call),
            call.prop_map(Step::RestartDuring),
            prop::sample::select(plain),
            prop_oneof![Just(Who::Init), (0..EXECS).prop_map(Who::Exec)].prop_map(Step::Exit),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(steps in prop::collection::vec(any_step(), 0..40)) {
            let script = Script { steps };
            prop_assert_eq!(script.to_string().parse::<Script>(), Ok(script));
        }
    }

    #[test]
    fn comments_and_blank_lines_say_nothing() {
        let script: Script = "# a life\n\ncreate\nstart # runs\n".parse().unwrap();
        let steps = vec![Step::Call(Call::init(Ask::Create)), Step::Call(Call::init(Ask::Start))];
        assert_eq!(script.steps, steps);
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for line in ["dance", "kill", "kill 9", "pause e0", "exec", "start e9", "restart during", "exit now"] {
            let error = format!("create\n{line}").parse::<Script>().unwrap_err();
            assert_eq!(error.line, 2, "{line}");
        }
    }
}
