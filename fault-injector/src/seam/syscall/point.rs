//! A place in a life at which the shim can be struck, named so that the next life of the same kind has it too.
//!
//! A count of all calls is not stable: threads interleave. A place is therefore the k-th call of one name about one thing in one phase of
//! the life, and the thing is written without what changes from life to life.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The k-th call of its kind in its phase.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Point {
    /// What was being done, in the words of whoever does it; one word.
    pub phase: String,
    /// The system call's name.
    pub call: String,
    /// What it is about, [normalised]; may be empty.
    pub subject: String,
    /// Which of those that agree in all the rest, from one.
    pub k: u32,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, call, subject, k } = self;
        let space = if subject.is_empty() { "" } else { " " };
        write!(f, "{phase} {call} {subject}{space}#{k}")
    }
}

/// A text that names no point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not PHASE CALL SUBJECT #K")]
pub struct NoPoint(String);

impl FromStr for Point {
    type Err = NoPoint;

    fn from_str(text: &str) -> Result<Self, NoPoint> {
        let parsed = || {
            let (phase, rest) = text.split_once(' ')?;
            let (call, rest) = rest.split_once(' ')?;
            let (subject, k) = match rest.strip_prefix('#') {
                Some(k) => ("", k),
                None => rest.rsplit_once(" #")?,
            };
            let k = k.parse().ok().filter(|&k| k > 0)?;
            let words = [phase, call].iter().all(|word| !word.is_empty());
            words.then(|| Self { phase: phase.to_owned(), call: call.to_owned(), subject: subject.to_owned(), k })
        };
        parsed().ok_or_else(|| NoPoint(text.to_owned()))
    }
}

impl From<Point> for String {
    fn from(point: Point) -> Self {
        point.to_string()
    }
}

impl TryFrom<String> for Point {
    type Error = NoPoint;

    fn try_from(text: String) -> Result<Self, NoPoint> {
        text.parse()
    }
}

/// A path, or another name, without what changes from life to life: process numbers, random names, digests. White space becomes `_`.
pub fn normalised(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
    let parts: Vec<String> = name.split('/').map(component).collect();
    parts.join("/")
}

/// A digest or a generated id is at least so long.
const HEX_AT_LEAST: usize = 12;
/// A number that counts on from life to life has at least so many digits; fewer belong to a name.
const DIGITS_AT_LEAST: usize = 3;

fn component(part: &str) -> String {
    if is_number(part) {
        return "<n>".to_owned();
    }
    if let Some((before, _)) = part.split_once(".tmp") {
        return format!("{before}.tmp<r>");
    }
    if let Some(shorter) = without_random_end(part) {
        return component(&shorter);
    }
    // A number between dots counts something, however short it is.
    if part.contains('.') && part.split('.').any(is_number) {
        let words = part.split('.').map(|word| if is_number(word) { "<n>".to_owned() } else { component(word) });
        return words.collect::<Vec<_>>().join(".");
    }
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let without_hex = replace_runs(part, hex, |run| {
        (run.len() >= HEX_AT_LEAST && run.bytes().any(|byte| byte.is_ascii_digit())).then_some("<hex>")
    });
    replace_runs(&without_hex, |c| c.is_ascii_digit(), |run| (run.len() >= DIGITS_AT_LEAST).then_some("<n>"))
}

/// A name whose first part ends as mkstemp(3) ends it, in a hyphen and six letters and digits that are no word.
fn without_random_end(part: &str) -> Option<String> {
    let (hyphen, _) = part.rmatch_indices('-').next()?;
    let (stem, end) = part.split_at(hyphen + 1);
    let (random, rest) = end.split_at_checked(6)?;
    let mixed = random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && random.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (mixed && (rest.is_empty() || rest.starts_with('.'))).then(|| format!("{stem}<r>{rest}"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Replaces each longest run of characters that are `within` by what `replaced` says of it.
fn replace_runs(text: &str, within: impl Fn(char) -> bool, replaced: impl Fn(&str) -> Option<&'static str>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside = within(first);
        let end = rest.find(|c| within(c) != inside).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        out.push_str(if inside { replaced(run).unwrap_or(run) } else { run });
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("/run/containerd/c1/init.pid", "/run/containerd/c1/init.pid")]
    #[case::pid("/proc/4711/oom_score_adj", "/proc/<n>/oom_score_adj")]
    #[case::short_pid("/proc/7/oom_score_adj", "/proc/<n>/oom_score_adj")]
    #[case::digest("/run/s/0123456789abcdef0123", "/run/s/<hex>")]
    #[case::word_of_hex_letters("/run/deadbeefface", "/run/deadbeefface")]
    #[case::random_digits("/tmp/runc-process81726354", "/tmp/runc-process<n>")]
    #[case::temporary("/run/c1/address.tmpXy12ab", "/run/c1/address.tmp<r>")]
    #[case::hidden_temporary("/run/c1/.tmpXy12ab", "/run/c1/.tmp<r>")]
    #[case::number_in_a_name("/sys/fs/cgroup/pids/world-812/c1", "/sys/fs/cgroup/pids/world-<n>/c1")]
    #[case::counted("/run/c1/.init.json.8", "/run/c1/.init.json.<n>")]
    #[case::counted_twice("/run/c1/log.8.4.json", "/run/c1/log.<n>.<n>.json")]
    #[case::random("/run/c1/.shim-3Bm0ug", "/run/c1/.shim-<r>")]
    #[case::random_stem("/tmp/runc-process-lMZK2D.json", "/tmp/runc-process-<r>.json")]
    #[case::word("/run/containerd-master", "/run/containerd-master")]
    #[case::blank("a b\n", "a_b_")]
    #[case::nothing("", "")]
    fn names_lose_what_changes(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(normalised(name), expected);
        assert_eq!(normalised(expected), expected);
    }

    #[rstest]
    #[case("create openat /run/c1/init.pid #1")]
    #[case("start listen #2")]
    #[case("kill kill SIGKILL #1")]
    fn a_point_that_is_told_is_understood(#[case] text: &str) {
        let point: Point = text.parse().unwrap();
        assert_eq!(point.to_string(), text);
        assert_eq!(serde_json::from_str::<Point>(&serde_json::to_string(&point).unwrap()).unwrap(), point);
    }

    #[rstest]
    #[case("")]
    #[case("create")]
    #[case("create openat")]
    #[case("create openat /a")]
    #[case("create openat /a #0")]
    #[case("create openat /a #x")]
    #[case(" openat /a #1")]
    fn anything_else_is_none(#[case] text: &str) {
        assert_eq!(text.parse::<Point>(), Err(NoPoint(text.to_owned())));
    }
}
