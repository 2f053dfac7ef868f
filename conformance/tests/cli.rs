//! What the command says and how it ends, without any real shim.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use assert_cmd::{Command, cargo::cargo_bin_cmd};
use conformance::lab::residue;
use nix::{
    poll::poll,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use predicates::{
    prelude::{PredicateBooleanExt as _, predicate::str::*},
    str::is_empty,
};
use rstest::rstest;
use tempfile::TempDir;

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

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

/// A program in a directory of its own, so that its path is its mark.
struct Program {
    path: PathBuf,
    directory: TempDir,
}

fn program(text: &str) -> Program {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shim");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Program { path, directory }
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

/// Looks until `condition` holds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "in vain waited for: {what}");
        // The end of a child interrupts it, which is as good as its end.
        _ = poll(&mut [], 5u8);
    }
}

#[test]
fn help_tells_options_in_groups_and_exit_statuses() {
    let help = conformance().arg("--help").assert().code(0);
    for part in
        ["Subject:", "Selection:", "Pace:", "Verdicts:", "Output:", "Exit status:", "CONFORMANCE_SHIM", "  77  "]
    {
        help.get_output();
        assert!(String::from_utf8_lossy(&help.get_output().stdout).contains(part), "{part}");
    }
}

#[test]
fn a_list_is_a_table_or_ids_or_json() {
    conformance()
        .args(["list", "lifecycle/*"])
        .assert()
        .code(0)
        .stdout(starts_with("CHECK").and(contains("lifecycle/exit-code")).and(contains("exec/").not()));
    conformance()
        .args(["list", "--format", "terse", "lifecycle/exit-code"])
        .assert()
        .code(0)
        .stdout("lifecycle/exit-code\n");
    let json = conformance().args(["list", "--format", "json"]).assert().code(0);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(rows.len(), conformance::checks::all().count());
    conformance()
        .args(["list", "--requirements", "--level", "must", "--tier", "client", "life/*"])
        .assert()
        .code(0)
        .stdout(
            starts_with("CLAUSE").and(contains("life/reattach")).and(contains("COVERAGE")).and(contains("log/").not()),
        );
    let json = conformance().args(["list", "--requirements", "--format", "json"]).assert().code(0);
    let document: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    let total = &document["coverage"]["total"];
    assert_eq!(total["clauses"].as_u64(), document["clauses"].as_array().map(|all| all.len() as u64));
    assert!(total["percent"].as_u64() <= Some(100), "{total}");
}

#[test]
fn options_from_the_environment_leave_other_commands_alone() {
    conformance()
        .env("CONFORMANCE_SHIM", "/nowhere")
        .args(["list", "--format", "terse", "lifecycle/exit-code"])
        .assert()
        .code(0);
    conformance().env("CONFORMANCE_SHIM", "/nowhere").assert().code(2).stderr(contains("/nowhere"));
}

#[rstest]
#[case::check("lifecycle/exit-code", "notices")]
#[case::clause("life/reattach", "check    restart")]
#[case::invariant("no-leak", "judged on the history")]
fn everything_with_an_id_is_explained(#[case] id: &str, #[case] says: &str) {
    conformance().args(["explain", id]).assert().code(0).stdout(contains(says).and(contains("duty")));
}

#[rstest]
#[case::explain(&["explain", "life/reatach"], "did you mean life/reattach?")]
#[case::run(&["run", "--shim", "/bin/true", "lifecycle/exit-kode"], "did you mean lifecycle/exit-code?")]
#[case::glob(&["list", "nothing-at-all/*"], "no check matches")]
#[case::one_of_two(&["list", "lifecycle/*", "qqq"], "no check matches \"qqq\"")]
fn an_unknown_id_is_an_error(#[case] args: &[&str], #[case] says: &str) {
    conformance().args(args).assert().code(2).stdout(is_empty()).stderr(contains(says));
}

#[test]
fn nothing_selected_is_no_success() {
    let mut absent = conformance::checks::all().filter(|check| check.id == "lifecycle/exit-code");
    let tier = absent.next().map(|check| check.clause.tier.to_string()).unwrap();
    let other = if tier == "spec" { "proto" } else { "spec" };
    conformance()
        .args(["--shim", "/bin/true", "--tier", other, "lifecycle/exit-code"])
        .assert()
        .code(4)
        .stderr(contains("no check was selected"));
}

#[rstest]
#[case::no_shim(&[], "--shim")]
#[case::absent(&["--shim", "/nowhere/shim"], "/nowhere/shim")]
#[case::directory(&["--shim", "/usr"], "is a directory")]
#[case::not_executable(&["--shim", "/etc/passwd"], "is not executable")]
#[case::engine(&["--shim", "/bin/true", "--engine", "no-such-runtime"], "--engine ours")]
#[case::level(&["--shim", "/bin/true", "--level", "shall"], "shall")]
#[case::seed(&["--shim", "/bin/true", "--seed", "0xyz"], "0xyz")]
#[case::scale(&["--shim", "/bin/true", "--timeout-scale", "0"], "between 0.1 and 1000")]
#[case::report(&["--shim", "/bin/true", "--report", "xml=a"], "none of html, json and junit")]
#[case::report_path(&["--shim", "/bin/true", "--report", "json=/nowhere/a"], "/nowhere/a")]
#[case::expectations(&["--shim", "/bin/true", "--expect", "/nowhere/e.toml"], "/nowhere/e.toml")]
fn bad_input_is_told_with_what_is_wrong(#[case] args: &[&str], #[case] says: &str) {
    conformance().args(args).assert().code(2).stdout(is_empty()).stderr(contains(says));
}

#[test]
fn an_expectations_file_is_wrong_at_a_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("expected.toml");
    fs::write(
        &file,
        "[[expect]]\ncheck = \"lifecycle/exit-kode\"\nverdict = \"violated\"\nkind = \"always\"\nreason = \"r\"\n",
    )
    .unwrap();
    conformance()
        .args(["--shim", "/bin/true", "--expect"])
        .arg(&file)
        .assert()
        .code(2)
        .stderr(contains("expected.toml:2:9:").and(contains("did you mean lifecycle/exit-code?")));
}

#[rstest]
#[case::silent("#!/bin/sh\nexit 0\n", "the answer is empty")]
#[case::refusing("#!/bin/sh\necho no such thing >&2\nexit 3\n", "rc 3, stderr: no such thing")]
#[case::without_interpreter("#!/nowhere/interpreter\n", "cannot be executed")]
fn what_is_no_shim_is_told_so(#[case] text: &str, #[case] says: &str) {
    if !worlds() {
        return;
    }
    let shim = program(text);
    conformance()
        .arg("--shim")
        .arg(&shim.path)
        .assert()
        .code(2)
        .stdout(is_empty())
        .stderr(contains("this is no shim, or it cannot work here").and(contains(says)));
}

/// Every check accuses a shim whose `start` answers nothing, and all reports agree.
#[test]
fn violations_are_red_in_every_report() {
    if !worlds() {
        return;
    }
    let shim = program("#!/bin/sh\nexit 0\n");
    let [json, junit, html] = ["r.json", "r.xml", "r.html"].map(|name| shim.directory.path().join(name));
    conformance()
        .arg("--shim")
        .arg(&shim.path)
        .args(["--profile", "containerd-2.1", "--engine", "ours", "--seed", "0x5eed", "lifecycle/exit-code"])
        .args(["--report", &format!("json={}", json.display())])
        .args(["--report", &format!("junit={}", junit.display())])
        .args(["--report", &format!("html={}", html.display())])
        .env("LC_ALL", "C")
        .assert()
        .code(1)
        .stdout(
            contains("\nresult: NOT CONFORMANT  held 0  violated 1  ")
                .and(contains("\nconformant to containerd-2.1: no  (MUSTs: 0 held, 1 violated, "))
                .and(contains("expected  rc 0 and a usable answer"))
                .and(contains("rerun  conformance run --shim "))
                .and(contains("--seed 0x5eed lifecycle/exit-code"))
                .and(contains("\u{1b}").not())
                .and(contains("✖").not()),
        );
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["schema"], "conformance.result/1");
    assert_eq!(report["suite"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["shim"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(report["claim"]["profile"], "containerd-2.1");
    assert_eq!(report["claim"]["violated"], serde_json::json!(["task/exit-status"]));
    assert_eq!(report["summary"]["violated"], 1);
    assert_eq!(report["checks"][0]["id"], "lifecycle/exit-code");
    assert_eq!(report["checks"][0]["verdict"], "violated");
    assert!(!report["checks"][0]["history"]["records"].as_array().unwrap().is_empty());
    let xml = fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("<failure "), "{xml}");
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("not conformant") && page.contains("id=\"A-lifecycle-exit-code\" open"), "{page}");
    let compared = conformance().arg("compare").args([&json, &json]).env("LC_ALL", "C").assert().code(0);
    compared.stdout(contains("XX XX  lifecycle/exit-code\n").and(contains("held 0 of 1")));
    conformance().arg("compare").arg(&junit).assert().code(2).stderr(contains("r.xml: expected value at line 1"));
}

/// A known violation is waived, another engine's row is not its business, and a MUST that is waived is still no conformance.
#[rstest]
#[case::known("ours", 0, "waived 1")]
#[case::of_another_engine("runc", 1, "violated 1")]
fn expectations_are_heard(#[case] engine: &str, #[case] code: i32, #[case] says: &str) {
    if !worlds() {
        return;
    }
    let shim = program("#!/bin/sh\nexit 0\n");
    let file = shim.directory.path().join("expected.toml");
    let row = format!(
        "[[expect]]\ncheck = \"lifecycle/*\"\nverdict = \"violated\"\nkind = \"always\"\nengine = \"{engine}\"\nreason = \"r\"\n"
    );
    fs::write(&file, row).unwrap();
    conformance()
        .arg("--shim")
        .arg(&shim.path)
        .args(["--profile", "containerd-2.1", "--engine", "ours", "lifecycle/exit-code", "--expect"])
        .arg(&file)
        .assert()
        .code(code)
        .stdout(contains("result: NOT CONFORMANT").and(contains(says)));
}

/// Hangs in `start` at once.
const HANGS: &str = "#!/bin/sh\n[ \"$1\" = -v ] && exit 0\nexec \"$0.sleep\" 1000\n";
/// Hangs in each `start` but the first, which is the probe's.
const HANGS_LATER: &str =
    "#!/bin/sh\n[ \"$1\" = -v ] && exit 0\n[ -e \"$0.probed\" ] && exec \"$0.sleep\" 1000\ntouch \"$0.probed\"\n";

/// Neither in the probe nor in a check does anything outlive an interrupted run.
#[rstest]
#[case::in_the_probe(HANGS, "full", Signal::SIGINT, 130)]
#[case::in_a_check(HANGS_LATER, "full", Signal::SIGINT, 130)]
#[case::terminated(HANGS_LATER, "full", Signal::SIGTERM, 143)]
#[case::without_isolation(HANGS_LATER, "none", Signal::SIGINT, 130)]
fn an_interrupted_run_leaves_nothing(
    #[case] text: &str,
    #[case] isolation: &str,
    #[case] signal: Signal,
    #[case] code: i32,
) {
    if !worlds() {
        return;
    }
    let shim = program(text);
    symlink("/bin/sleep", shim.directory.path().join("shim.sleep")).unwrap();
    let report = shim.directory.path().join("report.json");
    let mut run = spawn(&shim, isolation, &report);
    until_it_hangs(&mut run);
    let pid = i32::try_from(run.id()).unwrap();
    kill(Pid::from_raw(pid), signal).unwrap();
    let mut status = None;
    until("the end of the run", || {
        status = run.try_wait().unwrap();
        status.is_some()
    });
    let status = status.unwrap();
    assert_eq!(status.code(), Some(code), "{status:?} {:?}", status.signal());
    until_nobody_speaks_of(shim.directory.path());
    assert_eq!(cgroups_of(pid), Vec::<PathBuf>::new());
    assert_eq!(worlds_below(shim.directory.path()), Vec::<PathBuf>::new());
    if shim.path.with_file_name("shim.probed").exists() {
        let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        assert_eq!(report["exit_code"], code);
        assert_eq!(report["result"], "incomplete");
    }
}

/// The processes of a run whose runner is killed end with it, and the next command that sweeps removes the rest.
#[rstest]
#[case::in_the_probe(HANGS, "full")]
#[case::in_a_check(HANGS_LATER, "full")]
#[case::without_isolation(HANGS_LATER, "none")]
fn a_killed_run_is_swept(#[case] text: &str, #[case] isolation: &str) {
    if !worlds() {
        return;
    }
    let shim = program(text);
    symlink("/bin/sleep", shim.directory.path().join("shim.sleep")).unwrap();
    let mut run = spawn(&shim, isolation, &shim.directory.path().join("report.json"));
    until_it_hangs(&mut run);
    let pid = i32::try_from(run.id()).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    until_nobody_speaks_of(shim.directory.path());
    let doctor = |args: &[&str]| {
        let mut doctor = conformance();
        doctor.arg("doctor").args(args).env("TMPDIR", shim.directory.path()).assert()
    };
    doctor(&["--clean"]).code(0).stdout(starts_with("swept"));
    assert_eq!(cgroups_of(pid), Vec::<PathBuf>::new());
    assert_eq!(worlds_below(shim.directory.path()), Vec::<PathBuf>::new());
}

/// What is left is told by `doctor` and stays; a run that is alive is nobody's to sweep.
#[test]
fn only_dead_runs_are_swept() {
    if !worlds() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (dead, alive) = (place.path().join("conformance-run-1.dead"), place.path().join("conformance-run-1.alive"));
    fs::create_dir_all(dead.join("0/containerd")).unwrap();
    fs::create_dir(&alive).unwrap();
    let lock = fs::File::open(&alive).unwrap();
    lock.lock().unwrap();
    let doctor = |args: &[&str]| {
        let mut doctor = conformance();
        doctor.arg("doctor").args(args).env("TMPDIR", place.path()).assert().code(0)
    };
    doctor(&[]).stdout(contains(format!("run 1.dead: 0 cgroups with 0 processes, {}", dead.display())));
    assert!(dead.exists());
    doctor(&["--clean"]).stdout(contains("1 directories"));
    assert!(!dead.exists() && alive.exists());
}

#[test]
fn the_directories_of_a_live_containerd_are_refused() {
    let state = tempfile::tempdir().unwrap();
    let tmp = state.path().join("tmp");
    fs::create_dir(&tmp).unwrap();
    let _daemon = std::os::unix::net::UnixListener::bind(state.path().join("containerd.sock")).unwrap();
    conformance()
        .args(["--shim", "/bin/true", "--isolation", "none"])
        .env("TMPDIR", &tmp)
        .assert()
        .code(2)
        .stderr(contains("the directory of a containerd that is alive"));
}

fn until_it_hangs(run: &mut Child) {
    until("a hung start", || {
        assert_eq!(run.try_wait().unwrap(), None, "it ended by itself");
        descendants(run.id()).iter().any(|command| command.contains("shim.sleep\u{0}1000"))
    });
}

/// A path of its own is the mark of everything that a run executes.
fn until_nobody_speaks_of(path: &Path) {
    let mark = path.to_string_lossy().into_owned();
    until("the end of its processes", || !commands().iter().any(|command| command.contains(&mark)));
}

fn spawn(shim: &Program, isolation: &str, report: &Path) -> Child {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("conformance"))
        .args([
            "--engine",
            "ours",
            "--profile",
            "containerd-2.1",
            "--jobs",
            "2",
            "lifecycle/*",
            "--isolation",
            isolation,
            "--shim",
        ])
        .arg(&shim.path)
        .env("TMPDIR", shim.directory.path())
        .arg("--report")
        .arg(format!("json={}", report.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The command lines of all processes, words ended by NUL.
fn commands() -> Vec<String> {
    procfs::process::all_processes()
        .unwrap()
        .flatten()
        .filter_map(|process| fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).ok())
        .collect()
}

/// The command lines of everything below `ancestor`.
fn descendants(ancestor: u32) -> Vec<String> {
    let all: Vec<_> =
        procfs::process::all_processes().unwrap().flatten().filter_map(|process| process.stat().ok()).collect();
    let mut family = vec![i32::try_from(ancestor).unwrap()];
    let mut commands = Vec::new();
    while let Some(parent) = family.pop() {
        for stat in all.iter().filter(|stat| stat.ppid == parent) {
            family.push(stat.pid);
            commands.extend(fs::read_to_string(format!("/proc/{}/cmdline", stat.pid)));
        }
    }
    commands
}

/// The directories that worlds without isolation make.
fn worlds_below(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("conformance-")))
        .collect()
}

fn cgroups_of(runner: i32) -> Vec<PathBuf> {
    let mark = format!("conformance-run-{runner}.");
    residue::hierarchies()
        .unwrap()
        .iter()
        .filter_map(|hierarchy| fs::read_dir(hierarchy).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&mark)))
        .collect()
}

#[test]
fn a_host_without_worlds_decides_nothing() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("only root can take the right to make worlds away: this test shows nothing");
        return;
    }
    let bare = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--bounding-set=-all", "--inh-caps=-all"])
            .arg(assert_cmd::cargo::cargo_bin!("conformance"))
            .args(args)
            .timeout(LIMIT)
            .assert()
    };
    bare(&["doctor"]).code(77).stdout(contains("nothing can be decided here"));
    bare(&["--shim", "/bin/true"]).code(77).stderr(contains("conformance doctor"));
}
