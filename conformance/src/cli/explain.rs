//! `conformance explain ID`.

use std::{fmt::Write as _, process::ExitCode};

use fault_injector::catalogue;

use super::{faults, say};
use crate::{
    check::{Body, Check, Need},
    checks,
    contract::{self, Clause},
    coverage::{Judge, judges},
    exit_code::Failure,
    invariant::{INVARIANTS, Invariant},
    select,
};

/// Tells everything about whatever has this id.
pub(super) fn explain(id: &str) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    // A check and an invariant may share their clause's id; all of them are told.
    if let Some(check) = checks::named(id) {
        text.push_str(&of_check(check));
    }
    if let Some(invariant) = INVARIANTS.iter().find(|invariant| invariant.id == id) {
        text.push_str(&of_invariant(invariant));
    }
    if let Some(clause) = contract::all().find(|clause| clause.id == id) {
        text.push_str(&of_clause(clause));
    }
    if let Some(fault) = catalogue::find(id) {
        text.push_str(&faults::of_fault(fault));
    }
    if text.is_empty() {
        let known = checks::all()
            .map(|check| check.id)
            .chain(contract::all().map(|clause| clause.id))
            .chain(INVARIANTS.iter().map(|invariant| invariant.id))
            .chain(catalogue::FAULTS.iter().map(|fault| fault.id));
        return Err(Failure::Usage(select::unknown("check, clause, invariant or fault", id, known)));
    }
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn of_check(check: &Check) -> String {
    let kind = match check.body {
        Body::Example(_) => "an example: one written story",
        Body::Property(_) => "a property: stories from a generator, judged by a model of the task life cycle",
    };
    let mut text = format!("check {}\n  {kind}\n", check.id);
    duty(&mut text, check.clause);
    for &need in check.needs {
        _ = writeln!(text, "  needs    {}", describe(need));
    }
    text.push_str("  notices  (the audit tells each of these lies about an honest shim; the check must turn red)\n");
    for lie in check.notices {
        _ = writeln!(text, "           {lie:?}");
    }
    text
}

fn of_invariant(invariant: &Invariant) -> String {
    let mut text = format!("invariant {}\n  judged on the history of every check\n", invariant.id);
    duty(&mut text, invariant.clause);
    text
}

fn of_clause(clause: &Clause) -> String {
    let mut text = format!("clause {}\n", clause.id);
    duty(&mut text, clause);
    for judge in judges(clause) {
        match judge {
            Judge::Check(id) => _ = writeln!(text, "  check    {id}"),
            Judge::Invariant(id) => _ = writeln!(text, "  check    invariant {id}, on the history of every check"),
        }
    }
    text
}

fn duty(text: &mut String, clause: &Clause) {
    let Clause { id, level, tier, says, at, why, era, untestable, since: _, until: _ } = clause;
    // Writing to a string cannot fail.
    _ = writeln!(text, "  clause   {id} ({level}, {tier})");
    _ = writeln!(text, "  duty     {says}");
    _ = writeln!(text, "  stands   {at}");
    _ = writeln!(text, "  why      {why}");
    _ = writeln!(text, "  asked by {} containerd", clause.releases());
    if let Some(era) = era {
        _ = writeln!(text, "  era      {era}");
    }
    if let Some(reason) = untestable {
        _ = writeln!(text, "  no check {reason}");
    }
}

fn describe(need: Need) -> String {
    match need {
        Need::Controller(controller) => format!("cgroups with the {controller} controller"),
        Need::Freezer => "a cgroup freezer".to_owned(),
        Need::RuntimeRules => "a runtime that the suite chooses".to_owned(),
        Need::HostPid => "a world with a PID namespace of its own".to_owned(),
        Need::SyscallFaults => "a kernel from 5.19 on, and no seccomp listener in force yet".to_owned(),
    }
}
