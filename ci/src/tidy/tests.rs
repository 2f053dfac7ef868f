//! Each rule finds what it is for, and leaves alone what it is not for.

use super::*;
use crate::workspace::{Dependency, Target};

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

fn package(name: &str, dependencies: &[&str]) -> Package {
    let dependencies = dependencies.iter().map(|&name| Dependency { name: name.to_owned() }).collect();
    let targets = vec![Target { src_path: format!("/w/{name}/src/main.rs").into() }];
    Package { name: name.to_owned(), manifest_path: format!("/w/{name}/Cargo.toml").into(), dependencies, targets }
}

#[test]
fn the_suite_may_use_the_injector_and_nobody_else_of_ours() {
    assert_eq!(edges(&[package("conformance", &["fault-injector", "clap"])]), [""; 0]);
    let findings = edges(&[package("conformance", &["reference-shim"]), package("new", &[])]);
    assert_eq!(findings[0], "conformance: must not depend on reference-shim");
    assert!(findings[1].starts_with("new: a crate that EDGES"), "{findings:?}");
}

#[test]
fn strays_at_the_top_are_found() {
    let names = ["Cargo.toml", ".ci", "ci", "notes.txt"].map(str::to_owned);
    assert_eq!(top_level(&names), ["notes.txt: does not belong at the top level"]);
}

#[test]
fn sleeping_is_found_with_its_line() {
    let text = format!("//! Doc.\nfn f() {{\n    std::{}(D);\n}}\n", ["thread::", "sleep"].concat());
    let found = sleeps(&file("a/src/main.rs", &text));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("a/src/main.rs:3: "), "{found:?}");
    assert_eq!(sleeps(&file(SLEEPERS[0].0, &text)), [""; 0]);
}

#[test]
fn an_excuse_that_is_not_needed_is_found() {
    let found = stale_sleepers(&[file(SLEEPERS[0].0, "//! Awake.\n")]);
    assert!(found[0].contains("sleeps no more"), "{found:?}");
}

#[test]
fn unfinished_work_is_found_in_any_written_file() {
    let text = format!("name: x\n# {}: later\n", ["TO", "DO"].concat());
    assert!(unfinished(&file(".github/workflows/ci.yml", &text))[0].starts_with(".github/workflows/ci.yml:2: "));
    assert_eq!(unfinished(&file("README.md", "to do is not the word\n")), [""; 0]);
}

#[test]
fn a_file_says_what_it_is_for() {
    assert!(module_doc(&file("a/src/b.rs", "use std::fs;\n")).is_some());
    assert_eq!(module_doc(&file("a/src/b.rs", "//! Files.\n")), None);
    assert_eq!(module_doc(&file("a/b.toml", "")), None);
}

#[test]
fn unsafe_is_let_in_by_one_door() {
    let expect = format!("#[expect({}, reason = \"system calls\")]\n", ["unsafe", "_code"].concat());
    assert_eq!(unsafe_door(&file("a/src/lib.rs", &format!("{expect}pub(crate) mod sys;\n"))), [""; 0]);
    assert_eq!(unsafe_door(&file("a/src/lib.rs", &format!("{expect}mod fast;\n"))).len(), 1);
}

#[test]
fn a_file_that_nobody_declares_is_dead() {
    let files = [
        file("a/src/main.rs", "//! A.\nmod b;\npub(crate) mod c;\n#[path = \"odd/name.rs\"]\nmod e;\n"),
        file("a/src/b.rs", "//! B.\n#[cfg(test)]\nmod tests;\n"),
        file("a/src/b/tests.rs", "//! Tests.\n"),
        file("a/src/b/forgotten.rs", "//! Forgotten.\n"),
        file("a/src/c/mod.rs", "//! C.\npub(super) mod d;\n"),
        file("a/src/c/d.rs", "//! D.\n"),
        file("a/src/odd/name.rs", "//! E.\n"),
        file("a/src/lonely.rs", "//! Lonely.\n// mod lonely is declared nowhere\n"),
    ];
    let found = dead_files(Path::new("/w"), &[package("a", &[])], &files);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("a/src/b/forgotten.rs: "), "{found:?}");
    assert!(found[1].starts_with("a/src/lonely.rs: "), "{found:?}");
}

#[test]
fn declarations_are_told_from_prose() {
    assert_eq!(declared("mod a;"), Some("a"));
    assert_eq!(declared("pub(in crate::x) mod a_1;"), Some("a_1"));
    assert_eq!(declared("#[cfg(test)] mod tests;"), Some("tests"));
    assert_eq!(declared("// the mod a;"), None);
    assert_eq!(declared("mod a {"), None);
}
