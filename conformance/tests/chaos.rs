//! Chaos from the command line: the reference shim survives it, a broken shim does not, and results add up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use assert_cmd::{Command, cargo::cargo_bin_cmd};
use conformance::chaos::{
    capture::Capture,
    draw,
    plan::Plan,
    results::{Finding, Results, Shard},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use predicates::prelude::predicate::str::contains;
use tempfile::TempDir;

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(300);
/// What makes containerd-shim-runc-v2 1.7 and 2.x panic.
const START_TWICE: &str = "a: create\na: start\na: exec e2\na: start e2\na: start e2\na: state\n";

fn conformance() -> Command {
    let mut command = cargo_bin_cmd!("conformance");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CONFORMANCE_") {
            command.env_remove(name);
        }
    }
    command.timeout(LIMIT);
    command
}

/// Whether this host can make worlds; where it cannot, a test says that it shows nothing.
fn worlds() -> bool {
    let possible = conformance().arg("doctor").assert().get_output().status.code() == Some(0);
    assert!(possible || std::env::var_os("CI").is_none(), "no world can be made here");
    if !possible {
        eprintln!("no world can be made here: this test shows nothing");
    }
    possible
}

/// The reference shim, built where nobody has done it.
fn reference_shim() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        let profile = own.ancestors().nth(2).unwrap();
        if std::env::var_os("NEXTEST").is_none() {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["build", "--quiet", "--package", "reference-shim"]);
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).assert().success();
        }
        profile.join("containerd-shim-reference-v1")
    })
}

fn chaos(shim: &Path, out: &TempDir, arguments: &[&str]) -> Command {
    let mut command = conformance();
    command.arg("chaos").arg("--shim").arg(shim).args(["--engine", "ours", "--seed", "7", "--out"]).arg(out.path());
    command.args(arguments);
    command
}

fn results(out: &TempDir, name: &str) -> Results {
    Results::read(&out.path().join(name)).unwrap()
}

#[test]
fn the_reference_shim_survives_and_a_shard_that_is_run_again_plays_the_same_plans() {
    if !worlds() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    for shard in ["1/2", "2/2", "1/2"] {
        chaos(reference_shim(), &out, &["--plans", "6", "--shard", shard]).assert().success();
    }
    let (first, second) = (results(&out, "chaos-0x7-1of2.json"), results(&out, "chaos-0x7-2of2.json"));
    assert_eq!((first.plans.held, second.plans.held), (3, 3));
    assert!(first.complete && first.findings.is_empty());
    let injected = |results: &Results| results.faults.values().map(|bites| bites.injected).sum::<u64>();
    let drawn: usize = (0..6).map(|number| draw(7, number).strikes().count()).sum();
    let played = usize::try_from(injected(&first) + injected(&second)).unwrap();
    assert!(played > 0 && played <= drawn, "{played} faults of {drawn} were injected");

    let (one, two) = (out.path().join("chaos-0x7-1of2.json"), out.path().join("chaos-0x7-2of2.json"));
    conformance().arg("merge").args([&one, &two]).assert().success().stdout(contains("6 held"));
    assert_eq!(results(&out, "chaos-0x7-1of1.json").shard, Shard::WHOLE);
    conformance().arg("merge").arg(&one).assert().code(2).stderr(contains("missing shards: 2/2"));
    conformance().arg("merge").args([&one, &one]).assert().code(2).stderr(contains("shard 1/2 is there twice"));
}

#[test]
fn what_is_said_wrongly_is_refused() {
    let out = tempfile::tempdir().unwrap();
    for wrong in [["--shard", "3/2"], ["--for", "soon"], ["--for", "0s"], ["--plans", "many"]] {
        chaos(Path::new("/bin/true"), &out, &wrong).assert().code(2);
    }
    let plan = out.path().join("plan");
    fs::write(&plan, "a: create\na: dance\n").unwrap();
    conformance().arg("replay").arg(&plan).args(["--shim", "/bin/true"]).assert().code(2).stderr(contains("line 2"));
    fs::write(&plan, "a: create\n").unwrap();
    conformance().arg("replay").arg(&plan).assert().code(2).stderr(contains("--shim PATH"));
    conformance().arg("merge").arg(&plan).assert().code(2).stderr(contains("no result file"));
}

#[test]
fn a_plan_that_somebody_wrote_is_played() {
    if !worlds() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let plan = out.path().join("start-twice");
    fs::write(&plan, START_TWICE).unwrap();
    let replay = |shim: &Path| {
        let mut command = conformance();
        command.arg("replay").arg(&plan).arg("--shim").arg(shim).args(["--engine", "ours", "--times", "2"]);
        command
    };
    replay(reference_shim()).assert().success().stdout(contains("violated 0 of 2, held 2"));
}

/// A shim as good as the reference shim, but its `delete` does nothing: what a dead shim leaves stays.
fn careless(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("shim");
    let reference = reference_shim().display();
    let text = format!("#!/bin/sh\ncase \" $* \" in *\" delete \"*) exit 0 ;; esac\nexec {reference} \"$@\"\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_shim_that_breaks_a_duty_is_found_out_and_its_plan_is_made_smaller() {
    if !worlds() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let shim = careless(&out);
    let run = chaos(&shim, &out, &["--plans", "12", "--reproduce", "3"]).assert();
    run.code(1).stdout(contains("making it smaller")).stdout(contains("fails 3 of 3"));
    let results = results(&out, "chaos-0x7-1of1.json");
    let silent = |finding: &&Finding| finding.violation.happened == "the delete action told no exit";
    let finding = results.findings.iter().find(silent).unwrap();
    assert_eq!(finding.plan, draw(7, finding.number));
    assert_eq!(finding.smallest.acts.len(), 2, "{}", finding.smallest);
    assert_eq!(finding.smallest.strikes().count(), 1, "{}", finding.smallest);
    let path = out.path().join(finding.capture.as_ref().unwrap());
    let capture = Capture::read(&path).unwrap();
    assert_eq!(capture.smallest, finding.smallest);
    assert!(!capture.history().unwrap().records.is_empty());
    let replay = || {
        let mut command = conformance();
        command.arg("replay").arg(&path).args(["--times", "2"]);
        command
    };
    let expected = format!("expected: {}", finding.clause);
    replay().assert().code(1).stdout(contains(expected)).stdout(contains("2 of 2 as captured"));
    // The same story is no trouble for a shim that keeps its promises.
    replay().arg("--shim").arg(reference_shim()).assert().success().stdout(contains("held 2"));
}

#[test]
fn an_interrupted_run_tells_what_was_done_and_that_it_is_partial() {
    if !worlds() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(cargo_bin_cmd!("conformance").get_program());
    command.arg("chaos").arg("--shim").arg(reference_shim()).args(["--engine", "ours", "--seed", "7", "--for", "10m"]);
    let mut run = command.arg("--out").arg(out.path()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(run.stdout.take().unwrap());
    // What it says first it says when it begins to play.
    let mut text = String::new();
    told.read_line(&mut text).unwrap();
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGTERM).unwrap();
    told.read_to_string(&mut text).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(143), "{text}");
    assert!(text.contains("interrupted, so this is partial"), "{text}");
    let file = out.path().join("chaos-0x7-1of1.json");
    assert!(!Results::read(&file).unwrap().complete);
    conformance().arg("merge").arg(file).assert().code(2).stderr(contains("run it again"));
}

#[test]
fn the_corpus_can_be_replayed_as_plans() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut read = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        // What was found and not chosen lies in a directory below.
        if path.extension().is_none_or(|extension| extension != "script") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        assert!(!text.parse::<Plan>().unwrap().acts.is_empty());
        read += 1;
    }
    assert!(read > 0);
}
