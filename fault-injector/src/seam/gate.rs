//! Decides what becomes of each frame on a socket, and whether anybody listens there.
//!
//! A [`Gate`] holds the installed faults of one socket and judges; whoever owns the connections carries the judgement out with
//! [`Strike::apply`]. A gate is cheap to clone, belongs to no task, and may be used from several.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::fault::{Action, Direction, Fault, Leftover, Point, Seam, Tamper, Trigger, Unfit};
use crate::frame::{Frame, Kind};
use crate::guard::{Bites, Guard};

/// The faults in force on one socket.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seam: Seam,
    /// A std mutex: it is never held across an await.
    state: Mutex<State>,
    /// Touched after each change of `state` that somebody may wait for.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The name of the next installation. A name that is still in one of the maps below is in force.
    next_key: u64,
    /// Judged in the order of installation.
    rules: BTreeMap<u64, Rule>,
    /// Why nobody listens; empty while somebody does.
    refusals: BTreeMap<u64, (Leftover, Bites)>,
}

#[derive(Debug)]
struct Rule {
    direction: Direction,
    when: Trigger,
    change: Change,
    /// Frames of this direction so far.
    occasions: u32,
    bites: Bites,
}

enum Change {
    Tamper(Tamper),
    Rewrite(Box<dyn FnMut(&mut Frame) + Send>),
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tamper(tamper) => tamper.fmt(f),
            Self::Rewrite(_) => f.write_str("Rewrite"),
        }
    }
}

impl Gate {
    /// A gate on [`Seam::TaskSocket`] or [`Seam::Events`] with no fault in force.
    pub fn new(seam: Seam) -> Self {
        Self(Arc::new(Inner { seam, state: Mutex::default(), changed: watch::Sender::new(()) }))
    }

    /// Puts a fault in force.
    ///
    /// # Errors
    ///
    /// [`Unfit`] where the fault belongs to another seam or contradicts itself.
    pub fn inject(&self, fault: &Fault) -> Result<Guard, Unfit> {
        fault.check()?;
        if fault.seam != self.0.seam {
            return Err(Unfit::new(fault, "the fault belongs to another seam"));
        }
        match fault.does {
            Action::Frame(direction, tamper) => {
                Ok(self.install(fault.id, direction, fault.when, Change::Tamper(tamper)))
            }
            Action::Refuse(leftover) => Ok(self.0.enforce(fault.id, |state, key, bites| {
                state.refusals.insert(key, (leftover, bites));
            })),
            Action::Signal(..) | Action::Runtime(_) | Action::Limit(_) | Action::Damage(_) | Action::Syscall(_) => {
                Err(Unfit::new(fault, "a socket takes no signals and runs no runtime"))
            }
        }
    }

    /// Changes frames in ways that no [`Tamper`] foresees. `id` names the guard in messages.
    pub fn rewrite(
        &self,
        id: &'static str,
        direction: Direction,
        when: Trigger,
        rewrite: impl FnMut(&mut Frame) + Send + 'static,
    ) -> Guard {
        self.install(id, direction, when, Change::Rewrite(Box::new(rewrite)))
    }

    /// The gate's view of a connection that begins.
    pub fn conversation(&self) -> Conversation {
        Conversation { gate: self.clone(), calls: Mutex::default() }
    }

    /// Waits until nobody is to listen, and says what is to be left of the listening socket.
    pub async fn refusing(&self) -> Leftover {
        self.until(|state| state.refusals.values().next().map(|(leftover, _)| *leftover)).await
    }

    /// To be awaited by the owner of the sockets while the listening one and every connection are closed: counts the refusals as
    /// bites and returns when somebody is to listen again.
    pub async fn closed(&self) {
        self.until(|state| {
            for (_, bites) in state.refusals.values() {
                bites.at_least(1);
            }
            state.refusals.is_empty().then_some(())
        })
        .await;
    }

    fn install(&self, id: &'static str, direction: Direction, when: Trigger, change: Change) -> Guard {
        self.0.enforce(id, |state, key, bites| {
            state.rules.insert(key, Rule { direction, when, change, occasions: 0, bites });
        })
    }

    async fn until<T>(&self, condition: impl Fn(&State) -> Option<T>) -> T {
        // Subscribed before the first look, so that no change falls between the two.
        let mut changed = self.0.changed.subscribe();
        loop {
            let met = condition(&self.0.state());
            if let Some(met) = met {
                return met;
            }
            changed.changed().await.expect("the sender lives in the gate, which we hold");
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Only a rewriting closure can panic in here, and that leaves the maps whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enforce(self: &Arc<Self>, id: &'static str, insert: impl FnOnce(&mut State, u64, Bites)) -> Guard {
        let mut state = self.state();
        let key = state.next_key;
        state.next_key += 1;
        // Weak, so that a guard does not keep alive the gate whose end it has to notice.
        let gate: Weak<Self> = Arc::downgrade(self);
        let (guard, bites) = Guard::new(id, move || {
            if let Some(gate) = gate.upgrade() {
                gate.heal(key);
            }
        });
        insert(&mut state, key, bites);
        drop(state);
        self.changed.send_replace(());
        guard
    }

    /// Turns a rule that struck into a refusal under the same key, so that the same guard heals it.
    fn leave(&self, key: u64, bites: Bites) {
        let mut state = self.state();
        // Absent when the guard was dropped between the judgement and now.
        if state.rules.contains_key(&key) {
            state.refusals.insert(key, (Leftover::Path, bites));
        }
        drop(state);
        self.changed.send_replace(());
    }

    fn heal(&self, key: u64) {
        let mut state = self.state();
        state.rules.remove(&key);
        state.refusals.remove(&key);
        drop(state);
        self.changed.send_replace(());
    }
}

impl State {
    fn is_in_force(&self, key: u64) -> bool {
        self.rules.contains_key(&key) || self.refusals.contains_key(&key)
    }
}

impl Rule {
    /// Counts the frame, and says whether the rule wants it.
    fn wants(&mut self, direction: Direction, call: Option<&str>) -> bool {
        if direction != self.direction {
            return false;
        }
        self.occasions = self.occasions.saturating_add(1);
        match self.when {
            Trigger::Now => true,
            Trigger::Nth(n) => self.occasions == n,
            // The direction tells the two apart; see `Fault::check`.
            Trigger::Before(name) | Trigger::After(name) => call == Some(name),
        }
    }
}

/// One connection as the gate sees it: it remembers which stream asked for what, so that answers can be told apart by call.
#[derive(Debug)]
pub struct Conversation {
    gate: Gate,
    /// The method of each request that has no answer yet.
    calls: Mutex<HashMap<u32, String>>,
}

impl Conversation {
    /// What is to happen to a frame: `None` is what happens to it anyway. Each frame is to be shown once.
    pub fn judge(&self, direction: Direction, frame: &Frame) -> Option<Strike> {
        let call = self.call(direction, frame);
        let mut state = self.gate.0.state();
        let mut strike = None;
        for (key, rule) in &mut state.rules {
            // Every rule counts the frame; the first that wants it gets it.
            if !rule.wants(direction, call.as_deref()) || strike.is_some() {
                continue;
            }
            let blow = match &mut rule.change {
                Change::Tamper(tamper) => Blow::Tamper(*tamper),
                Change::Rewrite(rewrite) => {
                    let mut rewritten = frame.clone();
                    rewrite(&mut rewritten);
                    Blow::Replace(rewritten)
                }
            };
            strike = Some(Strike { gate: self.gate.clone(), key: *key, blow, bites: rule.bites.clone() });
        }
        strike
    }

    /// Waits until one of the frames that were kept back may go on, and takes it out.
    pub async fn released(&self, kept: &mut Vec<Kept>) -> Frame {
        let at = self.gate.until(|state| kept.iter().position(|kept| !state.is_in_force(kept.key))).await;
        kept.remove(at).frame
    }

    fn call(&self, direction: Direction, frame: &Frame) -> Option<String> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match (direction, frame.header.kind) {
            (Direction::Requests, Kind::Request) => {
                let (_, method) = frame.call()?;
                calls.insert(frame.header.stream, method.to_owned());
                Some(method.to_owned())
            }
            (Direction::Answers, Kind::Response) => calls.remove(&frame.header.stream),
            (Direction::Requests, Kind::Response | Kind::Data | Kind::Unknown(_))
            | (Direction::Answers, Kind::Request | Kind::Data | Kind::Unknown(_)) => None,
        }
    }
}

/// A judgement that is to be carried out.
#[derive(Debug)]
#[must_use = "a strike that nobody applies leaves its frame unsent and uncounted"]
pub struct Strike {
    gate: Gate,
    key: u64,
    blow: Blow,
    bites: Bites,
}

#[derive(Debug)]
enum Blow {
    Tamper(Tamper),
    Replace(Frame),
}

/// What is to become of the connection, or of the frame, after a strike.
#[derive(Debug)]
#[must_use]
pub enum Aftermath {
    /// Nothing: go on with the next frame.
    GoOn,
    /// Go on, and send this frame when [`Conversation::released`] gives it back.
    Keep(Kept),
    /// Send nothing more in this direction, and let the receiver know.
    EndDirection,
    /// Close the connection.
    Close,
}

/// A frame that waits for its fault to heal.
#[derive(Debug)]
pub struct Kept {
    key: u64,
    frame: Frame,
}

impl Strike {
    /// Counts the bite and writes of `frame` what the fault lets through. It counts first, so that whoever sees the effect finds it
    /// counted; a [`Tamper::Leave`] alone counts later, when the sockets are closed. [`Tamper::Stall`] returns when the fault has healed.
    ///
    /// # Errors
    ///
    /// When the receiver cannot be written to.
    pub async fn apply(self, frame: Frame, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<Aftermath> {
        let Self { gate, key, blow, bites } = self;
        let tamper = match blow {
            Blow::Tamper(tamper) => tamper,
            Blow::Replace(rewritten) => {
                bites.count();
                to.write_all(&rewritten.to_bytes()).await?;
                return Ok(Aftermath::GoOn);
            }
        };
        if !matches!(tamper, Tamper::Leave(_)) {
            bites.count();
        }
        match tamper {
            Tamper::Hold => return Ok(Aftermath::Keep(Kept { key, frame })),
            Tamper::Stall => {
                gate.until(|state| (!state.is_in_force(key)).then_some(())).await;
                to.write_all(&frame.to_bytes()).await?;
            }
            Tamper::Cut(point) => {
                write_until(&frame, point, to).await?;
                return Ok(Aftermath::Close);
            }
            Tamper::Leave(point) => {
                write_until(&frame, point, to).await?;
                gate.0.leave(key, bites);
                return Ok(Aftermath::Close);
            }
            Tamper::HalfClose(point) => {
                write_until(&frame, point, to).await?;
                return Ok(Aftermath::EndDirection);
            }
            Tamper::Split => {
                for byte in frame.to_bytes() {
                    to.write_all(&[byte]).await?;
                    tokio::task::yield_now().await; // A receiver on the same thread gets to see each byte alone.
                }
            }
            Tamper::Duplicate => to.write_all(&frame.to_bytes().repeat(2)).await?,
            Tamper::Corrupt(corruption) => to.write_all(&frame.corrupted(corruption).to_bytes()).await?,
        }
        Ok(Aftermath::GoOn)
    }
}

async fn write_until(frame: &Frame, point: Point, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(&frame.to_bytes()[..frame.bytes_before(point)]).await
}

#[cfg(test)]
mod tests;
