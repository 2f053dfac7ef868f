//! `conformance compare`: several runs side by side.

use std::{fs, path::Path, process::ExitCode};

use super::{args::Compare, say};
use crate::{
    exit_code::Failure,
    report::{self, Document, Row, SCHEMA, Theme, side_by_side},
};

/// Reads the reports, prints what differs, and writes the page.
pub(super) fn compare(options: &Compare) -> Result<ExitCode, Failure> {
    let documents = options.reports.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &options.html {
        fs::write(path, report::html(&documents))
            .map_err(|e| Failure::Usage(format!("page {}: {e}", path.display())))?;
    }
    say(&table(&documents, options.all, Theme::of_environment()))?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Document, Failure> {
    let wrong = |what: String| Failure::Usage(format!("report {}: {what}", path.display()));
    let text = fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let document: Document = serde_json::from_slice(&text)
        .map_err(|e| wrong(format!("{e}\n  name what `conformance run --report json=PATH` wrote")))?;
    if document.schema != SCHEMA {
        return Err(wrong(format!("schema {:?} where {SCHEMA:?} belongs", document.schema)));
    }
    Ok(document)
}

/// An unexpected pass is as red as a violation.
fn symbol(row: &Row, theme: Theme) -> String {
    if row.unexpected { theme.bad() } else { theme.painted(row.verdict) }
}

/// A legend of the runs, and a line for each check.
fn table(documents: &[Document], all: bool, theme: Theme) -> String {
    let mut text = String::new();
    for (number, document) in documents.iter().enumerate() {
        let Document { shim, engine, profile, summary, .. } = document;
        text.push_str(&format!(
            "{:>3}  {}  engine {engine}  profile {profile}  {}  held {} of {}\n",
            number + 1,
            shim.path,
            document.result,
            summary.counts.held,
            document.checks.len()
        ));
    }
    text.push('\n');
    let mut hidden = 0;
    for line in side_by_side(documents) {
        if !all && line.is_held_by_all() {
            hidden += 1;
            continue;
        }
        for cell in &line.cells {
            text.push_str(&cell.map_or_else(|| theme.skipped(), |row| symbol(row, theme)));
            text.push(' ');
        }
        text.push_str(&format!(" {}\n", line.id));
    }
    if hidden > 0 {
        text.push_str(&format!("{hidden} checks are held by all; --all shows them\n"));
    }
    text
}
