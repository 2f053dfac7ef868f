//! Ways to and from the shim that lead past a gate: in front of the events service, and between containerd and the shim's socket.
//!
//! Both are proxies of the driver's, so they outlive every fake containerd. Without one, sockets break as the kernel breaks them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use fault_injector::{
    fault::{Action, Fault, Leftover, Seam, Trigger},
    guard::Guard,
    seam::{gate::Gate, socket::Proxy},
};

use super::{Container, Lab};
use crate::wire;

/// Why nobody listens in front of an events service that has died.
const DIED: Fault = Fault {
    id: "events/containerd-is-dead",
    summary: "nobody listens while containerd is dead",
    seam: Seam::Events,
    when: Trigger::Now,
    does: Action::Refuse(Leftover::Path),
    excuses: &[],
};

/// What stands in front of the events service.
pub(super) struct Front {
    proxy: Proxy,
    /// Where the service itself listens.
    behind: PathBuf,
    /// While containerd is dead, as if its own socket had died with it.
    dead: Option<Guard>,
}

/// A connection of a containerd that leads through a gate.
pub(super) struct Route {
    proxy: Proxy,
    /// The life of containerd that dialled it.
    life: u32,
}

impl Lab {
    /// Puts a gate in front of the events service, at which events can be held, forgotten or refused; again does nothing. Comes before
    /// the first shim, whose connection to the service it would break.
    ///
    /// # Errors
    ///
    /// When the sockets cannot be made; the suite's fault.
    pub async fn front_events(&self) -> Result<()> {
        if self.front.borrow().is_some() {
            return Ok(());
        }
        let behind = self.setup.state.join("events.sock");
        self.obey(wire::Order::EventsAt(behind.clone())).await?;
        let proxy = Proxy::listen(&self.setup.events, &behind, Gate::new(Seam::Events))
            .context("stand in front of the events service")?;
        *self.front.borrow_mut() = Some(Front { proxy, behind, dead: None });
        Ok(())
    }

    /// The gate of the events service.
    pub(super) fn events_gate(&self) -> Result<Gate> {
        let front = self.front.borrow();
        let front =
            front.as_ref().context("nothing stands in front of the events service: Lab::front_events comes first")?;
        Ok(front.proxy.gate().clone())
    }

    /// Where a containerd's events service is to listen.
    pub(super) fn events_path(&self) -> PathBuf {
        let front = self.front.borrow();
        front.as_ref().map_or_else(|| self.setup.events.clone(), |front| front.behind.clone())
    }

    /// containerd has died: nobody listens.
    pub(super) fn front_closes(&self) -> Result<()> {
        if let Some(front) = self.front.borrow_mut().as_mut() {
            front.dead = Some(front.proxy.inject(&DIED).context("close the way to the events service")?);
        }
        Ok(())
    }

    /// containerd serves again.
    pub(super) fn front_opens(&self) {
        if let Some(front) = self.front.borrow_mut().as_mut() {
            front.dead = None;
        }
    }

    /// The gate on containerd's connection of `container`, which is made anew when it leads past none.
    pub(super) async fn task_gate(&self, container: &Container<'_>) -> Result<Gate> {
        let (id, life) = (container.id().to_owned(), self.lives.get());
        if let Some(route) = self.routes.borrow().get(&id).filter(|route| route.life == life) {
            return Ok(route.proxy.gate().clone());
        }
        let path = self.places.base.join(format!("task-{}.sock", self.faults.get()));
        let gate = Gate::new(Seam::TaskSocket);
        let proxy = Proxy::listen(&path, container.socket()?, gate.clone())
            .with_context(|| format!("stand between containerd and {id}"))?;
        self.obey(wire::Order::Redial { id: id.clone(), via: Some(path) }).await?;
        self.routes.borrow_mut().insert(id, Route { proxy, life });
        Ok(gate)
    }
}

impl Container<'_> {
    /// Drops containerd's connection, and dials the shim again.
    ///
    /// # Errors
    ///
    /// When nobody listens at the shim's socket.
    pub async fn redial(&self) -> Result<()> {
        self.lab().obey(wire::Order::Redial { id: self.id().to_owned(), via: None }).await.map(drop)
    }
}
