//! Runs as one page: what may be claimed, a matrix of checks and shims, and a section for everything that is not simply held.
//!
//! The page is a single file without anything from elsewhere, and is whole without its script; the script only filters rows.

mod finding;
mod matrix;

use std::io::Write;

use anyhow::{Context as _, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Document, Event, Renderer, Row, Run, Theme};
use crate::{claim::Conformity, history::Moment};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes the page at the end of the run.
pub(super) struct Html {
    sink: Box<dyn Write>,
}

impl Html {
    /// Into `sink`.
    pub(super) fn new(sink: Box<dyn Write>) -> Self {
        Self { sink }
    }
}

impl Renderer for Html {
    fn handle(&mut self, run: &Run, event: &Event<'_>, _now: Moment) -> Result<()> {
        let Event::Over(summary) = event else { return Ok(()) };
        let page = html(&[Document::of(run, summary)?]);
        self.sink.write_all(page.as_bytes()).and_then(|()| self.sink.flush()).context("write the html report")
    }
}

/// The page of these runs, a column each.
pub fn html(documents: &[Document]) -> String {
    let title = match documents {
        [only] => format!("{} · {}", name(only), claim(only.result).1),
        _ => format!("{} runs", documents.len()),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "shim conformance: " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "containerd shim conformance" }
                div.cards { @for (column, document) in documents.iter().enumerate() { (card(column, document)) } }
                (matrix::matrix(documents))
                (finding::findings(documents))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The shim's file name.
fn name(document: &Document) -> &str {
    document.shim.path.rsplit('/').next().unwrap_or(&document.shim.path)
}

/// The class of a claim, and its words.
const fn claim(claim: Conformity) -> (&'static str, &'static str) {
    match claim {
        Conformity::Conformant => ("held", "conformant"),
        Conformity::NotConformant => ("violated", "not conformant"),
        Conformity::Incomplete => ("skipped", "incomplete"),
    }
}

/// What one run comes to.
fn card(column: usize, document: &Document) -> Markup {
    let (class, words) = claim(document.result);
    let counts = document.summary.counts;
    let counted = [
        ("held", counts.held),
        ("violated", counts.violated),
        ("waived", counts.waived),
        ("skipped", counts.skipped),
        ("inconclusive", counts.inconclusive),
        ("error", counts.error),
        ("unexpected", counts.unexpected),
    ];
    html! {
        section.card {
            h2 { span.column { (letter(column)) } " " (name(document)) }
            p.claim { span class=(class) { (words) } " to " (document.claim.profile) }
            (musts(document))
            p { @for (word, count) in counted.into_iter().filter(|(_, count)| *count > 0) {
                span class={ "count " (word) } { (count) " " (word) } " "
            } }
            dl {
                @if let Some(version) = &document.shim.version { dt { "version" } dd { (version) } }
                dt { "path" } dd { code { (document.shim.path) } }
                dt { "sha256" } dd { code { (document.shim.sha256) } }
                dt { "runtime" } dd { (document.engine) }
                dt { "containerd played" } dd { (document.profile) }
                dt { "seed" } dd { code { (format!("{:#x}", document.seed)) } }
                dt { "time" } dd { (format!("{:.1} s", seconds(document.summary.wall_ms))) }
            }
        }
    }
}

/// The MUSTs that stand in the way of the claim, or must be named beside it.
fn musts(document: &Document) -> Markup {
    let claim = &document.claim;
    html! {
        p { "MUST: " span.held { (claim.held.len()) " held" }
            @for (word, ids) in claim.named().into_iter().filter(|(_, ids)| !ids.is_empty()) {
                ", " span class=(word) title=(ids.join("\n")) { (ids.len()) " " (word) }
            }
        }
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of a run fit 53 bits")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// What a column is called where its name is too long: A, B, ... Z, 27.
fn letter(column: usize) -> String {
    match u8::try_from(column) {
        Ok(number) if number < 26 => char::from(b'A' + number).to_string(),
        _ => (column + 1).to_string(),
    }
}

/// Where the section of this row is found.
fn anchor(column: usize, row: &Row) -> String {
    format!("{}-{}", letter(column), row.id.replace('/', "-"))
}

/// The class of a row.
fn class(row: &Row) -> &'static str {
    if row.unexpected { "unexpected" } else { row.verdict.as_str() }
}

/// What stands in its cell.
fn symbol(row: &Row) -> &'static str {
    if row.unexpected { "✖" } else { Theme::UNICODE.symbol(row.verdict) }
}

#[cfg(test)]
mod tests;
