//! One check for each fault of the catalogue: it strikes, what is still owed is judged, it heals, and the shim lives a whole life again.
//!
//! The story is made from the fault's row: each seam has one, told around a pod of two containers behind one shim. One of them is struck,
//! the other one is a bystander that must not notice.

mod containerd;
mod disk;
mod events;
mod pod;
mod process;
mod resource;
mod runtime;
mod scarce;
mod socket;

use fault_injector::{
    catalogue,
    fault::{Action, Fault, Party, Seam},
};

use crate::{
    check::{Body, Check, Need, Stop},
    contract::fault,
    history::{Method, Topic},
    lab::Lab,
    lie::Lie,
};

/// What every story ends with.
const GOES_ON: &[Lie] = &[Lie::NeighbourDies, Lie::UnansweredWhenHealed];
/// A struck process has an exit.
const TOLD: &[Lie] =
    &[Lie::NeighbourDies, Lie::UnansweredWhenHealed, Lie::ExitStatus(Method::Wait), Lie::Dropped(Topic::Exit)];
/// The same, when the exit must reach somebody who was away.
const LATE: &[Lie] = &[Lie::NeighbourDies, Lie::UnansweredWhenHealed, Lie::Dropped(Topic::Exit)];
/// `delete` ends what the shim has left.
const CLEANED: &[Lie] = &[Lie::NeighbourDies, Lie::DeleteFails, Lie::DeleteClean, Lie::LeftProcess];
/// The failure of the runtime in these calls is told.
const CREATE_FAILS: &[Lie] = &[Lie::NeighbourDies, Lie::UnansweredWhenHealed, Lie::Accepted(Method::Create)];
const START_FAILS: &[Lie] = &[Lie::NeighbourDies, Lie::UnansweredWhenHealed, Lie::Accepted(Method::Start)];
const KILL_FAILS: &[Lie] = &[Lie::NeighbourDies, Lie::UnansweredWhenHealed, Lie::Accepted(Method::Kill)];

/// A table of the faults of one seam: the second half of the fault's id, and the lies.
macro_rules! faults {
    ($seam:literal, $clause:expr, $needs:expr; $($what:literal $notices:ident)*) => {
        &[$(Check {
            id: concat!("fault/", $seam, "-", $what),
            clause: $clause,
            needs: $needs,
            notices: $notices,
            body: Body::Example(|lab| Box::pin(story(lab, concat!($seam, "/", $what)))),
        }),*]
    };
}

pub(super) const SHIM: &[Check] = faults! { "process", &fault::SHIM_LOST, &[];
    "kill-shim" CLEANED
    "terminate-shim" GOES_ON
};

pub(super) const PROCESS: &[Check] = faults! { "process", &fault::STRUCK, &[];
    "stop-shim" TOLD
    "kill-init" TOLD
    "stop-init" GOES_ON
    "terminate-init" TOLD
    "kill-exec" TOLD
    "stop-exec" GOES_ON
    "terminate-exec" TOLD
};

pub(super) const RUNTIME_PROCESS: &[Check] = faults! { "process", &fault::RUNTIME, &[Need::RuntimeRules];
    "kill-runtime" START_FAILS
    "stop-runtime" GOES_ON
    "terminate-runtime" START_FAILS
};

pub(super) const CONTAINERD: &[Check] = faults! { "containerd", &fault::CONTAINERD_LOST, &[];
    "kill" LATE
    "stop" LATE
    "terminate" LATE
};

pub(super) const TASK_SOCKET: &[Check] = faults! { "task-socket", &fault::CONNECTION, &[];
    "hold-request" GOES_ON
    "stall-requests" GOES_ON
    "split-requests" GOES_ON
    "duplicate-request" GOES_ON
    "drop-mid-header" GOES_ON
    "drop-mid-request" GOES_ON
    "drop-after-request" GOES_ON
    "half-close" GOES_ON
    "half-close-mid-request" GOES_ON
    "corrupt-length-short" GOES_ON
    "corrupt-length-long" GOES_ON
    "corrupt-length-oversize" GOES_ON
    "corrupt-stream-even" GOES_ON
    "corrupt-stream-unknown" GOES_ON
    "corrupt-type-unknown" GOES_ON
    "corrupt-type-data" GOES_ON
    "corrupt-flags" GOES_ON
    "corrupt-payload" GOES_ON
    "hold-answer" GOES_ON
    "stall-answers" GOES_ON
    "split-answers" GOES_ON
    "drop-before-answer" GOES_ON
    "drop-mid-answer" GOES_ON
};

pub(super) const EVENTS: &[Check] = faults! { "events", &fault::EVENTS, &[];
    "refused" LATE
    "missing" LATE
    "stalled" LATE
    "vanished" LATE
    "died" LATE
};

pub(super) const RUNTIME: &[Check] = faults! { "runtime", &fault::RUNTIME, &[Need::RuntimeRules];
    "create-delayed" GOES_ON
    "create-fails" CREATE_FAILS
    "create-hangs" GOES_ON
    "create-dies-before" CREATE_FAILS
    "create-dies-after" GOES_ON
    "start-delayed" GOES_ON
    "start-fails" START_FAILS
    "start-hangs" GOES_ON
    "start-dies-before" START_FAILS
    "start-dies-after" GOES_ON
    "exec-delayed" GOES_ON
    "exec-fails" START_FAILS
    "exec-hangs" GOES_ON
    "exec-dies-before" START_FAILS
    "exec-dies-after" GOES_ON
    "kill-delayed" GOES_ON
    "kill-fails" KILL_FAILS
    "kill-hangs" GOES_ON
    "kill-dies-before" KILL_FAILS
    "kill-dies-after" GOES_ON
    "delete-delayed" GOES_ON
    "delete-fails" GOES_ON
    "delete-hangs" GOES_ON
    "delete-dies-before" GOES_ON
    "delete-dies-after" GOES_ON
};

pub(super) const DESCRIPTORS: &[Check] = faults! { "resource", &fault::DEPRIVED, &[]; "descriptors" GOES_ON };
pub(super) const PROCESSES: &[Check] =
    faults! { "resource", &fault::DEPRIVED, &[Need::Controller("pids")]; "processes" GOES_ON };
pub(super) const MEMORY: &[Check] =
    faults! { "resource", &fault::DEPRIVED, &[Need::Controller("memory")]; "memory" GOES_ON };
pub(super) const TIME: &[Check] = faults! { "resource", &fault::STRUCK, &[Need::Freezer]; "time" TOLD };

pub(super) const DISK: &[Check] = faults! { "disk", &fault::DEPRIVED, &[];
    "full" GOES_ON
    "read-only" GOES_ON
    "socket-gone" GOES_ON
    "address-gone" GOES_ON
    "bundle-gone" GOES_ON
};

/// The story of one fault.
async fn story(lab: &Lab, id: &str) -> Result<(), Stop> {
    let Some(fault) = catalogue::find(id) else {
        return Err(Stop::Error(format!("there is no fault {id}")));
    };
    match (fault.seam, fault.does) {
        (Seam::Process, Action::Signal(party, signal)) => match party {
            Party::Shim => process::shim(lab, fault, signal).await,
            Party::Init => process::init(lab, fault, signal).await,
            Party::Exec => process::exec(lab, fault, signal).await,
            Party::Runtime => process::runtime(lab, fault, signal).await,
            Party::Containerd => Err(no_story(fault)),
        },
        (Seam::Containerd, Action::Signal(_, signal)) => containerd::story(lab, fault, signal).await,
        (Seam::TaskSocket, Action::Frame(..)) => socket::story(lab, fault).await,
        (Seam::Events, Action::Frame(..) | Action::Refuse(_)) => events::story(lab, fault).await,
        (Seam::Runtime, Action::Runtime(misstep)) => runtime::story(lab, fault, misstep).await,
        (Seam::Resource, Action::Limit(limit)) => resource::story(lab, fault, limit).await,
        (Seam::Disk, Action::Damage(damage)) => disk::story(lab, fault, damage).await,
        _ => Err(no_story(fault)),
    }
}

fn no_story(fault: &Fault) -> Stop {
    Stop::Error(format!("no story is told of fault {}", fault.id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fault_injector::{catalogue::FAULTS, fault::Seam};

    use crate::checks;

    #[test]
    fn every_fault_has_its_check() {
        let expected: BTreeSet<String> =
            // Which system call is struck makes the story: those are told under `syscall`, and by the crash points.
            FAULTS
                .iter()
                .filter(|fault| fault.seam != Seam::Syscall)
                .map(|fault| format!("fault/{}", fault.id.replace('/', "-")))
                .collect();
        let told: BTreeSet<String> =
            checks::all().map(|check| check.id.to_owned()).filter(|id| id.starts_with("fault/")).collect();
        assert_eq!(told, expected);
    }
}
