//! A sweep in rows: phase by phase and call by call, and then everything that is not held.

use std::fmt::Write as _;

use serde::Serialize;

use super::sweep::{Outcome, Visited};

/// How many visits ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Kept every duty.
    pub held: usize,
    /// Broke one.
    pub violated: usize,
    /// Showed nothing.
    pub not_reached: usize,
    /// Failed in the suite itself.
    pub error: usize,
}

impl Counts {
    /// Of these.
    pub fn of<'a>(visited: impl IntoIterator<Item = &'a Visited>) -> Self {
        let mut counts = Self::default();
        for one in visited {
            match one.outcome {
                Outcome::Held => counts.held += 1,
                Outcome::Violated => counts.violated += 1,
                Outcome::NotReached => counts.not_reached += 1,
                Outcome::Error => counts.error += 1,
            }
        }
        counts
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.held + self.violated + self.not_reached + self.error
    }
}

/// The table, a row for each phase and call in the order in which they were visited; what did not happen is a dot.
pub fn table(visited: &[Visited]) -> String {
    let mut rows: Vec<((&str, &str), Vec<&Visited>)> = Vec::new();
    for one in visited {
        let key = (one.visit.point.phase.as_str(), one.visit.point.call.as_str());
        match rows.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(one),
            None => rows.push((key, vec![one])),
        }
    }
    // Threads interleave, so the first sight of a phase is what orders it.
    let mut phases: Vec<&str> = Vec::new();
    for ((phase, _), _) in &rows {
        if !phases.contains(phase) {
            phases.push(phase);
        }
    }
    rows.sort_by_key(|((phase, _), _)| phases.iter().position(|known| known == phase));
    let mut text = String::new();
    let mut line = |phase: &str, call: &str, cells: [String; 5]| {
        let [points, held, violated, not_reached, error] = cells;
        // Writing to a string cannot fail.
        _ = writeln!(text, "{phase:14} {call:18} {points:>6} {held:>6} {violated:>9} {not_reached:>12} {error:>6}");
    };
    line("PHASE", "CALL", ["POINTS", "HELD", "VIOLATED", "NOT REACHED", "ERROR"].map(str::to_owned));
    for ((phase, call), members) in &rows {
        line(phase, call, cells(Counts::of(members.iter().copied())));
    }
    line("all", "", cells(Counts::of(visited)));
    text
}

fn cells(counts: Counts) -> [String; 5] {
    let cell = |count: usize| if count == 0 { ".".to_owned() } else { count.to_string() };
    [counts.total(), counts.held, counts.violated, counts.not_reached, counts.error].map(cell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crash_points::Visit, history::History};

    fn visited(point: &str, outcome: Outcome) -> Visited {
        Visited {
            visit: Visit { fault: "syscall/kill".to_owned(), point: point.parse().unwrap() },
            outcome,
            reason: String::new(),
            remarks: Vec::new(),
            ms: 1.0,
            history: History::default(),
            log: String::new(),
        }
    }

    #[test]
    fn rows_are_told_by_phase_and_call() {
        let all = [
            visited("start listen #1", Outcome::Held),
            visited("create mkdirat /a #1", Outcome::Held),
            visited("start listen #2", Outcome::Violated),
            visited("create mkdirat /b #1", Outcome::NotReached),
        ];
        let table = table(&all);
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["start", "listen", "2", "1", "1", ".", "."]);
        assert_eq!(words[2], ["create", "mkdirat", "2", "1", ".", "1", "."]);
        assert_eq!(words[3], ["all", "4", "2", "1", "1", "."]);
    }
}
