//! A page of made-up runs.

use super::html;
use crate::{
    check::{Violation, Word},
    claim::{Claim, Conformity},
    contract::{Level, Release, Tier},
    history::History,
    report::{Counts, Document, Row, SCHEMA, Shim, Tool, Totals},
};

fn row(id: &str, verdict: Word) -> Row {
    Row {
        id: id.to_owned(),
        clause: "task/exit-status".to_owned(),
        level: Level::Must,
        tier: Tier::Client,
        verdict,
        reason: None,
        unexpected: false,
        expired: None,
        violation: None,
        ms: 1.0,
        rerun: "conformance run".to_owned(),
        diagnosis: None,
        log: String::new(),
        history: Some(History::default()),
    }
}

fn document(checks: Vec<Row>) -> Document {
    Document {
        schema: SCHEMA.to_owned(),
        suite: Tool { name: "conformance".to_owned(), version: "0".to_owned() },
        shim: Shim { path: "/opt/containerd-shim-x-v1".to_owned(), version: None, sha256: String::new() },
        engine: "ours".to_owned(),
        profile: "containerd-2.1".to_owned(),
        seed: 7,
        result: Conformity::Conformant,
        claim: Claim::of(Release::V2_1, &[]),
        exit_code: 0,
        summary: Totals { counts: Counts::default(), wall_ms: 1500, own_share: None },
        checks,
    }
}

#[test]
fn each_odd_cell_leads_to_a_section_and_no_other_does() {
    let page =
        html(&[document(vec![row("task/a", Word::Held), row("task/b", Word::Violated), row("exec/c", Word::Waived)])]);
    for id in ["A-task-b", "A-exec-c"] {
        assert!(page.contains(&format!("href=\"#{id}\"")) && page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    assert!(!page.contains("A-task-a"));
}

#[test]
fn what_a_shim_says_is_text_and_never_markup() {
    let mut row = row("task/a", Word::Violated);
    row.log = "<script>alert(1)</script>".to_owned();
    row.violation =
        Some(Violation { happened: "<b>x</b>".to_owned(), expected: "a & b".to_owned(), actual: "\"c\"".to_owned() });
    let page = html(&[document(vec![row])]);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("&lt;b&gt;x&lt;/b&gt;"));
    assert!(!page.contains("<script>alert"));
}

#[test]
fn a_check_that_only_one_run_selected_is_shown_and_differs() {
    let page = html(&[document(vec![row("task/a", Word::Held)]), document(vec![row("task/b", Word::Held)])]);
    assert_eq!(page.matches("data-differ").count(), 2);
    assert_eq!(page.matches("title=\"not selected\"").count(), 2);
}
