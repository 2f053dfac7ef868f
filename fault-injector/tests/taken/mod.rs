//! What the kernel grants, and files: taken away, and given back.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fault_injector::fault::{Damage, Fault, Limit};
use fault_injector::guard::Guard;
use fault_injector::seam::process::Process;
use fault_injector::seam::{disk, resource};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};

pub(crate) fn limited(fault: &Fault, limit: Limit) {
    match limit {
        Limit::Descriptors => no_descriptors(fault),
        Limit::Processes => no_processes(fault),
        Limit::Memory => no_memory(fault),
        Limit::Time => no_time(fault),
    }
}

pub(crate) fn damaged(fault: &Fault, damage: Damage) {
    match damage {
        Damage::Full => on_a_tmpfs(fault, |fault, place| {
            let guard = disk::fill(fault, place).unwrap();
            assert_eq!(fs::write(place.join("new"), "text").unwrap_err().kind(), ErrorKind::StorageFull);
            guard
        }),
        Damage::ReadOnly => on_a_tmpfs(fault, |fault, place| {
            let guard = disk::write_protect(fault, &[place.join("a"), place.join("b")]).unwrap();
            for directory in ["a", "b"] {
                let written = fs::write(place.join(directory).join("new"), "text");
                assert_eq!(written.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
            }
            guard
        }),
        Damage::SocketGone | Damage::AddressGone | Damage::BundleGone => gone(fault),
    }
}

/// A shell that does what it is told, line by line.
struct Shell {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Shell {
    fn spawn() -> Self {
        let mut child =
            Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut shell = Self { child, orders, answers };
        assert_eq!(shell.ask("echo well"), "well");
        shell
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// What it says to that; nothing when it has ended.
    fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn no_descriptors(fault: &Fault) {
    const OPEN: &str = "if true 3</dev/null; then echo open; else echo refused; fi";
    let mut shell = Shell::spawn();
    assert_eq!(shell.ask(OPEN), "open");
    let guard = resource::limit_descriptors(fault, Process::open(shell.pid()).unwrap()).unwrap();
    assert_eq!(shell.ask(OPEN), "refused");
    assert_eq!(guard.heal(), 1);
    assert_eq!(shell.ask(OPEN), "open");
}

fn no_processes(fault: &Fault) {
    let Some(ground) = ground("pids") else { return };
    let (mut shell, group) = (Shell::spawn(), ground.group.clone());
    let guard = resource::confine(fault, &Process::open(shell.pid()).unwrap(), ground).unwrap();
    assert_eq!(guard.bites(), 0);
    // A shell that cannot fork gives up.
    assert_eq!(shell.ask("/bin/true; echo forked"), "");
    assert!(guard.heal() >= 1);
    assert!(!group.exists());
    assert_eq!(Shell::spawn().ask("/bin/true; echo forked"), "forked");
}

fn no_memory(fault: &Fault) {
    let Some(ground) = ground("memory") else { return };
    let (mut shell, group) = (Shell::spawn(), ground.group.clone());
    let guard = resource::confine(fault, &Process::open(shell.pid()).unwrap(), ground).unwrap();
    assert_eq!(shell.ask("x=$(head -c 1000000 /dev/zero | tr '\\0' x); echo ${#x}"), "");
    assert_eq!(shell.child.wait().unwrap().signal(), Some(9));
    assert!(guard.heal() >= 1);
    assert!(!group.exists());
}

fn no_time(fault: &Fault) {
    let Some(ground) = ground("freezer") else { return };
    fs::create_dir(&ground.group).unwrap();
    let mut shell = Shell::spawn();
    fs::write(ground.group.join("cgroup.procs"), shell.pid().to_string()).unwrap();
    let guard = resource::freeze(fault, &ground.group).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    shell.tell(&format!("echo moved > {}", file.path().display()));
    _ = poll(&mut [], PollTimeout::from(50u8));
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "");
    assert_eq!(guard.heal(), 1);
    assert_eq!(shell.ask("echo thawed"), "thawed");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "moved\n");
    drop(shell);
    until("the group is empty", || fs::remove_dir(&ground.group).is_ok());
}

/// A place for a group in the hierarchy of this controller; `None`, with a word, where this user may make none.
fn ground(controller: &'static str) -> Option<resource::Ground> {
    let mounts = procfs::process::Process::myself().unwrap().mountinfo().unwrap();
    let v1 = mounts.0.iter().find(|it| it.fs_type == "cgroup" && it.super_options.contains_key(controller));
    let v2 = || mounts.0.iter().find(|it| it.fs_type == "cgroup2");
    let name = format!("bites-{}-{controller}", std::process::id());
    let ground = match (v1, v2()) {
        (Some(mount), _) => Some((mount.mount_point.clone(), Some(controller))),
        (None, Some(mount)) => Some((mount.mount_point.clone(), None)),
        (None, None) => None,
    };
    let usable = ground.filter(|(hierarchy, version)| {
        let trial = hierarchy.join(format!("{name}-trial"));
        let made = fs::create_dir(&trial).is_ok();
        let has = version.is_some() || controller == "freezer" || trial.join(format!("{controller}.max")).exists();
        if made {
            fs::remove_dir(&trial).unwrap();
        }
        made && has
    });
    if usable.is_none() {
        eprintln!("no cgroup of {controller} can be made here: this test shows nothing");
    }
    let (hierarchy, controller) = usable?;
    Some(resource::Ground { group: hierarchy.join(name), hierarchy, controller })
}

/// Does the damage to a tmpfs in a mount namespace of its own, and sees it healed.
fn on_a_tmpfs(fault: &Fault, damage: impl FnOnce(&Fault, &Path) -> Guard + Send) {
    let place = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let damaged = scope.spawn(|| {
            let none = None::<&str>;
            if unshare(CloneFlags::CLONE_NEWNS).is_err() {
                eprintln!("this user may have no mount namespace: this test shows nothing");
                return;
            }
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(Some("tmpfs"), place.path(), Some("tmpfs"), MsFlags::MS_NOSUID, Some("size=1m,nr_inodes=100"))
                .unwrap();
            for directory in ["a", "b"] {
                fs::create_dir(place.path().join(directory)).unwrap();
            }
            let guard = damage(fault, place.path());
            assert_eq!(guard.heal(), 1);
            for file in ["new", "a/new", "b/new"] {
                fs::write(place.path().join(file), vec![0; 200_000]).unwrap();
            }
        });
        damaged.join().unwrap();
    });
}

fn gone(fault: &Fault) {
    let place = tempfile::tempdir().unwrap();
    let bundle = place.path().join("bundle");
    let inside = bundle.join("address");
    fs::create_dir(&bundle).unwrap();
    fs::write(&inside, "text").unwrap();
    for path in [&bundle, &inside] {
        let guard = disk::hide(fault, path).unwrap();
        assert!(!path.exists());
        assert_eq!(guard.heal(), 1);
        assert_eq!(fs::read_to_string(&inside).unwrap(), "text");
    }
    // What came meanwhile stays.
    let guard = disk::hide(fault, &inside).unwrap();
    fs::write(&inside, "newer").unwrap();
    drop(guard);
    assert_eq!(fs::read_to_string(&inside).unwrap(), "newer");
    assert!(disk::hide(fault, &PathBuf::from("/nowhere/at/all")).is_err());
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "in vain waited for: {what}");
        _ = poll(&mut [], PollTimeout::from(2u8));
    }
}
