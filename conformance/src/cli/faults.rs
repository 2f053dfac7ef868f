//! `conformance list --faults` and `conformance explain FAULT-ID`.

use std::fmt::Write as _;

use fault_injector::{
    catalogue::FAULTS,
    fault::{Action, Fault, Heal, Party, Seam, Signal},
};
use serde_json::json;

use super::{args::Format, list};
use crate::{check::Check, checks};

/// The catalogue.
pub(super) fn list(format: Format) -> String {
    match format {
        Format::Table | Format::Markdown => list::columns(
            ["FAULT", "WHEN", "SUSPENDS", "WHAT HAPPENS"],
            FAULTS
                .iter()
                .map(|fault| [fault.id.to_owned(), fault.when.to_string(), suspends(fault), fault.summary.to_owned()]),
        ),
        Format::Terse => FAULTS.iter().map(|fault| format!("{}\n", fault.id)).collect(),
        Format::Json => format!("{:#}\n", FAULTS.iter().map(fault_json).collect::<serde_json::Value>()),
    }
}

fn suspends(fault: &Fault) -> String {
    match fault.excuses {
        [] => "nothing".to_owned(),
        duties => duties.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}

fn fault_json(fault: &Fault) -> serde_json::Value {
    json!({
        "id": fault.id,
        "summary": fault.summary,
        "seam": fault.seam,
        "when": fault.when,
        "does": fault.does,
        "excuses": fault.excuses,
        "heals": fault.heal(),
        "checked_by": used_by(fault).map(|check| check.id),
    })
}

/// The check that is made of this fault.
fn used_by(fault: &Fault) -> Option<&'static Check> {
    checks::named(&format!("fault/{}", fault.id.replace('/', "-")))
}

/// Everything about `fault`.
pub(super) fn of_fault(fault: &Fault) -> String {
    let mut text = format!("fault {}\n", fault.id);
    // Writing to a string cannot fail.
    _ = writeln!(text, "  what     {}", fault.summary);
    _ = writeln!(text, "  where    {}", place(fault.seam));
    _ = writeln!(text, "  when     {}", occasion(fault));
    _ = writeln!(text, "  heals    {}", healing(fault));
    text.push_str("  suspends (while it lasts the shim may neglect these duties, and no others)\n");
    if fault.excuses.is_empty() {
        text.push_str("           nothing\n");
    }
    for duty in fault.excuses {
        _ = writeln!(text, "           {duty}: {}", duty.says());
    }
    if let Some(check) = used_by(fault) {
        _ = writeln!(text, "  check    {}", check.id);
    }
    text
}

fn place(seam: Seam) -> &'static str {
    match seam {
        Seam::Process => "the shim, and the processes that it answers for",
        Seam::TaskSocket => "containerd's connection to the shim",
        Seam::Events => "the socket on which containerd takes events",
        Seam::Runtime => "the OCI runtime that the shim executes",
        Seam::Containerd => "containerd",
        Seam::Syscall => "the system calls of the shim itself, not of its children",
        Seam::Resource => "what the kernel grants to the shim and its containers",
        Seam::Disk => "the files that a shim and containerd share",
    }
}

fn occasion(fault: &Fault) -> String {
    match fault.does {
        Action::Signal(..) | Action::Refuse(_) | Action::Limit(_) | Action::Damage(_) => "at once".to_owned(),
        Action::Frame(..) => format!("{}, counted in frames of its direction", fault.when),
        Action::Runtime(_) => format!("{} of the runtime, each time", fault.when),
        Action::Syscall(_) => format!("{}, counted in the calls that it is aimed at", fault.when),
    }
}

fn healing(fault: &Fault) -> &'static str {
    match (fault.heal(), fault.does) {
        (Heal::Restart, Action::Signal(Party::Containerd, _)) => "when the next containerd serves",
        (Heal::Restart, Action::Signal(Party::Shim, _) | Action::Syscall(_)) => {
            "when delete has cleaned up, and the id lives again"
        }
        (Heal::Restart, _) => "never: who is dead stays dead",
        (Heal::Guard, Action::Signal(_, Signal::Stop)) => "by SIGCONT",
        (Heal::Guard, _) => "when it is lifted; what was held back goes on",
    }
}
