//! The page of one check that is not simply held: what was owed, what happened, the timeline, and how to see it again.

use std::fmt::Write as _;

use super::{Outcome, Run, Theme, rerun, style};
use crate::{
    check::{Verdict, Violation},
    history::{History, VIOLATION_SEEN, What},
    lab::Ending,
};

/// Records of the timeline that a page shows before and after the cut, when it is not asked for all.
const SHOWN: (usize, usize) = (8, 32);
/// How much of a line of a log is shown.
const LINE_CHARS: usize = 200;
/// Lines of the shim's log that a page shows.
const LOG_LINES: usize = 12;
/// Lines of the diagnosis that a page shows.
const DIAGNOSIS_LINES: usize = 60;

/// The whole page, ending in a newline; with `full`, nothing of timeline, log and diagnosis is cut.
pub fn page(outcome: &Outcome, run: &Run, theme: Theme, full: bool) -> String {
    let mut text = headline(outcome, theme);
    text.push('\n');
    duty(&mut text, outcome, theme);
    match (outcome.ending.verdict.violation(), outcome.reason()) {
        (Some(violation), _) => tell(&mut text, violation),
        (None, Some(reason)) => line(&mut text, reason),
        (None, None) => {}
    }
    if let Verdict::Waived { reason } = &outcome.verdict {
        line(&mut text, &style::yellow(&format!("waived: {reason}")));
    }
    if let Some(expired) = &outcome.expired {
        line(&mut text, &style::yellow(&format!("the row of the expectations file {expired}")));
    }
    if outcome.unexpected.is_some() {
        line(&mut text, "the expectations file says that it is always violated: remove its row");
    }
    text.push_str(&observed(&outcome.ending, theme, full));
    line(&mut text, &format!("{}  {}", style::dim("rerun"), rerun(run, outcome.check)));
    text
}

/// Everything that was observed: timeline, log and diagnosis, not cut with `full`.
pub fn observed(ending: &Ending, theme: Theme, full: bool) -> String {
    let mut text = String::new();
    timeline(&mut text, &ending.history, theme, full);
    tail(&mut text, "log of the shim", &ending.log, LOG_LINES, full);
    if let Some(diagnosis) = &ending.diagnosis {
        tail(&mut text, "diagnosis", diagnosis, DIAGNOSIS_LINES, full);
    }
    text
}

/// What was observed of a life that is no check's.
pub fn timeline_of(history: &History, log: &str, theme: Theme, full: bool) -> String {
    let mut text = String::new();
    timeline(&mut text, history, theme, full);
    tail(&mut text, "log of the shim", log, LOG_LINES, full);
    text
}

/// Symbol, verdict, level and tier, clause, check and time.
pub(super) fn headline(outcome: &Outcome, theme: Theme) -> String {
    let clause = outcome.clause();
    let verdict = outcome.verdict.word();
    let (symbol, word) = match outcome.unexpected {
        Some(_) => (style::red(theme.pick("✖", "XX")), style::red("UNEXPECTEDLY HELD")),
        None => (theme.painted(verdict), style::paint(style::of(verdict), &verdict.as_str().to_uppercase())),
    };
    format!(
        "{symbol} {word}  {}/{}  {}  {}  {:.0} ms",
        clause.level,
        clause.tier,
        clause.id,
        style::bold(outcome.check.id),
        outcome.ms()
    )
}

fn duty(text: &mut String, outcome: &Outcome, theme: Theme) {
    let clause = outcome.clause();
    let (open, close) = (theme.pick("“", "\""), theme.pick("”", "\""));
    line(text, &format!("{open}{}{close}  {}", clause.says, style::dim(clause.at)));
    line(text, &style::dim(clause.why));
}

fn tell(text: &mut String, violation: &Violation) {
    line(text, &style::bold(&violation.happened));
    line(text, &format!("  expected  {}", violation.expected));
    line(text, &format!("  actual    {}", violation.actual));
}

fn timeline(text: &mut String, history: &History, theme: Theme, full: bool) {
    let records = &history.records;
    let Some(first) = records.first() else { return };
    let (head, rest) = SHOWN;
    let seen = records.iter().position(|record| matches!(&record.what, What::Note(note) if note == VIOLATION_SEEN));
    // What came after the violation was seen is only the world being taken down.
    let last = if full { records.len() } else { seen.map_or(records.len(), |seen| seen + 1) };
    let cut = if full || last <= head + rest { head..head } else { head..last - rest };
    for (number, record) in records[..last].iter().enumerate() {
        if cut.contains(&number) {
            if number == cut.start {
                line(text, &style::dim(&format!("  ... {} records more; -v shows them", cut.len())));
            }
            continue;
        }
        let mark = if Some(number) == seen { style::red(theme.pick(" ◀", " <<<")) } else { String::new() };
        let at = style::dim(&format!("+{:8.1} ms", record.at.ms_since(first.at)));
        line(text, &format!("  {at}  {}{mark}", sentence(&record.what, history, number, theme)));
    }
}

/// A record in words; an answer names the call that it answers.
pub(super) fn sentence(what: &What, history: &History, number: usize, theme: Theme) -> String {
    if let What::Invoke { id, call } = what {
        return format!("{} #{id} {call}", theme.pick("→", "->"));
    }
    if let What::Return { id, answer } = what {
        let before = history.records[..number].iter().rev();
        let method = before.filter_map(|record| invoked(&record.what, *id)).next().unwrap_or("?");
        return format!("{} #{id} {method}: {answer}", theme.pick("←", "<-"));
    }
    if let What::Event(event) = what {
        return format!("{} {event}", theme.pick("◆", "ev"));
    }
    what.to_string()
}

/// The method of the call with this number, if that is what was recorded.
fn invoked(what: &What, number: u64) -> Option<&'static str> {
    if let What::Invoke { id, call } = what
        && *id == number
    {
        return Some(call.method.name());
    }
    None
}

/// The last lines of a text under a heading.
fn tail(text: &mut String, heading: &str, body: &str, lines: usize, full: bool) {
    let all: Vec<&str> = body.lines().collect();
    if all.is_empty() {
        return;
    }
    let skipped = if full { 0 } else { all.len().saturating_sub(lines) };
    let cut = match skipped {
        0 => String::new(),
        skipped => format!(" ({skipped} lines more; -v shows them)"),
    };
    line(text, &style::dim(&format!("{heading}{cut}:")));
    for shown in &all[skipped..] {
        line(text, &format!("  {}", if full { shown.to_string() } else { shortened(shown) }));
    }
}

/// The beginning of a line that would fill the screen: some shims log whole messages.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line.to_owned(),
    }
}

fn line(text: &mut String, content: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "  {content}");
}
