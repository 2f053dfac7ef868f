//! `conformance list`: the catalogue, for people, shells and programs.

use std::{fmt::Write as _, process::ExitCode};

use serde_json::json;

use super::{
    args::{Format, List},
    faults, requirements, run, say,
};
use crate::{
    check::{Body, Check},
    exit_code::Failure,
    select,
};

/// Lists what is selected.
pub(super) fn list(options: &List) -> Result<ExitCode, Failure> {
    let selection = run::selection(options.selection.clone());
    if selection != select::Selection::default() && (options.faults || options.format == Format::Markdown) {
        let what = if options.faults { "--faults" } else { "--format markdown" };
        return Err(Failure::Usage(format!("{what} lists everything: leave out patterns, --level and --tier")));
    }
    let text = if options.faults {
        faults::list(options.format)
    } else if options.requirements {
        requirements::list(&select::clauses(&selection)?, options.format)
    } else {
        let checks = select::select(&selection)?;
        match options.format {
            Format::Table => table(&checks),
            Format::Terse => checks.iter().map(|check| format!("{}\n", check.id)).collect(),
            Format::Json => format!("{:#}\n", checks.iter().map(|c| check_json(c)).collect::<serde_json::Value>()),
            Format::Markdown => requirements::catalogue(),
        }
    };
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn kind(check: &Check) -> &'static str {
    match check.body {
        Body::Example(_) => "example",
        Body::Property(_) => "property",
    }
}

fn table(checks: &[&Check]) -> String {
    let rows = checks.iter().map(|check| {
        let clause = check.clause;
        [
            check.id.to_owned(),
            clause.level.to_string(),
            clause.tier.to_string(),
            kind(check).to_owned(),
            clause.says.to_owned(),
        ]
    });
    columns(["CHECK", "LEVEL", "TIER", "KIND", "DUTY"], rows)
}

/// Left-aligned columns; the last one is not padded.
pub(super) fn columns<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row[..N - 1].iter().zip(&widths) {
            // Writing to a string cannot fail.
            _ = write!(text, "{cell:width$}  ");
        }
        text.push_str(&row[N - 1]);
        text.push('\n');
    }
    text
}

fn check_json(check: &Check) -> serde_json::Value {
    json!({
        "id": check.id,
        "kind": kind(check),
        "clause": check.clause.id,
        "level": check.clause.level,
        "tier": check.clause.tier,
        "needs": check.needs.iter().map(|need| format!("{need:?}")).collect::<Vec<_>>(),
        "notices": check.notices.iter().map(|lie| format!("{lie:?}")).collect::<Vec<_>>(),
    })
}
