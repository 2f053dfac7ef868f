//! The lists against each other: what is written somewhere is found everywhere.

use std::{collections::BTreeSet, fs, path::Path};

use conformance::{
    check::Check, checks, contract, expect::Expectations, invariant::INVARIANTS, property, script::Script,
};

fn source(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn is_slug(text: &str) -> bool {
    let sane = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    sane && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

fn is_id(id: &str) -> bool {
    id.split_once('/').is_some_and(|(subject, slug)| is_slug(subject) && is_slug(slug))
}

fn duplicates<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    ids.filter(|id| !seen.insert(*id)).collect()
}

#[test]
fn ids_are_unique_and_shaped() {
    let checks: Vec<&str> = checks::all().map(|check| check.id).collect();
    assert_eq!(duplicates(checks.iter().copied()), Vec::<&str>::new());
    assert_eq!(duplicates(contract::all().map(|clause| clause.id)), Vec::<&str>::new());
    assert_eq!(duplicates(INVARIANTS.iter().map(|i| i.id)), Vec::<&str>::new());
    let ids = checks.into_iter().chain(contract::all().map(|clause| clause.id));
    assert_eq!(ids.filter(|id| !is_id(id)).collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(INVARIANTS.iter().all(|invariant| is_slug(invariant.id)));
}

#[test]
fn every_clause_that_is_judged_is_of_the_contract() {
    let known: BTreeSet<&str> = contract::all().map(|clause| clause.id).collect();
    let of_checks = checks::all().map(|check| check.clause.id);
    let of_invariants = INVARIANTS.iter().map(|invariant| invariant.clause.id);
    for id in of_checks.chain(of_invariants) {
        assert!(known.contains(id), "{id} is in no subject's list");
    }
}

fn judged() -> BTreeSet<&'static str> {
    let of_checks = checks::all().map(|check| check.clause.id);
    of_checks.chain(INVARIANTS.iter().map(|invariant| invariant.clause.id)).collect()
}

#[test]
fn every_must_is_judged_or_excused() {
    let judged = judged();
    let idle: Vec<&str> = contract::all()
        .filter(|clause| clause.level == contract::Level::Must && clause.untestable.is_none())
        .map(|clause| clause.id)
        .filter(|id| !judged.contains(id))
        .collect();
    assert_eq!(idle, Vec::<&str>::new(), "neither a check nor an invariant judges these, and no reason is given");
}

#[test]
fn nothing_that_is_judged_is_excused() {
    let judged = judged();
    let both: Vec<&str> = contract::all()
        .filter(|clause| clause.untestable.is_some() && judged.contains(clause.id))
        .map(|clause| clause.id)
        .collect();
    assert_eq!(both, Vec::<&str>::new());
}

#[test]
fn every_clause_says_where_it_stands_and_why_it_matters() {
    for clause in contract::all() {
        for text in [clause.says, clause.at, clause.why].into_iter().chain(clause.untestable) {
            assert!(text.len() > 3, "{}: {text:?}", clause.id);
        }
        assert!(clause.since.is_none_or(|since| clause.is_asked_by(since)), "{}: since is after until", clause.id);
    }
}

#[test]
fn every_check_notices_something() {
    for Check { id, notices, .. } in checks::all() {
        assert!(!notices.is_empty(), "{id} notices nothing");
    }
}

#[test]
fn every_file_of_expectations_is_readable() {
    let mut files = 0;
    for entry in fs::read_dir(source("../ci/expected")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            Expectations::read(&path).unwrap();
            files += 1;
        }
    }
    assert!(files > 0, "there are no expectations");
}

/// The ids of a document: what stands in backticks and is shaped like one.
fn ids_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| is_id(word) && !word.starts_with("ci/"))
}

#[test]
fn every_check_that_a_list_of_bugs_names_exists() {
    for document in ["../ci/known-bugs.md", "../ci/bugs.md"] {
        let text = fs::read_to_string(source(document)).unwrap();
        let mut named = ids_in(&text).peekable();
        assert!(named.peek().is_some(), "{document} names no check");
        for id in named {
            assert!(checks::named(id).is_some(), "{document} names {id}, which is no check");
        }
    }
}

#[test]
fn every_file_of_checks_is_in_the_table() {
    let table = fs::read_to_string(source("src/checks/mod.rs")).unwrap();
    for entry in fs::read_dir(source("src/checks")).unwrap() {
        let path = entry.unwrap().path();
        let subject = path.file_stem().unwrap().to_string_lossy().into_owned();
        if subject == "mod" {
            continue;
        }
        assert!(table.contains(&format!("mod {subject};")), "{subject} is not compiled");
        // A directory puts its own tables into the list one by one.
        if path.is_dir() {
            continue;
        }
        // A file without a table of its own holds stories for the table of another.
        if fs::read_to_string(&path).unwrap().contains("const CHECKS:") {
            assert!(table.contains(&format!("{subject}::CHECKS")), "{subject} is in no table");
        }
    }
}

#[test]
fn every_script_of_the_corpus_parses_and_belongs_to_a_check() {
    for entry in fs::read_dir(source("corpus")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "script") {
            continue;
        }
        let script: Script = fs::read_to_string(&path).unwrap().parse().unwrap();
        assert!(!script.steps.is_empty(), "{} is empty", path.display());
        let wanted = checks::all().any(|check| property::replayed(check.id).contains(&script));
        assert!(wanted, "{} is replayed by no check", path.display());
    }
}
