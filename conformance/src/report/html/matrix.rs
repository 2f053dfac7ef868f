//! Checks down, runs across.

use maud::{Markup, html};

use super::{anchor, class, letter, name, symbol};
use crate::report::{Document, Line, Row, side_by_side};

/// The table, and the choice of its rows.
pub(super) fn matrix(documents: &[Document]) -> Markup {
    let rows = side_by_side(documents);
    html! {
        fieldset.filters hidden {
            legend { "rows" }
            label { input type="radio" name="rows" value="all" checked; " all (" (rows.len()) ")" }
            label { input type="radio" name="rows" value="odd"; " not held by all" }
            @if documents.len() > 1 { label { input type="radio" name="rows" value="differ"; " that differ" } }
            label { "find " input type="search" name="find" placeholder="exec/ or task/wait"; }
        }
        table.matrix {
            thead { tr {
                th scope="col" { "check" }
                th scope="col" { "clause" }
                th scope="col" { "level" }
                @for (column, document) in documents.iter().enumerate() {
                    th scope="col" title={ (name(document)) " with " (document.engine) } { (letter(column)) }
                }
            } }
            @for (subject, rows) in by_subject(&rows) {
                tbody {
                    tr.subject { th colspan=(3 + documents.len()) scope="rowgroup" { (subject) } }
                    @for line in rows { (row(line)) }
                }
            }
        }
    }
}

/// Lines under the part of their id before the slash.
fn by_subject<'l, 'd>(lines: &'l [Line<'d>]) -> Vec<(&'d str, Vec<&'l Line<'d>>)> {
    let mut subjects: Vec<(&str, Vec<&Line<'_>>)> = Vec::new();
    for line in lines {
        let subject = line.id.split('/').next().unwrap_or_default();
        match subjects.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, lines)) => lines.push(line),
            None => subjects.push((subject, vec![line])),
        }
    }
    subjects
}

fn row(line: &Line<'_>) -> Markup {
    let first = line.cells.iter().flatten().next();
    html! {
        tr.check data-id=(line.id) data-odd[!line.is_held_by_all()] data-differ[line.differs()] {
            th scope="row" { code { (line.id) } }
            td { @if let Some(row) = first { code { (row.clause) } } }
            td { @if let Some(row) = first { (row.level) } }
            @for (column, cell) in line.cells.iter().enumerate() { (self::cell(column, *cell)) }
        }
    }
}

fn cell(column: usize, row: Option<&Row>) -> Markup {
    let Some(row) = row else { return html! { td.absent title="not selected" { "·" } } };
    let (class, symbol) = (class(row), symbol(row));
    html! {
        td class=(class) title=(class) {
            @if row.is_simply_held() { (symbol) }
            @else { a href={ "#" (anchor(column, row)) } aria-label=(class) { (symbol) } }
        }
    }
}
