//! The fake containerd: a process of its own, so that its death is a real one.
//!
//! It plays the part of the daemon that shims can see: lays out bundles, executes `start` and `delete`, serves the events service, reads
//! the log FIFOs and owns the connections. Everything it must remember over a death lies in its state directory, as with containerd.

mod bootstrap;
mod bundle;
mod client;
mod events;
mod helper;

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use containerd_shim_protos::api::ConnectRequest;
use protobuf::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
    task::LocalSet,
};

use self::{client::Client, events::Events};
use crate::{
    clock,
    wire::{Bootstrap, CallOutcome, Numbered, Order, Outcome, Reloaded, Report, Setup},
};

/// What containerd gives Connect when it reloads a shim (containerd: `core/runtime/v2/shim_load.go`, `loadTimeout`).
const RELOAD_DEADLINE: Duration = Duration::from_secs(5);

/// Runs the fake containerd on the control socket `control` until it is killed or the lab hangs up.
///
/// # Errors
///
/// When the state directory cannot be used or the control socket breaks.
pub fn main(setup: Setup, control: std::os::unix::net::UnixStream) -> Result<()> {
    control.set_nonblocking(true).context("prepare the control socket")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    LocalSet::new().block_on(&runtime, async move {
        let (orders, reports) = UnixStream::from_std(control).context("adopt the control socket")?.into_split();
        let daemon = Rc::new(Daemon {
            events: Events::new(setup.events.clone()),
            reports: Reports(Mutex::new(reports)),
            clients: RefCell::new(HashMap::new()),
            logs: bundle::Logs::default(),
            setup,
        });
        daemon.clone().serve(orders).await
    })
}

/// The way back to the lab.
struct Reports(Mutex<OwnedWriteHalf>);

impl Reports {
    /// Hands `report` to the kernel, from where the lab gets it even if this process dies now.
    async fn say(&self, report: &Report) -> Result<()> {
        let mut line = serde_json::to_vec(report).context("encode a report")?;
        line.push(b'\n');
        self.0.lock().await.write_all(&line).await.context("write to the lab")
    }
}

struct Daemon {
    setup: Setup,
    events: Events,
    reports: Reports,
    /// By container id. Grouped containers have a connection each, as in containerd.
    clients: RefCell<HashMap<String, Client>>,
    logs: bundle::Logs,
}

impl Daemon {
    async fn serve(self: Rc<Self>, orders: OwnedReadHalf) -> Result<()> {
        self.clone().listen()?;
        let reloaded = self.clone().reload().await?;
        self.reports.say(&Report::Up { reloaded }).await?;

        let mut orders = BufReader::new(orders).lines();
        while let Some(line) = orders.next_line().await.context("read an order")? {
            let Numbered { number, order } = serde_json::from_str(&line).context("decode an order")?;
            let daemon = self.clone();
            tokio::task::spawn_local(async move {
                let outcome =
                    daemon.carry_out(number, order).await.unwrap_or_else(|e| Outcome::Failed(format!("{e:#}")));
                // When the lab is gone nobody is left to tell.
                _ = daemon.reports.say(&Report::Ended { number, at: clock::now(), outcome }).await;
            });
        }
        Ok(())
    }

    fn listen(self: Rc<Self>) -> Result<()> {
        let daemon = self.clone();
        self.events.listen(move |event| {
            let daemon = daemon.clone();
            Box::pin(async move { daemon.reports.say(&Report::Event { at: clock::now(), event }).await })
        })
    }

    async fn carry_out(self: &Rc<Self>, number: u64, order: Order) -> Result<Outcome> {
        match order {
            Order::Bundle { id, config } => {
                bundle::lay_out(&self.setup, &id, config.as_deref())?;
                self.clone().watch_log(&id)?;
                Ok(Outcome::Done)
            }
            Order::Start { id, options, input } => self.start(number, &id, &options, input).await,
            Order::Print { args } => {
                let mut helper = helper::print(&self.setup, &args)?;
                let (ran, stdout) = helper.finish(self.scaled(helper::PRINT_DEADLINE)).await?;
                Ok(Outcome::Printed { ran, stdout })
            }
            Order::Call { id, method, payload, deadline_ms, tell_deadline } => {
                let deadline = Duration::from_millis(deadline_ms);
                let Some(client) = self.clients.borrow().get(&id).cloned() else {
                    return Ok(Outcome::Called(CallOutcome::Disconnected));
                };
                let pending = client.send(&method, payload, tell_deadline.then_some(deadline)).await;
                self.reports.say(&Report::Underway { number, pid: None }).await?;
                Ok(Outcome::Called(pending.outcome(deadline).await))
            }
            Order::Redial { id, via } => {
                let mut bootstrap = bundle::read_bootstrap(&self.setup, &id)?;
                if let Some(via) = via {
                    bootstrap.address = format!("unix://{}", via.display());
                }
                self.clients.borrow_mut().remove(&id);
                self.dial(&id, &bootstrap).await?;
                Ok(Outcome::Done)
            }
            Order::Delete { id } => {
                let mut helper = helper::delete(&self.setup, &id)?;
                self.reports.say(&Report::Underway { number, pid: helper.pid() }).await?;
                let (ran, stdout) = helper.finish(self.scaled(helper::DELETE_DEADLINE)).await?;
                Ok(Outcome::Deleted { ran, stdout })
            }
            Order::Forget { id } => {
                self.clients.borrow_mut().remove(&id);
                self.logs.forget(&id);
                bundle::remove(&self.setup, &id)?;
                Ok(Outcome::Done)
            }
            Order::Events(mode) => {
                self.events.set_mode(mode);
                self.clone().listen()?;
                Ok(Outcome::Done)
            }
            Order::EventsAt(path) => {
                self.events.set_path(path);
                self.clone().listen()?;
                Ok(Outcome::Done)
            }
            Order::DrainLogs(drain) => {
                self.logs.drain(drain);
                Ok(Outcome::Done)
            }
        }
    }

    async fn start(self: &Rc<Self>, number: u64, id: &str, options: &[u8], input: Option<Vec<u8>>) -> Result<Outcome> {
        let mut helper = helper::start(&self.setup, id, options, input).await?;
        self.reports.say(&Report::Underway { number, pid: helper.pid() }).await?;
        let (ran, stdout) = helper.finish(self.scaled(helper::START_DEADLINE)).await?;
        if ran.code != Some(0) {
            return Ok(Outcome::Started { ran, answer: Err("start failed".to_owned()) });
        }
        let answer = match bootstrap::parse(&stdout, self.setup.daemon) {
            Ok(bootstrap) => {
                bundle::remember(&self.setup, id, &bootstrap)?;
                self.dial(id, &bootstrap).await.map(|()| bootstrap).map_err(|e| format!("{e:#}"))
            }
            Err(reason) => Err(reason),
        };
        Ok(Outcome::Started { ran, answer })
    }

    async fn dial(self: &Rc<Self>, id: &str, bootstrap: &Bootstrap) -> Result<()> {
        let daemon = self.clone();
        let connection = id.to_owned();
        let closed = async move {
            // When the lab is gone nobody is left to tell.
            _ = daemon.reports.say(&Report::Closed { id: connection }).await;
        };
        let client = Client::dial(bootstrap, &self.setup.namespace, closed).await?;
        self.clients.borrow_mut().insert(id.to_owned(), client);
        Ok(())
    }

    /// What containerd does with the bundles it finds: reopen the log, dial, Connect (containerd: `core/runtime/v2/shim_load.go`).
    /// It decides nothing about dead shims: the lab orders `delete`, so that a check may look first.
    async fn reload(self: Rc<Self>) -> Result<Vec<Reloaded>> {
        let mut reloaded = Vec::new();
        for id in bundle::found(&self.setup)? {
            self.clone().watch_log(&id)?;
            let connect = self.reconnect(&id).await.map_err(|e| format!("{e:#}"));
            reloaded.push(Reloaded { id, connect });
        }
        Ok(reloaded)
    }

    async fn reconnect(self: &Rc<Self>, id: &str) -> Result<CallOutcome> {
        let bootstrap = bundle::read_bootstrap(&self.setup, id)?;
        self.dial(id, &bootstrap).await?;
        let client = self.clients.borrow().get(id).cloned().context("the connection ended at once")?;
        let mut request = ConnectRequest::new();
        request.id = id.to_owned();
        let deadline = self.scaled(RELOAD_DEADLINE);
        let payload = request.write_to_bytes().context("encode Connect")?;
        Ok(client.send("Connect", payload, Some(deadline)).await.outcome(deadline).await)
    }

    fn watch_log(self: Rc<Self>, id: &str) -> Result<()> {
        let daemon = self.clone();
        let container = id.to_owned();
        self.logs.watch(&self.setup, id, move |text| {
            let (daemon, id) = (daemon.clone(), container.clone());
            Box::pin(async move {
                // When the lab is gone nobody is left to tell.
                _ = daemon.reports.say(&Report::Log { id, text }).await;
            })
        })
    }

    fn scaled(&self, deadline: Duration) -> Duration {
        deadline.mul_f64(self.setup.timeout_scale)
    }
}
