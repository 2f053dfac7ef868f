//! What the supervisor holds for one container beside its pure state.

use std::collections::HashMap;

use containerd_shim_protos::types::mount::Mount;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::Event;
use crate::{
    cgroup::Cgroup,
    events::Subject,
    runtime::Engine,
    service::Reply,
    stdio::{Io, Paths},
    task::{Task, Who},
};

/// Names one container for ever: the id may come again, the serial number does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) id: String,
    pub(crate) serial: u64,
}

/// A container and what belongs to it.
pub(super) struct Container {
    pub(super) serial: u64,
    pub(super) task: Task,
    pub(super) engine: Engine,
    pub(super) rootfs: Vec<Mount>,
    pub(super) init: Side,
    pub(super) execs: HashMap<String, Side>,
    /// Known from the moment it is created.
    pub(super) cgroup: Option<Cgroup>,
    /// Want of memory has been reported.
    pub(super) out_of_memory: bool,
    /// The watch over the container's memory; ends with the container.
    pub(super) watch: JoinSet<()>,
}

/// What belongs to one process beside its state.
#[derive(Default)]
pub(super) struct Side {
    pub(super) paths: Paths,
    /// The OCI's description of an exec, in JSON.
    pub(super) spec: Vec<u8>,
    pub(super) io: Option<Io>,
    /// `CloseIO` came before there was a stdin.
    pub(super) stdin_closed: bool,
    /// Callers of `Wait`.
    pub(super) waiters: Vec<Reply>,
    /// Callers of `Delete`.
    pub(super) deleters: Vec<Reply>,
    /// Dropped to give up the runtime's call that is starting the process.
    pub(super) abort: Option<oneshot::Sender<()>>,
}

impl Container {
    pub(super) fn side(&mut self, who: &Who) -> Option<&mut Side> {
        match who {
            Who::Init => Some(&mut self.init),
            Who::Exec(id) => self.execs.get_mut(id),
        }
    }

    /// Whether init has ended and been announced.
    pub(super) fn is_over(&self) -> bool {
        self.task.state().exit().is_some()
    }

    pub(super) fn subject<'a>(&'a self, id: &'a str) -> Subject<'a> {
        Subject {
            id,
            bundle: self.engine.bundle.path().to_str().unwrap_or_default(),
            rootfs: &self.rootfs,
            paths: &self.init.paths,
        }
    }

    /// Learns the cgroup of a new init and begins to watch it for want of memory.
    pub(super) fn watch(&mut self, pid: u32, ticket: &Ticket, events: mpsc::UnboundedSender<Event>) {
        let Some(cgroup) = Cgroup::of(pid) else { return };
        match cgroup.watch_memory() {
            Ok(Some(watch)) => {
                let ticket = ticket.clone();
                self.watch.spawn(watch.run(move || events.send(Event::OutOfMemory(ticket.clone())).is_ok()));
            }
            Ok(None) => {}
            Err(error) => log!("{}: memory is not watched: {error}", ticket.id),
        }
        self.cgroup = Some(cgroup);
    }

    /// Whether the kernel has killed for want of memory and the watch has not said so.
    pub(super) fn out_of_memory_unreported(&self) -> bool {
        self.cgroup.as_ref().is_some_and(|cgroup| !self.out_of_memory && cgroup.out_of_memory_kills() > 0)
    }
}
