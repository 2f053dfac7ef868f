//! `cargo ci tidy`: what the compiler's lints cannot say about this workspace.
//!
//! The rules are functions of paths and texts; only [`run`] and the functions it calls for reading touch the disk.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::workspace::{self, Package};

/// Which of our crates a crate may depend on, for any purpose. What is absent is the point: the suite must meet every
/// shim as a path, and must share no code with the one we wrote.
const EDGES: &[(&str, &[&str])] =
    &[("ci", &[]), ("conformance", &["fault-injector"]), ("fault-injector", &[]), ("reference-shim", &[])];

/// What may lie at the top, besides dotfiles.
const TOP_LEVEL: &[&str] = &[
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "ci",
    "conformance",
    "fault-injector",
    "reference-shim",
    "target",
];

/// The files that may let time pass, and why no condition can be waited for there.
const SLEEPERS: &[(&str, &str)] = &[
    ("ci/src/deadline.rs", "the pause between two looks at a condition that has no event"),
    ("conformance/src/lab/deadline.rs", "the same"),
    ("reference-shim/src/supervisor/mod.rs", "its timers are events of its loop, as what they wait for may never come"),
    ("reference-shim/tests/harness/mod.rs", "the pause between two looks at a condition that has no event"),
];

/// The calls that let time pass, in two parts, so that this file does not find itself.
const SLEEPS: &[(&str, &str)] = &[("thread::", "sleep"), ("time::", "sleep")];

/// Words that announce work not done, in two parts for the same reason.
const UNFINISHED: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("#[ig", "nore")];

/// Endings of the files that people write here.
const WRITTEN: &[&str] = &["Dockerfile", "md", "rs", "run", "toml", "yml"];

pub(crate) fn run() -> Result<ExitCode> {
    let root = workspace::root()?;
    let packages = workspace::packages()?;
    let files = read(&root)?;
    let mut findings = edges(&packages);
    findings.extend(top_level(&names(&root)?));
    findings.extend(dead_files(&root, &packages, &files));
    findings.extend(stale_sleepers(&files));
    for file in &files {
        findings.extend(sleeps(file));
        findings.extend(unfinished(file));
        findings.extend(module_doc(file));
        findings.extend(unsafe_door(file));
    }
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", files.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file of the workspace: its path from the top, and its text.
#[derive(Debug)]
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines from 1, with those that mention `pattern`.
    fn lines_with<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.text.lines().enumerate().filter(move |(_, line)| line.contains(pattern)).map(|(index, _)| index + 1)
    }
}

/// Crates depend on each other only as [`EDGES`] says.
fn edges(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!("{}: a crate that EDGES in ci/src/tidy.rs does not name", package.name));
            continue;
        };
        let ours =
            package.dependencies.iter().filter(|dependency| EDGES.iter().any(|(ours, _)| *ours == dependency.name));
        for dependency in ours.filter(|dependency| !allowed.contains(&dependency.name.as_str())) {
            findings.push(format!("{}: must not depend on {}", package.name, dependency.name));
        }
    }
    findings
}

/// Nothing lies at the top that [`TOP_LEVEL`] does not name.
fn top_level(names: &[String]) -> Vec<String> {
    let strays = names.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    strays.map(|name| format!("{name}: does not belong at the top level")).collect()
}

/// Nothing sleeps outside [`SLEEPERS`].
fn sleeps(file: &File) -> Vec<String> {
    if !file.is_rust() || SLEEPERS.iter().any(|(path, _)| *path == file.path) {
        return Vec::new();
    }
    let found = SLEEPS.iter().flat_map(|(head, tail)| {
        let call = format!("{head}{tail}");
        file.lines_with(&call)
            .map(|line| format!("{}:{line}: {call}: wait for a condition", file.path))
            .collect::<Vec<_>>()
    });
    found.collect()
}

/// Every file that [`SLEEPERS`] excuses still needs the excuse.
fn stale_sleepers(files: &[File]) -> Vec<String> {
    let needs_it = |path: &str| {
        let file = files.iter().find(|file| file.path == path);
        file.is_some_and(|file| SLEEPS.iter().any(|(head, tail)| file.text.contains(&format!("{head}{tail}"))))
    };
    let stale = SLEEPERS.iter().filter(|(path, _)| !needs_it(path));
    stale.map(|(path, _)| format!("{path}: sleeps no more: take it out of SLEEPERS in ci/src/tidy.rs")).collect()
}

/// No file announces work that was left undone.
fn unfinished(file: &File) -> Vec<String> {
    let found = UNFINISHED.iter().flat_map(|(head, tail)| {
        let word = format!("{head}{tail}");
        file.lines_with(&word).map(|line| format!("{}:{line}: {word}: finish it", file.path)).collect::<Vec<_>>()
    });
    found.collect()
}

/// Every Rust file begins by saying what it is for.
fn module_doc(file: &File) -> Option<String> {
    let lacks = file.is_rust() && !file.text.starts_with("//! ");
    lacks.then(|| format!("{}:1: does not begin with a `//!` comment that says what the file is for", file.path))
}

/// The lint against unsafe code is lifted for a module named `sys` only.
fn unsafe_door(file: &File) -> Vec<String> {
    let lint = ["unsafe", "_code"].concat();
    let mut findings = Vec::new();
    for line in file.lines_with(&format!("expect({lint}")).chain(file.lines_with(&format!("allow({lint}"))) {
        let item = file.text.lines().skip(line).find(|line| !line.trim_start().starts_with("//"));
        if file.is_rust() && !item.is_some_and(|item| item.trim_end().ends_with("mod sys;")) {
            findings.push(format!("{}:{line}: {lint} may be expected for `mod sys;` only", file.path));
        }
    }
    findings
}

/// Every Rust file below a crate is reached from something that cargo builds; rustc says nothing about the others.
fn dead_files(root: &Path, packages: &[Package], files: &[File]) -> Vec<String> {
    let path_of = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let mut alive = BTreeSet::new();
    for target in packages.iter().flat_map(|package| &package.targets) {
        reach(&path_of(&target.src_path), true, files, &mut alive);
    }
    let folders: Vec<String> =
        packages.iter().filter_map(|package| Some(path_of(package.manifest_path.parent()?) + "/")).collect();
    let ours = files.iter().filter(|file| file.is_rust() && folders.iter().any(|folder| file.path.starts_with(folder)));
    let dead = ours.filter(|file| !alive.contains(&file.path));
    dead.map(|file| format!("{}: no `mod` declares this file", file.path)).collect()
}

/// Marks the file at `path`, and all that it declares, as alive. A root holds its modules beside itself, as `mod.rs` does.
fn reach(path: &str, is_root: bool, files: &[File], alive: &mut BTreeSet<String>) {
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return;
    };
    if !alive.insert(path.to_owned()) {
        return;
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let home = if is_root || name == "mod.rs" { folder.to_owned() } else { path.trim_end_matches(".rs").to_owned() };
    let mut path_attribute = None;
    for line in file.text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path_attribute = rest.split('"').next();
        } else if let Some(module) = declared(line) {
            match path_attribute.take() {
                Some(written) => reach(&format!("{folder}/{written}"), true, files, alive),
                None => {
                    reach(&format!("{home}/{module}.rs"), false, files, alive);
                    reach(&format!("{home}/{module}/mod.rs"), false, files, alive);
                }
            }
        }
    }
}

/// The module that a line such as `pub(crate) mod name;` declares.
fn declared(line: &str) -> Option<&str> {
    let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let is_visibility =
        before.is_empty() || before.ends_with(' ') && (before.starts_with("pub") || before.starts_with("#["));
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_visibility && is_name).then_some(name)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The written files of the workspace, in the order of their paths.
fn read(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for name in names(&root.join(&folder))? {
            let path = folder.join(&name);
            let kind =
                fs::symlink_metadata(root.join(&path)).with_context(|| format!("cannot look at {}", path.display()))?;
            if kind.is_dir() && name != ".git" && name != "target" {
                folders.push(path);
            } else if kind.is_file() && WRITTEN.contains(&name.rsplit('.').next().unwrap_or(&name)) {
                let text =
                    fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
                files.push(File { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

#[cfg(test)]
mod tests;
