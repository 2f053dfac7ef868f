//! One section for each check that is not simply held: duty, what happened, timeline, how to see it again.

use maud::{Markup, html};

use super::{anchor, class, letter, name, symbol};
use crate::{
    check::Word,
    contract,
    history::{History, VIOLATION_SEEN, What},
    report::{Document, Row, Theme, page::sentence},
};

/// Every section, those of one run together.
pub(super) fn findings(documents: &[Document]) -> Markup {
    html! {
        @for (column, document) in documents.iter().enumerate() {
            @let rows: Vec<&Row> = document.checks.iter().filter(|row| !row.is_simply_held()).collect();
            @if !rows.is_empty() {
                h2 { span.column { (letter(column)) } " " (name(document)) " with " (document.engine) }
                @for row in rows { (finding(column, row)) }
            }
        }
    }
}

fn finding(column: usize, row: &Row) -> Markup {
    let (class, symbol) = (class(row), symbol(row));
    let is_red = row.unexpected || matches!(row.verdict, Word::Violated | Word::Error);
    html! {
        details.finding id=(anchor(column, row)) open[is_red] {
            summary {
                span class=(class) { (symbol) " " (class) } " "
                span.level { (row.level) "/" (row.tier) } " " code { (row.id) } " "
                span.ms { (format!("{:.0} ms", row.ms)) }
            }
            (duty(row))
            @if let Some(reason) = &row.reason { p.reason { (reason) } }
            @if let Some(violation) = &row.violation {
                p.happened { (violation.happened) }
                dl {
                    dt { "expected" } dd { (violation.expected) }
                    dt { "actual" } dd { (violation.actual) }
                }
            }
            @if let Some(history) = &row.history { (timeline(history)) }
            (text("log of the shim", &row.log))
            (text("diagnosis", row.diagnosis.as_deref().unwrap_or_default()))
            p { "see it again" } pre { (row.rerun) }
        }
    }
}

/// The clause, when this suite knows it.
fn duty(row: &Row) -> Markup {
    let clause = contract::all().find(|clause| clause.id == row.clause);
    html! {
        @if let Some(clause) = clause {
            blockquote {
                p { (clause.says) }
                footer { code { (clause.id) } " · " (clause.at) }
            }
            p.why { (clause.why) }
        } @else { p { code { (row.clause) } } }
    }
}

/// What was observed, up to where the violation was seen; the rest is only the world being taken down.
fn timeline(history: &History) -> Markup {
    let records = &history.records;
    let Some(first) = records.first() else { return html! {} };
    let seen = records.iter().position(|record| matches!(&record.what, What::Note(note) if note == VIOLATION_SEEN));
    html! {
        details { summary { "timeline, " (records.len()) " records" }
            ol.timeline { @for (number, record) in records.iter().enumerate() {
                li class=(if seen == Some(number) { "seen" } else if seen.is_some_and(|seen| number > seen) { "after" } else { "" }) {
                    time { (format!("+{:.1} ms", record.at.ms_since(first.at))) }
                    (sentence(&record.what, history, number, Theme::UNICODE))
                }
            } }
        }
    }
}

fn text(heading: &str, body: &str) -> Markup {
    html! { @if !body.is_empty() { details { summary { (heading) } pre { (body) } } } }
}
