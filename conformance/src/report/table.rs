//! Several containerds side by side: one column each.

use std::fmt::Write as _;

use super::{Counts, Outcome, Summary, style};
use crate::{check::Verdict, exit_code as codes, profile::Profile};

/// What came of the run under one containerd.
#[derive(Debug)]
pub struct Column {
    head: String,
    end: End,
}

#[derive(Debug)]
enum End {
    /// Checks ran.
    Ran(Summary),
    /// This containerd cannot use what the shim answers; at most the checks about that ran.
    NotUsable(Option<Summary>),
    /// Nothing could be judged, for this reason.
    Undecided(String),
}

impl Column {
    /// A run that has ended.
    pub fn ran(profile: Profile, summary: Summary) -> Self {
        Self { head: profile.release.to_string(), end: End::Ran(summary) }
    }

    /// A containerd that cannot use what the shim answers, and what came of the checks about that.
    pub fn not_usable(profile: Profile, summary: Option<Summary>) -> Self {
        Self { head: profile.release.to_string(), end: End::NotUsable(summary) }
    }

    /// A containerd with which nothing can be judged.
    pub fn undecided(head: String, reason: String) -> Self {
        Self { head, end: End::Undecided(reason) }
    }

    fn summary(&self) -> Option<&Summary> {
        match &self.end {
            End::Ran(summary) | End::NotUsable(Some(summary)) => Some(summary),
            End::NotUsable(None) | End::Undecided(_) => None,
        }
    }

    fn result(&self) -> String {
        match &self.end {
            End::Undecided(_) => "NOT DECIDED".to_owned(),
            End::NotUsable(_) => "NOT USABLE".to_owned(),
            End::Ran(summary) => summary.claim.conformity.to_string(),
        }
    }

    fn of(&self, id: &str) -> Option<&Outcome> {
        self.summary()?.outcomes.iter().find(|outcome| outcome.check.id == id)
    }
}

/// The table: how each run ended, the counts, and every check that did not end in the same way under all.
pub fn table(columns: &[Column]) -> String {
    let mut rows = vec![row("containerd", columns, |column| column.head.clone())];
    rows.push(row("result", columns, Column::result));
    const COUNTED: [&str; 7] = ["held", "violated", "waived", "skipped", "not applicable", "inconclusive", "error"];
    let counts: Vec<Option<[usize; 7]>> = columns.iter().map(|column| column.summary().map(counted)).collect();
    for (place, name) in COUNTED.into_iter().enumerate() {
        let cells =
            counts.iter().map(|counts| counts.map_or_else(|| "-".to_owned(), |counts| counts[place].to_string()));
        rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    rows.extend(differing(columns));
    let mut text = render(&rows);
    for column in columns {
        match &column.end {
            End::Undecided(reason) => _ = writeln!(text, "{}: {reason}", column.head),
            End::NotUsable(_) => {
                _ = writeln!(text, "{}: its answer to `start` is of no use to this containerd", column.head);
            }
            End::Ran(_) => {}
        }
    }
    text
}

/// The counts of a run, in the order of the rows.
fn counted(summary: &Summary) -> [usize; 7] {
    let Counts { held, violated, waived, skipped, not_applicable, inconclusive, error, unexpected: _ } =
        summary.counts();
    [held, violated, waived, skipped, not_applicable, inconclusive, error]
}

fn row(name: &str, columns: &[Column], cell: impl Fn(&Column) -> String) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(columns.iter().map(cell)).collect()
}

fn differing(columns: &[Column]) -> Vec<Vec<String>> {
    let mut ids: Vec<&str> = Vec::new();
    for outcome in columns.iter().filter_map(Column::summary).flat_map(|summary| &summary.outcomes) {
        if !ids.contains(&outcome.check.id) {
            ids.push(outcome.check.id);
        }
    }
    let told = |outcome: Option<&Outcome>| match outcome {
        Some(outcome) if outcome.unexpected.is_some() => "UNEXPECTED".to_owned(),
        Some(Outcome { verdict: verdict @ (Verdict::Violated { .. } | Verdict::Error { .. }), .. }) => {
            verdict.word().to_string().to_uppercase()
        }
        Some(outcome) => outcome.verdict.word().to_string(),
        None => "-".to_owned(),
    };
    let rows = ids.into_iter().map(|id| row(id, columns, |column| told(column.of(id))));
    rows.filter(|row| {
        let mut told = row[1..].iter().filter(|cell| *cell != "-");
        told.next().is_some_and(|first| told.any(|cell| cell != first))
    })
    .collect()
}

/// Left-aligned columns; the first row is the head.
fn render(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::from("\n");
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string cannot fail.
            _ = write!(line, "{cell:width$}  ");
        }
        let line = line.trim_end();
        _ = writeln!(text, "{}", if number == 0 { style::bold(line) } else { line.to_owned() });
    }
    text
}

/// The status of all runs together: the gravest, in the order in which a single run looks for them.
pub fn exit_code(columns: &[Column]) -> u8 {
    let each = || {
        columns.iter().map(|column| match &column.end {
            End::Ran(summary) | End::NotUsable(Some(summary)) => summary.exit_code(),
            // That a shim is not for every containerd is no fault of it.
            End::NotUsable(None) => codes::GREEN,
            End::Undecided(_) => codes::INCONCLUSIVE,
        })
    };
    if let Some(interrupted) = each().find(|code| [codes::INTERRUPTED, codes::TERMINATED].contains(code)) {
        return interrupted;
    }
    let grave = [codes::VIOLATED, codes::SUITE_ERROR, codes::INCONCLUSIVE, codes::GREEN, codes::HOST];
    if columns.iter().all(|column| matches!(column.end, End::NotUsable(_))) {
        // Of a shim that none of them can use nothing good can be said.
        return codes::USAGE;
    }
    grave.into_iter().find(|grave| each().any(|code| code == *grave)).unwrap_or(codes::NOTHING_SELECTED)
}
