//! How a fault of a plan begins and ends: whom it strikes, and what has to be waited for.

use anyhow::{Context as _, Result};
use fault_injector::fault::{Action, Misstep, Party, Seam, Signal, Trigger};
use nix::sys::signal;

use super::Director;
use crate::{
    chaos::{
        plan::{Name, Strike},
        scene::struck,
    },
    check::Stop,
    lab::{InForce, NOTICE, Upon},
};

/// Whether this host can carry it out, and whom it is to strike is known.
pub(super) fn can(director: &Director<'_>, strike: Strike) -> bool {
    match (strike.fault.seam, strike.fault.does, strike.on) {
        (Seam::Runtime, ..) => director.has_rules,
        (_, Action::Signal(Party::Runtime, _), Some(_)) => held_up(director).is_some(),
        (_, Action::Signal(party @ (Party::Init | Party::Exec), _), Some(on)) => {
            let who = struck(&director.scene.part(on).stage.model, party);
            let found = who.zip(director.actors.get(&on)).map(|(who, actor)| actor.found(who));
            matches!(found, Some(Ok(Some(_))))
        }
        (Seam::Process | Seam::TaskSocket | Seam::Events | Seam::Containerd | Seam::Syscall, ..) => true,
        // Drawn plans do not know yet what is owed then; each has a check of its own.
        (Seam::Resource | Seam::Disk, ..) => false,
    }
}

/// Puts it in force.
pub(super) async fn begin<'l>(director: &mut Director<'l>, strike: Strike) -> Result<InForce<'l>, Stop> {
    let (lab, fault) = (director.lab, strike.fault);
    let Some(on) = strike.on else {
        let held = lab.inject(fault, Upon::World).await?;
        // What was under way when containerd died is lost; while it only stands still, it is late.
        if let Action::Signal(Party::Containerd, Signal::Kill | Signal::Terminate) = fault.does {
            director.hear_out().await?;
        }
        return Ok(held);
    };
    let actor = director.actors.get(&on).with_context(|| format!("container {on} was never served"))?;
    let container = actor.container.clone();
    match fault.does {
        Action::Signal(Party::Shim, Signal::Stop)
        | Action::Frame(..)
        | Action::Refuse(_)
        | Action::Runtime(_)
        | Action::Limit(_)
        | Action::Damage(_) => lab.inject(fault, Upon::Shim(&container)).await,
        Action::Signal(Party::Shim, Signal::Kill | Signal::Terminate) => {
            let held = lab.inject(fault, Upon::Shim(&container)).await?;
            if !container.shim()?.gone(lab.scaled(NOTICE)).await? {
                lab.note(format!("the shim of {on} minds no SIGTERM"));
                container.signal_shim(signal::Signal::SIGKILL)?;
            }
            container.shim_gone(NOTICE.saturating_mul(5)).await?;
            for mate in director.scene.mates(on) {
                director.forget_calls(mate).await?;
            }
            Ok(held)
        }
        Action::Signal(Party::Runtime, _) => {
            let subcommand = held_up(director).context("no runtime is at work")?;
            let runtime = lab.runtime_at_work(subcommand).await?;
            lab.inject(fault, Upon::Process(&container, runtime)).await
        }
        // Drawn by nobody: which call is struck must be known beforehand, and the crash points know.
        Action::Syscall(_) => Err(Stop::Error(format!("{} is aimed at no call", fault.id))),
        Action::Signal(party, _) => {
            let who = struck(&director.scene.part(on).stage.model, party).context("nobody is to be struck")?;
            match actor.found(who)? {
                Some(process) => lab.inject(fault, Upon::Process(&container, process)).await,
                None => Err(Stop::Inconclusive(format!("{}: its process ended before it was struck", fault.id))),
            }
        }
    }
}

/// Ends it, and says how often it has taken effect.
pub(super) async fn end<'l>(director: &mut Director<'l>, strike: Strike, held: InForce<'l>) -> Result<u32, Stop> {
    let bites = held.heal();
    match strike.fault.does {
        Action::Signal(Party::Containerd, Signal::Kill | Signal::Terminate) => {
            director.lab.start_containerd().await?;
            director.reattached()?;
        }
        Action::Signal(..)
        | Action::Frame(..)
        | Action::Refuse(_)
        | Action::Runtime(_)
        | Action::Limit(_)
        | Action::Damage(_)
        | Action::Syscall(_) => {}
    }
    Ok(bites)
}

/// The subcommand of the runtime that a fault holds up for one call alone, so that whose process it is is certain.
fn held_up(director: &Director<'_>) -> Option<&'static str> {
    let open: Vec<Name> = director.open.keys().copied().collect();
    let hangs = director.held.iter().find_map(|(strike, held)| match (strike.fault.does, strike.fault.when) {
        (Action::Runtime(Misstep::Hang), Trigger::Before(subcommand) | Trigger::After(subcommand)) => {
            (held.bites() > 0).then_some(subcommand)
        }
        _ => None,
    });
    hangs.filter(|_| open.len() == 1)
}
