//! Crash points, exhaustively: every system call of one life at which the shim can be killed or refused, visited one world each.
//!
//! First the life is recorded a few times; the union of the calls seen are the points ([`sweep`]). Then each point is visited: the life is
//! lived again (`life`), the shim is struck there, the fault heals, and the aftermath is judged (`aftermath`). A shim that lives must
//! serve a whole life again and owes what it owed; of one that is dead, `delete` must leave nothing and tell a true exit.
//!
//! A point is named by its phase, its call, what that is about and a number ([`Point`]), for a mere count differs from life to life. A point
//! whose call never came is *not reached*, which is an outcome of its own and never a pass.

mod aftermath;
mod life;
pub mod progress;
pub mod report;
pub mod sweep;

use fault_injector::{
    catalogue::{self, FAULTS},
    fault::{Action, Fault, Seam, Strike, Trigger},
    seam::syscall::{Aim, Point, Seen},
};
use serde::{Deserialize, Serialize};

use self::life::{Halt, Life};
use crate::{
    check::{Body, Check, Need, Stop, Story},
    contract,
    lab::Lab,
};

/// The phase of calls that are no points: those of the aftermath, and those of a life after which the shim was asked for another.
pub const UNVISITED: &str = "unvisited";

/// One point and what is done there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// The id of the fault, in the catalogue.
    pub fault: String,
    /// Where.
    pub point: Point,
}

/// What a supervised world tells of its system calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Every call of the shim.
    pub seen: Vec<Seen>,
    /// How many were struck.
    pub bites: usize,
    /// What a reader may want to know of a visit, whatever its verdict.
    pub remarks: Vec<String>,
    /// Every invariant that the history breaks, by id, and how.
    pub broken: Vec<(String, String)>,
}

/// A life that is lived at every crash.
#[derive(Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is lived, for people.
    pub summary: &'static str,
    /// The job's check: it stands in no table, and is judged by [`aftermath`].
    check: Check,
}

/// Every scenario; the first is the usual one.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "create-start-exec-kill-delete",
        summary: "a container is created and started, an exec lives and is deleted, the container is killed and deleted",
        check: check("crash-points/create-start-exec-kill-delete", |lab| Box::pin(visit(lab, life::with_exec))),
    },
    Scenario {
        name: "create-start-kill-delete",
        summary: "the shortest whole life",
        check: check("crash-points/create-start-kill-delete", |lab| Box::pin(visit(lab, life::shortest))),
    },
    Scenario {
        name: "reattach",
        summary: "containerd is killed while the container runs, and another one attaches to the shim and ends the life",
        check: check("crash-points/reattach", |lab| Box::pin(visit(lab, life::reattached))),
    },
    Scenario {
        name: "crash-delete",
        summary: "the shim of a running container is killed, and the delete action that cleans up after it is struck",
        check: check("crash-points/crash-delete", |lab| Box::pin(visit(lab, life::crashed))),
    },
];

const fn check(id: &'static str, body: for<'a> fn(&'a Lab) -> Story<'a>) -> Check {
    Check { id, clause: &contract::life::CRASH, needs: &[Need::SyscallFaults], notices: &[], body: Body::Example(body) }
}

/// The check of this id, when it is a scenario's.
pub fn named(id: &str) -> Option<&'static Check> {
    SCENARIOS.iter().map(|scenario| &scenario.check).find(|check| check.id == id)
}

impl Scenario {
    /// The scenario of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// The id of its job.
    pub fn id(&self) -> &'static str {
        self.check.id
    }
}

/// Everything that can be done at a point.
pub fn actions() -> impl Iterator<Item = &'static Fault> {
    FAULTS.iter().filter(|fault| fault.seam == Seam::Syscall)
}

/// How an action is named on the command line.
pub fn action_name(fault: &Fault) -> &'static str {
    match fault.does {
        Action::Syscall(Strike::Fail(errno)) => errno.name(),
        Action::Syscall(Strike::Kill)
        | Action::Signal(..)
        | Action::Frame(..)
        | Action::Refuse(_)
        | Action::Runtime(_)
        | Action::Limit(_)
        | Action::Damage(_) => "kill",
    }
}

/// What the action does to a call.
fn strike_of(fault: &Fault) -> Option<Strike> {
    match fault.does {
        Action::Syscall(strike) => Some(strike),
        Action::Signal(..)
        | Action::Frame(..)
        | Action::Refuse(_)
        | Action::Runtime(_)
        | Action::Limit(_)
        | Action::Damage(_) => None,
    }
}

/// Lives the life. Without a point to visit it must succeed, and then serve another life; with one, the aftermath is judged.
async fn visit(lab: &Lab, live: life::Story) -> Result<(), Stop> {
    let Some(Visit { fault, point }) = lab.job().visit.clone() else {
        let life = Life::begin(lab, true).await?;
        live(&life).await.map_err(Halt::unexcused)?;
        return aftermath::finished(&life).await;
    };
    let fault = catalogue::find(&fault).ok_or_else(|| Stop::Error(format!("there is no fault {fault}")))?;
    let blow = lab.strike_calls(&fault.at(Trigger::Nth(point.k)), Aim::at(&point))?;
    let life = Life::begin(lab, false).await?;
    let lived = live(&life).await;
    let bites = blow.heal();
    lab.leave_phases();
    match lived {
        Err(Halt::Stop(stop)) => Err(stop),
        Err(halt) if bites == 0 => Err(halt.unexcused()),
        Ok(()) => aftermath::finished(&life).await,
        Err(Halt::Refused(reason)) => {
            lab.note(format!("the life is broken off: {reason}"));
            aftermath::judge(&life).await
        }
    }
}
