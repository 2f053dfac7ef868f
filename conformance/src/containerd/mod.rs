//! The fake containerd: a process of its own, so that its death is a real one.
//!
//! It plays the part of the daemon that shims can see: lays out bundles, executes `start` and `delete`, serves the events service, reads
//! the log FIFOs and owns the connections. Everything it must remember over a death lies in its state directory, as with containerd.

mod bootstrap;
mod bundle;
mod client;
mod events;
mod helper;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use containerd_shim_protos::api::{ConnectRequest, PidsRequest, PidsResponse};
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
    profile::{Listed, Reaps},
    wire::{Bootstrap, CallOutcome, Numbered, Order, Outcome, Reloaded, Report, Setup, Twist, Unusable},
};

/// `BootstrapParams` as this containerd writes them for the container `id` with these runtime options, encoded.
///
/// # Errors
///
/// When the options are no `Any`; the suite's fault.
pub fn params(setup: &Setup, id: &str, options: &[u8]) -> Result<Vec<u8>> {
    helper::params(setup, id, options)
}

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
            knows_info: Cell::new(false),
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
    /// Whether the shim was asked for `-info`.
    knows_info: Cell<bool>,
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
            Order::Start { id, options, twist } => self.start(number, &id, &options, twist).await,
            Order::Print { args, input } => {
                let mut helper = helper::print(&self.setup, &args, input)?;
                let (ran, stdout) = helper.finish(self.scaled(helper::PRINT_DEADLINE)).await?;
                Ok(Outcome::Printed { ran, stdout })
            }
            Order::Call { id, service, method, payload, deadline_ms, tell_deadline } => {
                let deadline = Duration::from_millis(deadline_ms);
                let Some(client) = self.clients.borrow().get(&id).cloned() else {
                    return Ok(Outcome::Called(CallOutcome::Disconnected));
                };
                let told = tell_deadline.then_some(deadline);
                let pending = match service {
                    Some(service) => client.send_to(service, &method, payload.clone(), told).await,
                    None => client.send(&method, payload.clone(), told).await,
                };
                self.reports.say(&Report::Underway { number, pid: None }).await?;
                let mut outcome = pending.outcome(deadline).await;
                if method == "Create" && self.falls_back(&client, &outcome) {
                    outcome = client.send(&method, payload, told).await.outcome(deadline).await;
                }
                Ok(Outcome::Called(outcome))
            }
            Order::Join { id, name } => {
                let bootstrap = bundle::read_bootstrap(&self.setup, &id)?;
                self.dial(&name, &bootstrap).await?;
                Ok(Outcome::Done)
            }
            Order::Member { id, sandbox } => {
                let bootstrap = bundle::join(&self.setup, &id, &sandbox)?;
                self.dial(&id, &bootstrap).await?;
                Ok(Outcome::Done)
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
            Order::Delete { id, debug } => {
                let mut helper = helper::delete(&self.setup, &id, debug)?;
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

    /// What containerd does for a container's shim (containerd: `core/runtime/v2/binary.go`, `Start`), in its order.
    async fn start(self: &Rc<Self>, number: u64, id: &str, options: &[u8], twist: Twist) -> Result<Outcome> {
        self.ask_info(options).await?;
        let unusable = twist.unusable;
        let mut helper = helper::start(&self.setup, id, options, twist)?;
        self.reports.say(&Report::Underway { number, pid: helper.pid() }).await?;
        let (ran, stdout) = helper.finish(self.scaled(helper::START_DEADLINE)).await?;
        if ran.code != Some(0) {
            return Ok(Outcome::Started { ran, answer: Err(Unusable::No("start failed".to_owned())) });
        }
        bundle::remember_binary(&self.setup, id)?;
        if unusable {
            return Ok(Outcome::Started { ran, answer: Err(Unusable::No("it shall not be used".to_owned())) });
        }
        let answer = match bootstrap::parse(&stdout, self.setup.profile) {
            Ok(bootstrap) => match self.dial(id, &bootstrap).await {
                Ok(()) => {
                    bundle::remember(&self.setup, id, &bootstrap)?;
                    Ok(bootstrap)
                }
                Err(e) => Err(Unusable::No(format!("{e:#}"))),
            },
            Err(unusable) => Err(unusable),
        };
        Ok(Outcome::Started { ran, answer })
    }

    /// Executes `-info` once, where containerd does; it goes on without an answer (containerd: `core/runtime/v2/shim_manager.go`,
    /// `loadShimInfo`).
    async fn ask_info(&self, options: &[u8]) -> Result<()> {
        if !self.setup.profile.asks_info || helper::is_builtin(&self.setup) || self.knows_info.replace(true) {
            return Ok(());
        }
        let mut helper = helper::print(&self.setup, &["-info".to_owned()], options.to_vec())?;
        helper.finish(self.scaled(helper::PRINT_DEADLINE)).await.map(drop)
    }

    /// Whether `outcome` means that the shim serves an older Task service than it promised; then `client` speaks that from now on
    /// (containerd: `core/runtime/v2/task_manager.go`, `Create`; `shim_load.go`, `loadShimTask`).
    fn falls_back(&self, client: &Client, outcome: &CallOutcome) -> bool {
        const UNIMPLEMENTED: i32 = 12;
        matches!(outcome, CallOutcome::Status(UNIMPLEMENTED, _)) && self.setup.profile.falls_back && client.fall_back()
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
            let answered = matches!(connect, Ok(CallOutcome::Response(_)));
            let asks = self.setup.profile.reaps != Reaps::None;
            let listed = if answered && asks { Some(self.list(&id).await?) } else { None };
            reloaded.push(Reloaded { id, connect, listed });
        }
        Ok(reloaded)
    }

    async fn reconnect(self: &Rc<Self>, id: &str) -> Result<CallOutcome> {
        let bootstrap = bundle::read_bootstrap(&self.setup, id)?;
        self.dial(id, &bootstrap).await?;
        let client = self.client(id)?;
        let mut request = ConnectRequest::new();
        request.id = id.to_owned();
        let deadline = self.scaled(RELOAD_DEADLINE);
        let payload = request.write_to_bytes().context("encode Connect")?;
        let outcome = client.send("Connect", payload.clone(), Some(deadline)).await.outcome(deadline).await;
        if self.falls_back(&client, &outcome) {
            return Ok(client.send("Connect", payload, Some(deadline)).await.outcome(deadline).await);
        }
        Ok(outcome)
    }

    /// Asks for the processes of a shim that was found again. containerd before 2.3 waits without limit; so long nobody waits here.
    async fn list(&self, id: &str) -> Result<Listed> {
        const NOT_FOUND: i32 = 5;
        let mut request = PidsRequest::new();
        request.id = id.to_owned();
        let payload = request.write_to_bytes().context("encode Pids")?;
        let deadline = self.scaled(RELOAD_DEADLINE);
        Ok(match self.client(id)?.send("Pids", payload, None).await.outcome(deadline).await {
            CallOutcome::Response(bytes) => match PidsResponse::parse_from_bytes(&bytes) {
                Ok(listed) if listed.processes.is_empty() => Listed::Nobody,
                Ok(_) => Listed::Some,
                Err(_) => Listed::Failed,
            },
            CallOutcome::Status(NOT_FOUND, _) => Listed::Unknown,
            CallOutcome::Status(..) | CallOutcome::Deadline | CallOutcome::Disconnected => Listed::Failed,
        })
    }

    fn client(&self, id: &str) -> Result<Client> {
        self.clients.borrow().get(id).cloned().with_context(|| format!("there is no connection for {id}"))
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
