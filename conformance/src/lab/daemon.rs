//! The lab's hold on the fake containerd: it executes it, orders it about, kills it and starts it again.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    process::Stdio,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use fault_injector::seam::process::Process;
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    process::{Child, Command},
    sync::{Mutex, oneshot},
    task::{JoinHandle, spawn_local},
};

use super::recorder::Recorder;
use crate::{
    history::What,
    wire::{Numbered, Order, Outcome, Reloaded, Report, Setup},
};

/// How long the fake containerd may take to serve; it is our own process, so a breach is our own error.
const READY: Duration = Duration::from_secs(20);

/// One life of the fake containerd.
pub struct Containerd {
    life: u32,
    child: RefCell<Option<Child>>,
    writer: Mutex<OwnedWriteHalf>,
    next: Cell<u64>,
    open: Rc<Open>,
    reader: RefCell<Option<JoinHandle<()>>>,
    reloaded: Vec<Reloaded>,
    recorder: Rc<Recorder>,
}

/// The orders whose end has not been reported; gone with the containerd.
#[derive(Default)]
struct Open {
    orders: RefCell<Option<HashMap<u64, Waiting>>>,
    up: RefCell<Option<oneshot::Sender<Vec<Reloaded>>>>,
}

struct Waiting {
    underway: Option<oneshot::Sender<Option<u32>>>,
    ended: oneshot::Sender<Outcome>,
}

/// An order that was given.
pub struct Given {
    underway: oneshot::Receiver<Option<u32>>,
    ended: oneshot::Receiver<Outcome>,
}

impl Given {
    /// Waits until the order is under way; the pid is that of a helper. `None` when it ended or died before.
    pub async fn underway(&mut self) -> Option<Option<u32>> {
        (&mut self.underway).await.ok()
    }

    /// Whether nothing has been heard of its end yet.
    pub fn is_open(&self) -> bool {
        self.ended.is_empty() && !self.ended.is_terminated()
    }

    /// Waits for the end, which must come and be the order's own.
    ///
    /// # Errors
    ///
    /// When the containerd died, or the order could not be carried out.
    pub async fn outcome(self) -> Result<Outcome> {
        match self.ended().await {
            Some(Outcome::Failed(reason)) => bail!("fake containerd: {reason}"),
            Some(outcome) => Ok(outcome),
            None => bail!("the fake containerd died"),
        }
    }

    /// Waits for the end; `None` when the containerd died first.
    pub async fn ended(self) -> Option<Outcome> {
        self.ended.await.ok()
    }
}

impl Containerd {
    /// Executes a fake containerd and waits until it has reloaded what lies on disk.
    ///
    /// # Errors
    ///
    /// When it does not come up; the suite's fault.
    pub async fn start(setup: &Setup, life: u32, recorder: Rc<Recorder>) -> Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().context("make a socket pair")?;
        ours.set_nonblocking(true).context("prepare the control socket")?;
        let own = std::env::current_exe().context("find the suite's own executable")?;
        let child = Command::new(own)
            .arg(crate::entry::CONTAINERD)
            .arg(serde_json::to_string(setup).context("encode the setup")?)
            .stdin(std::os::fd::OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("execute the fake containerd")?;
        let (reader, writer) = UnixStream::from_std(ours).context("adopt the control socket")?.into_split();
        let open = Rc::new(Open::default());
        let (up, is_up) = oneshot::channel();
        *open.orders.borrow_mut() = Some(HashMap::new());
        *open.up.borrow_mut() = Some(up);
        let reading = spawn_local(read(reader, open.clone(), recorder.clone()));
        let reloaded = tokio::time::timeout(READY, is_up)
            .await
            .context("the fake containerd did not come up in time")?
            .context("the fake containerd died at once")?;
        recorder.record(What::ContainerdUp(life));
        Ok(Self {
            life,
            child: RefCell::new(Some(child)),
            writer: Mutex::new(writer),
            next: Cell::new(0),
            open,
            reader: RefCell::new(Some(reading)),
            reloaded,
            recorder,
        })
    }

    /// What it found on disk when it came up.
    pub fn reloaded(&self) -> &[Reloaded] {
        &self.reloaded
    }

    /// Which life of containerd this is, from 1.
    pub fn life(&self) -> u32 {
        self.life
    }

    /// Gives an order.
    ///
    /// # Errors
    ///
    /// When it cannot be encoded.
    pub async fn give(&self, order: Order) -> Result<Given> {
        let number = self.next.replace(self.next.get() + 1);
        let (underway, is_underway) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        if let Some(orders) = self.open.orders.borrow_mut().as_mut() {
            orders.insert(number, Waiting { underway: Some(underway), ended });
        }
        let mut line = serde_json::to_vec(&Numbered { number, order }).context("encode an order")?;
        line.push(b'\n');
        let mut writer = self.writer.lock().await;
        // To a dead containerd nothing can be said; the order ends as unanswered.
        if writer.write_all(&line).await.is_err()
            && let Some(orders) = self.open.orders.borrow_mut().as_mut()
        {
            orders.remove(&number);
        }
        Ok(Given { underway: is_underway, ended: has_ended })
    }

    /// Gives an order and waits for its end.
    ///
    /// # Errors
    ///
    /// When the containerd died, or the order could not be carried out.
    pub async fn obey(&self, order: Order) -> Result<Outcome> {
        self.give(order).await?.outcome().await
    }

    /// Its process.
    ///
    /// # Errors
    ///
    /// When it was killed before.
    pub fn process(&self) -> Result<Process> {
        let pid = self.child.borrow().as_ref().and_then(Child::id).context("the fake containerd was killed before")?;
        Process::open(i32::try_from(pid)?).context("open the fake containerd")
    }

    /// Sends a signal that ends it, and waits until the process is gone and everything it had said has been heard.
    ///
    /// # Errors
    ///
    /// When it was killed before.
    pub async fn end(&self, signal: Signal) -> Result<()> {
        let process = self.process()?;
        let mut child = self.child.borrow_mut().take().context("the fake containerd was killed before")?;
        process.signal(signal).context("end the fake containerd")?;
        child.wait().await.context("wait for the fake containerd")?;
        let reader = self.reader.borrow_mut().take().context("the fake containerd was killed before")?;
        reader.await.context("hear the fake containerd out")?;
        self.recorder.record(What::ContainerdKilled(self.life));
        Ok(())
    }
}

async fn read(reader: OwnedReadHalf, open: Rc<Open>, recorder: Rc<Recorder>) {
    let mut lines = BufReader::new(reader).lines();
    // An error ends the stream as its end does: the process is gone.
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(report) => hear(report, &open, &recorder),
            Err(e) => recorder.trouble(format!("the fake containerd speaks nonsense: {e}")),
        }
    }
    open.orders.borrow_mut().take();
    open.up.borrow_mut().take();
}

fn hear(report: Report, open: &Open, recorder: &Recorder) {
    match report {
        Report::Up { reloaded } => {
            if let Some(up) = open.up.borrow_mut().take() {
                // Nobody waits any more when the lab has given up.
                _ = up.send(reloaded);
            }
        }
        Report::Underway { number, pid } => {
            let mut orders = open.orders.borrow_mut();
            let waiting = orders.as_mut().and_then(|orders| orders.get_mut(&number));
            if let Some(underway) = waiting.and_then(|waiting| waiting.underway.take()) {
                // Few callers want to know.
                _ = underway.send(pid);
            }
        }
        Report::Ended { number, at: _, outcome } => {
            let waiting = open.orders.borrow_mut().as_mut().and_then(|orders| orders.remove(&number));
            if let Some(waiting) = waiting {
                // A caller may have dropped what it gave.
                _ = waiting.ended.send(outcome);
            }
        }
        Report::Event { at, event: Ok(event) } => recorder.event(at, event),
        Report::Event { at: _, event: Err(reason) } => recorder.malformed_event(reason),
        Report::Closed { id } => recorder.record(What::Note(format!("the shim of {id} closed the connection"))),
        Report::Log { id, text } => recorder.log(&id, &text),
    }
}
