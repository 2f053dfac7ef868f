//! What this host can decide, and why not the rest: facts first, then every check that would be skipped, with its reason.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    libc::RLIM_INFINITY,
    sys::{
        resource::{Resource, getrlimit},
        utsname::uname,
    },
    unistd::{AccessFlags, access, getuid},
};
use tokio::process::Command;

use crate::{
    check::Check,
    checks,
    host::{self, Host},
    lab::{residue, world::Isolation},
    profile::{self, Profile},
    runner::Control,
    subject::Subject,
    sweep, tenancy,
};

/// Programs that the suite uses or imitates.
const PROGRAMS: &[&str] = &["runc", "crun", "youki", "containerd", "containerd-shim-runc-v2"];
/// How long a program may take to tell its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);
/// Below so many processes a parallel run may be refused a fork.
const ENOUGH_PIDS: u64 = 1024;

/// Everything that was found.
#[derive(Debug)]
pub struct Findings {
    /// Names and values, in the order in which they are told.
    pub facts: Vec<(String, String)>,
    /// Whether any check can be decided, or why none can.
    pub worlds: Result<(), String>,
    /// How many checks there are.
    pub checks: usize,
    /// Checks that would be skipped, by reason.
    pub undecidable: Vec<(String, Vec<&'static str>)>,
}

/// Looks around.
///
/// # Errors
///
/// When the suite fails.
pub fn examine(control: &Control) -> Result<Findings> {
    let host = Host::examine(Isolation::Full, control)?;
    let mut facts = vec![
        ("user".to_owned(), user(&host)),
        ("kernel".to_owned(), kernel()?),
        ("worlds".to_owned(), told(&host.worlds, "can be made")),
        ("cgroups".to_owned(), cgroups(&host)?),
        ("processes".to_owned(), pid_limits()),
        ("runtime state".to_owned(), runtime_state()),
        ("leftovers".to_owned(), leftovers()?),
        ("profiles".to_owned(), profiles()),
    ];
    facts.extend(programs()?);
    Ok(Findings { facts, undecidable: undecidable(&host), checks: checks::all().count(), worlds: host.worlds })
}

impl Findings {
    /// A page of text.
    pub fn text(&self) -> String {
        let width = self.facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.facts {
            text.push_str(&format!("{name:width$}  {value}\n"));
        }
        text.push('\n');
        if let Err(reason) = &self.worlds {
            text.push_str(&format!("nothing can be decided here: {reason}\n"));
            text.push_str(
                "  as root, worlds need CAP_SYS_ADMIN; as another user, unprivileged user namespaces \
                 (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                 kernel.apparmor_restrict_unprivileged_userns)\n",
            );
            return text;
        }
        let undecidable: usize = self.undecidable.iter().map(|(_, ids)| ids.len()).sum();
        text.push_str(&format!("{} of {} checks can be decided here\n", self.checks - undecidable, self.checks));
        for (reason, ids) in &self.undecidable {
            text.push_str(&format!("  not decided: {reason}\n    {}\n", ids.join(" ")));
        }
        text
    }
}

fn told(fact: &Result<(), String>, yes: &str) -> String {
    match fact {
        Ok(()) => yes.to_owned(),
        Err(reason) => format!("no: {reason}"),
    }
}

fn user(host: &Host) -> String {
    if host.root {
        "root".to_owned()
    } else {
        format!("{}, so worlds have user namespaces: containers see one user, and cgroups are left alone", getuid())
    }
}

fn kernel() -> Result<String> {
    let names = uname().context("ask the kernel for its name")?;
    Ok(format!(
        "{} {} {}",
        names.sysname().to_string_lossy(),
        names.release().to_string_lossy(),
        names.machine().to_string_lossy()
    ))
}

fn cgroups(host: &Host) -> Result<String> {
    let mut kinds = Vec::new();
    for hierarchy in residue::hierarchies()? {
        let v2 = fs::read_to_string(hierarchy.join("cgroup.controllers"));
        kinds.push(match v2 {
            // Worlds do not see an empty v2 hierarchy beside v1 ones.
            Ok(_) if hierarchy.ends_with("unified") => continue,
            Ok(controllers) => format!("v2 at {} [{}]", hierarchy.display(), controllers.trim()),
            Err(_) => format!("v1 {}", hierarchy.file_name().unwrap_or_default().to_string_lossy()),
        });
    }
    Ok(format!(
        "{}; {}",
        if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") },
        told(&host.cgroups, "can be made")
    ))
}

/// The containerds that can be played. Each can everywhere: nothing of a real one is needed.
fn profiles() -> String {
    let told = |profile: Profile| format!("{profile} (Task {}; {})", profile.tasks(), profile.answers());
    profile::ALL.map(told).join(", ")
}

/// The limits that a parallel run may meet, and a warning when it will.
fn pid_limits() -> String {
    let mut limits = Vec::new();
    if let Ok(text) = fs::read_to_string("/proc/sys/kernel/pid_max") {
        limits.push(("kernel.pid_max".to_owned(), text.trim().to_owned()));
    }
    if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NPROC) {
        let soft = if soft == RLIM_INFINITY { "unlimited".to_owned() } else { soft.to_string() };
        limits.push(("RLIMIT_NPROC".to_owned(), soft));
    }
    limits.extend(own_pids_max().map(|limit| ("pids.max".to_owned(), limit)));
    let tight = limits.iter().any(|(_, limit)| limit.parse::<u64>().is_ok_and(|limit| limit < ENOUGH_PIDS));
    let text: Vec<String> = limits.iter().map(|(name, limit)| format!("{name} {limit}")).collect();
    format!("{}{}", text.join(", "), if tight { " (tight: lower --jobs)" } else { "" })
}

/// The limit of the cgroup in which the suite itself runs.
fn own_pids_max() -> Option<String> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let below = |mount: &str, path: &str| PathBuf::from(mount).join(path.trim_start_matches('/')).join("pids.max");
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let file = match controllers {
            "" => below("/sys/fs/cgroup", path),
            list if list.split(',').any(|name| name == "pids") => below("/sys/fs/cgroup/pids", path),
            _ => return None,
        };
        fs::read_to_string(file).ok().map(|limit| limit.trim().to_owned())
    })
}

/// Worlds have their own /run; without isolation the host's is used.
fn runtime_state() -> String {
    let run = Path::new("/run");
    let writable = access(run, AccessFlags::W_OK).is_ok();
    format!(
        "/run of each world is its own; that of the host is {}, which only matters with --isolation none",
        if writable { "writable" } else { "not writable" }
    )
}

/// What runs that were killed have left; nothing of it is touched.
fn leftovers() -> Result<String> {
    let dead: Vec<String> = sweep::dead()?.iter().map(ToString::to_string).collect();
    Ok(if dead.is_empty() {
        "none".to_owned()
    } else {
        format!("{}; the next run removes them, or `conformance doctor --clean`", dead.join("; "))
    })
}

fn programs() -> Result<Vec<(String, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    Ok(PROGRAMS
        .iter()
        .map(|&name| {
            let found = host::find_program(name).map_or_else(
                || "not installed".to_owned(),
                |path| {
                    let version = runtime.block_on(version(&path)).unwrap_or_default();
                    format!("{}  {version}", path.display())
                },
            );
            (name.to_owned(), found.trim_end().to_owned())
        })
        .collect())
}

/// The line of its answer to `--version` (shims know only `-v`) that holds the version.
async fn version(path: &Path) -> Option<String> {
    let shim = path.file_name()?.to_string_lossy().starts_with("containerd-shim");
    let child = Command::new(path)
        .arg(if shim { "-v" } else { "--version" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let output = tokio::time::timeout(VERSION_DEADLINE, child.wait_with_output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let named = text.lines().find(|line| line.to_ascii_lowercase().contains("version"));
    let line = named.or_else(|| text.lines().next())?;
    Some(line.trim().to_owned())
}

/// Which checks would be skipped for want of something that the host has not, whatever the shim is.
fn undecidable(host: &Host) -> Vec<(String, Vec<&'static str>)> {
    let job = Subject::nobody(host).job("", None, None, tenancy::unique());
    let mut reasons: Vec<(String, Vec<&'static str>)> = Vec::new();
    let lacking = |check: &Check| check.needs.iter().find_map(|&need| job.lacks(need));
    for check in checks::all() {
        let Some(reason) = lacking(check) else { continue };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, ids)) => ids.push(check.id),
            None => reasons.push((reason, vec![check.id])),
        }
    }
    reasons
}
