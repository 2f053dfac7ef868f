//! What makes two violations the same.

use std::fmt;

use crate::check::{Verdict, Violation};

/// A clause and what happened, without the names and numbers of one plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signature {
    /// The clause that was broken.
    pub clause: String,
    happened: String,
}

impl Signature {
    /// That of a violation; `None` for every other verdict.
    pub fn of(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Violated { clause, violation } => Some(Self::new(clause, violation)),
            Verdict::Held
            | Verdict::Waived { .. }
            | Verdict::NotApplicable { .. }
            | Verdict::Skipped { .. }
            | Verdict::Inconclusive { .. }
            | Verdict::Error { .. } => None,
        }
    }

    /// That of a violation of `clause`.
    pub fn new(clause: &str, violation: &Violation) -> Self {
        let words = violation.happened.split_whitespace().map(anonymous);
        Self { clause: clause.to_owned(), happened: words.collect::<Vec<_>>().join(" ") }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clause, self.happened)
    }
}

/// A word without numbers; one that names a container names any.
fn anonymous(word: &str) -> String {
    let mut plain = String::new();
    for c in word.chars() {
        match c {
            c if !c.is_ascii_digit() => plain.push(c),
            _ if plain.ends_with('#') => {}
            _ => plain.push('#'),
        }
    }
    let (name, rest) = plain.split_at(plain.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(plain.len()));
    if name.len() == 1 { format!("_{rest}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(happened: &str) -> Signature {
        let violation = Violation { happened: happened.to_owned(), expected: String::new(), actual: String::new() };
        Signature::new("a/b", &violation)
    }

    #[test]
    fn containers_execs_and_pids_do_not_tell_violations_apart() {
        assert_eq!(signature("a: start e2 was answered"), signature("c: start e0 was answered"));
        assert_eq!(
            signature("process 4711 of b/e1 has 0 exit events"),
            signature("process 3 of d/e0 has 2 exit events")
        );
        assert_ne!(signature("a: start e2 was answered"), signature("a: exec e2 was answered"));
        assert_ne!(signature("a: start e2 was answered"), signature("a: start was answered"));
    }
}
