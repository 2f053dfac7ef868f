//! Scripts that once found something, replayed for ever.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::script::Script;

/// Every script of `corpus/`, by the name of its file: the id of its check with `-` for `/`, then something that tells it apart.
pub(super) const CORPUS: &[(&str, &str)] = &[
    ("lifecycle-any-life-delete_running.script", include_str!("../../corpus/lifecycle-any-life-delete_running.script")),
    (
        "lifecycle-any-life-signal_after_told.script",
        include_str!("../../corpus/lifecycle-any-life-signal_after_told.script"),
    ),
    (
        "lifecycle-any-life-with-containerd-deaths-delete_under_way.script",
        include_str!("../../corpus/lifecycle-any-life-with-containerd-deaths-delete_under_way.script"),
    ),
    (
        "lifecycle-any-life-with-containerd-deaths-exit_after_restart.script",
        include_str!("../../corpus/lifecycle-any-life-with-containerd-deaths-exit_after_restart.script"),
    ),
    (
        "lifecycle-any-life-with-execs-exec_after_exit.script",
        include_str!("../../corpus/lifecycle-any-life-with-execs-exec_after_exit.script"),
    ),
    (
        "lifecycle-any-life-with-execs-start_twice.script",
        include_str!("../../corpus/lifecycle-any-life-with-execs-start_twice.script"),
    ),
    (
        "lifecycle-any-life-with-process-kills-delete_added_exec.script",
        include_str!("../../corpus/lifecycle-any-life-with-process-kills-delete_added_exec.script"),
    ),
    (
        "lifecycle-any-life-with-process-kills-kill_while_dying.script",
        include_str!("../../corpus/lifecycle-any-life-with-process-kills-kill_while_dying.script"),
    ),
];

/// Where found scripts are kept, when the suite runs in its own source tree. They are not committed: what they found may be a bug of any
/// shim, and whoever thinks one worth replaying for ever gives it a name and a comment, and a row in [`CORPUS`].
const DIRECTORY: &str = "conformance/corpus/found";

/// What became of a found script.
#[derive(Debug)]
pub(super) enum Kept {
    /// It is written here.
    At(PathBuf),
    /// It was there before.
    Known(PathBuf),
    /// There is no corpus here.
    Nowhere,
    /// It could not be written.
    Failed(PathBuf, io::Error),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(path) => write!(f, "written to {}", path.display()),
            Self::Known(path) => write!(f, "known as {}", path.display()),
            Self::Nowhere => write!(f, "not kept: there is no {DIRECTORY} here"),
            Self::Failed(path, e) => write!(f, "not kept: write {}: {e}", path.display()),
        }
    }
}

/// The scripts to replay before anything is generated for `check`.
///
/// Both those that were compiled in and those that were found since; a file that does not parse is a defect of the suite that a test
/// reports.
pub fn replayed(check: &str) -> Vec<Script> {
    let compiled = CORPUS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let mut all: Vec<(String, String)> = compiled.collect();
    for (name, text) in found(Path::new(DIRECTORY)) {
        if !all.iter().any(|(known, _)| *known == name) {
            all.push((name, text));
        }
    }
    all.into_iter().filter(|(name, _)| belongs(name, check)).filter_map(|(_, text)| text.parse().ok()).collect()
}

/// The scripts in `directory`; none when there is no such directory.
fn found(directory: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found: Vec<(String, String)> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "script"))
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name, fs::read_to_string(entry.path()).ok()?))
        })
        .collect();
    found.sort();
    found
}

/// Whether the file `name` is of `check`: what follows the id holds no further `-`, so that no id is taken for the beginning of another.
fn belongs(name: &str, check: &str) -> bool {
    name.strip_prefix(&check.replace('/', "-"))
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".script"))
        .is_some_and(|rest| !rest.is_empty() && !rest.contains('-'))
}

/// Writes `script` to the corpus.
pub(super) fn keep(check: &str, script: &Script) -> Kept {
    keep_in(Path::new(DIRECTORY), check, script)
}

fn keep_in(directory: &Path, check: &str, script: &Script) -> Kept {
    let text = script.to_string();
    let hash = super::sub_seed(0, &text);
    let path = directory.join(format!("{}-{hash:016x}.script", check.replace('/', "-")));
    if !directory.is_dir() {
        Kept::Nowhere
    } else if path.exists() {
        Kept::Known(path)
    } else {
        match fs::write(&path, text) {
            Ok(()) => Kept::At(path),
            Err(e) => Kept::Failed(path, e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_script_is_found_again_by_its_check_alone() {
        let directory = tempfile::tempdir().unwrap();
        let script: Script = "create\nstart".parse().unwrap();
        assert!(matches!(keep_in(directory.path(), "a/b", &script), Kept::At(_)));
        assert!(matches!(keep_in(directory.path(), "a/b", &script), Kept::Known(_)));
        let found = found(directory.path());
        assert_eq!(found.len(), 1);
        assert!(belongs(&found[0].0, "a/b"));
        assert!(!belongs(&found[0].0, "a/b-c") && !belongs("a-b-c-1.script", "a/b"));
        assert_eq!(found[0].1.parse::<Script>(), Ok(script));
    }

    #[test]
    fn without_a_corpus_nothing_is_written() {
        let kept = keep_in(Path::new("/nowhere"), "a/b", &Script::default());
        assert!(matches!(kept, Kept::Nowhere));
    }
}
