//! How the engine is made to misbehave: plain data in files beside the executable *as it was invoked*.
//!
//! A shim is given the path of a runtime and nothing else, so that path is the name of the experiment: a symbolic link
//! `/tmp/x/engine` to the engine is governed by `/tmp/x/engine.rules`. All files are optional; without any, the engine
//! is honest.
//!
//! | file | what it is |
//! |---|---|
//! | `.rules` | JSON array of [`Rule`] |
//! | `.wraps` | path of a real runtime, which then does the work in place of this engine |
//! | `.log` | one JSON [`LogLine`] is appended for each invocation: which calls the shim made, in which order |
//! | `.counts` | how often each subcommand was called; kept by the engine, under a lock |
//!
//! ```
//! # use fault_injector::engine::rules::{Action, Rule, When, Nth};
//! let rules: Vec<Rule> = serde_json::from_str(
//!     r#"[{"subcommand": "create", "nth": 2, "when": "after", "action": {"exit": {"code": 9, "message": "disk full"}}}]"#,
//! )?;
//! assert_eq!(rules[0].nth, Nth::At(2));
//! assert_eq!(rules[0].when, When::After);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// One misbehaviour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The subcommand it waits for, such as `create`.
    pub subcommand: String,
    /// Which of those calls it bites; every one when left out.
    #[serde(default)]
    pub nth: Nth,
    /// On which side of the work it bites; before it when left out.
    #[serde(default)]
    pub when: When,
    /// What it does.
    pub action: Action,
}

/// Which calls of a subcommand, counted over all processes that were invoked by the same path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nth {
    /// All.
    #[default]
    Every,
    /// Only this one; the first is 1.
    #[serde(untagged)]
    At(u32),
}

/// On which side of the work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Nothing has been done yet.
    #[default]
    Before,
    /// The work is done, and the caller has not heard of it.
    After,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Takes that many milliseconds longer.
    DelayMs(u64),
    /// Ends with this status and message; before the work it is in place of the work.
    Exit {
        /// Exit status.
        code: u8,
        /// On stderr and in the file of `--log`, as an error of the runtime's own.
        message: String,
    },
    /// Dies of SIGKILL.
    KillSelf,
    /// Never ends by itself.
    Hang,
    /// Goes on when a path exists, which gives the test the say over an order.
    Hold {
        /// Looked at every few milliseconds.
        until_path_exists: PathBuf,
    },
    /// Writes to stdout what no caller can parse, ahead of or behind the true answer.
    GarbageStdout,
    /// Writes to the file of `--log` what no caller can parse.
    GarbageLog,
    /// Takes the file of `--pid-file` away again. Has one moment, whatever `when` says: after the work.
    NoPidFile,
    /// Puts the number of no process into the file of `--pid-file`. Has one moment: after the work.
    WrongPidFile,
    /// Does the work and, when it succeeded, ends with this status without a word. Has one moment: after the work.
    SucceedThenExit {
        /// Exit status.
        code: u8,
    },
}

/// One invocation, as told in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The command line, program name included.
    pub argv: Vec<String>,
    /// Of the engine process.
    pub pid: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub start_ns: u64,
    /// The same clock; when a rule ended or hung the process, the moment at which it did.
    pub end_ns: u64,
    /// `None` when a rule killed or hung the process.
    pub exit_code: Option<u8>,
    /// Positions in the rules file of the rules that bit.
    pub rules: Vec<usize>,
}

/// A number above any pid (`PID_MAX_LIMIT` is 2^22), so that a deceived caller can hurt nobody.
pub const WRONG_PID: i32 = 1 << 23;

/// The files that govern an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// See [`Rule`].
    pub rules: PathBuf,
    /// The real runtime's path, as text.
    pub wraps: PathBuf,
    /// See [`LogLine`].
    pub log: PathBuf,
    /// Belongs to the engine; remove it to count from 1 again.
    pub counts: PathBuf,
}

impl Files {
    /// The files beside `executable`, whose last component is not followed if it is a link.
    pub fn beside(executable: &Path) -> Self {
        let with = |suffix: &str| {
            let mut name = OsString::from(executable);
            name.push(suffix);
            PathBuf::from(name)
        };
        Self { rules: with(".rules"), wraps: with(".wraps"), log: with(".log"), counts: with(".counts") }
    }
}

/// The positions of the rules that bite the `ordinal`-th call (from 1) of `subcommand`, in the order of the list.
pub fn biting(rules: &[Rule], subcommand: &str, ordinal: u32) -> Vec<usize> {
    let bites = |rule: &Rule| {
        rule.subcommand == subcommand
            && match rule.nth {
                Nth::Every => true,
                Nth::At(nth) => nth == ordinal,
            }
    };
    let positions = rules.iter().enumerate().filter(|(_, rule)| bites(rule));
    positions.map(|(position, _)| position).collect()
}

impl Action {
    /// The only moment the action makes sense at, where it has one.
    pub(super) fn moment(&self) -> Option<When> {
        match self {
            Self::NoPidFile | Self::WrongPidFile | Self::SucceedThenExit { .. } => Some(When::After),
            Self::DelayMs(_)
            | Self::Exit { .. }
            | Self::KillSelf
            | Self::Hang
            | Self::Hold { .. }
            | Self::GarbageStdout
            | Self::GarbageLog => None,
        }
    }
}

impl Rule {
    /// When it bites, by its own word or by its action's nature.
    pub(super) fn moment(&self) -> When {
        self.action.moment().unwrap_or(self.when)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(subcommand: &str, nth: Nth) -> Rule {
        Rule { subcommand: subcommand.to_owned(), nth, when: When::Before, action: Action::KillSelf }
    }

    #[test]
    fn a_rule_bites_its_own_call_only() {
        let rules = [rule("create", Nth::At(2)), rule("kill", Nth::Every), rule("create", Nth::Every)];
        assert_eq!(biting(&rules, "create", 1), [2]);
        assert_eq!(biting(&rules, "create", 2), [0, 2]);
        assert_eq!(biting(&rules, "kill", 7), [1]);
        assert_eq!(biting(&rules, "state", 1), [0_usize; 0]);
    }

    #[test]
    fn every_action_is_written_as_documented() {
        let texts = [
            (r#"{"delay_ms":5}"#, Action::DelayMs(5)),
            (r#"{"exit":{"code":3,"message":"no"}}"#, Action::Exit { code: 3, message: "no".to_owned() }),
            (r#""kill_self""#, Action::KillSelf),
            (r#""hang""#, Action::Hang),
            (r#"{"hold":{"until_path_exists":"/x"}}"#, Action::Hold { until_path_exists: PathBuf::from("/x") }),
            (r#""garbage_stdout""#, Action::GarbageStdout),
            (r#""garbage_log""#, Action::GarbageLog),
            (r#""no_pid_file""#, Action::NoPidFile),
            (r#""wrong_pid_file""#, Action::WrongPidFile),
            (r#"{"succeed_then_exit":{"code":9}}"#, Action::SucceedThenExit { code: 9 }),
        ];
        for (text, action) in texts {
            assert_eq!(serde_json::from_str::<Action>(text).unwrap(), action);
            assert_eq!(serde_json::to_string(&action).unwrap(), text);
        }
    }

    #[test]
    fn misspelt_rules_are_refused() {
        let text = r#"{"subcommand":"create","nht":1,"action":"hang"}"#;
        assert!(serde_json::from_str::<Rule>(text).is_err());
    }

    #[test]
    fn what_is_left_out_means_every_call_and_before() {
        let rule: Rule = serde_json::from_str(r#"{"subcommand":"kill","action":"hang"}"#).unwrap();
        assert_eq!((rule.nth, rule.when), (Nth::Every, When::Before));
        let rule: Rule = serde_json::from_str(r#"{"subcommand":"kill","nth":"every","action":"hang"}"#).unwrap();
        assert_eq!(rule.nth, Nth::Every);
    }

    #[test]
    fn an_action_about_results_waits_for_them() {
        let mut late = rule("create", Nth::Every);
        late.action = Action::NoPidFile;
        assert_eq!(late.moment(), When::After);
    }

    proptest! {
        #[test]
        fn the_nth_rule_bites_once_in_any_number_of_calls(nth in 1_u32..50, calls in 0_u32..100) {
            let rules = [rule("exec", Nth::At(nth))];
            let bites = (1..=calls).filter(|&ordinal| !biting(&rules, "exec", ordinal).is_empty()).count();
            prop_assert_eq!(bites, usize::from(nth <= calls));
        }

        #[test]
        fn rules_survive_their_file(nth in any::<u32>(), code in any::<u8>(), message in ".*") {
            let written = Rule { nth: Nth::At(nth), action: Action::Exit { code, message }, ..rule("start", Nth::Every) };
            let text = serde_json::to_string(&written).unwrap();
            prop_assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), written);
        }
    }
}
