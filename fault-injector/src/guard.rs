//! A fault in force, as something to hold on to.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout_at};

/// How often to look at a count of which nobody sends word.
const LOOK_UP_AGAIN: Duration = Duration::from_millis(2);

/// Keeps a fault in force. Dropping it heals.
#[must_use = "a guard that is dropped at once heals the fault before it can bite"]
pub struct Guard {
    id: &'static str,
    count: Count,
    /// Undoes the fault; gone once it has.
    heal: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// Where the number of bites comes from.
enum Count {
    /// The seam tells.
    Told(watch::Receiver<u32>),
    /// Another process bites and writes it down; here is how to look it up.
    LookedUp(Box<dyn Fn() -> u32 + Send + Sync>),
}

impl Guard {
    /// A guard for the fault named `id`, and the counter which the seam keeps.
    pub fn new(id: &'static str, heal: impl FnOnce() + Send + Sync + 'static) -> (Self, Bites) {
        let (sender, bites) = watch::channel(0);
        let (count, heal) = (Count::Told(bites), Some(Box::new(heal) as _));
        (Self { id, count, heal }, Bites(sender))
    }

    /// A guard for a fault which another process carries out; `bites` looks up how often it did.
    pub fn looking_up(
        id: &'static str,
        bites: impl Fn() -> u32 + Send + Sync + 'static,
        heal: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        let (count, heal) = (Count::LookedUp(Box::new(bites)), Some(Box::new(heal) as _));
        Self { id, count, heal }
    }

    /// The id of the fault.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// How often the fault took effect so far. Zero at the end means that a verdict under this fault proved nothing.
    pub fn bites(&self) -> u32 {
        match &self.count {
            Count::Told(bites) => *bites.borrow(),
            Count::LookedUp(bites) => bites(),
        }
    }

    /// Waits until the fault took effect `times` times: the barrier after which a check knows where the shim is.
    ///
    /// # Errors
    ///
    /// [`NeverBit`] at the deadline, or as soon as the seam is gone and cannot bite any more.
    pub async fn bitten(&self, times: u32, deadline: Instant) -> Result<(), NeverBit> {
        let enough = async {
            match &self.count {
                Count::Told(bites) => bites.clone().wait_for(|bites| *bites >= times).await.is_ok(),
                Count::LookedUp(bites) => {
                    let mut again = interval(LOOK_UP_AGAIN);
                    while bites() < times {
                        again.tick().await;
                    }
                    true
                }
            }
        };
        match timeout_at(deadline, enough).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(NeverBit { id: self.id, wanted: times, bites: self.bites() }),
        }
    }

    /// Heals now, and says how often the fault took effect.
    pub fn heal(mut self) -> u32 {
        // Asked on both sides: what is in force only now can be seen only now, and what healing itself sets going only after.
        let before = self.bites();
        self.undo();
        before.max(self.bites())
    }

    fn undo(&mut self) {
        if let Some(heal) = self.heal.take() {
            heal();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.undo();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("id", &self.id).field("bites", &self.bites()).finish_non_exhaustive()
    }
}

/// The seam's end of a guard: it counts here each time the fault takes effect.
#[derive(Debug, Clone)]
pub struct Bites(watch::Sender<u32>);

impl Bites {
    /// Counts one.
    pub fn count(&self) {
        self.0.send_modify(|bites| *bites += 1);
    }

    /// Raises the count to one learned elsewhere, such as from a log which another process keeps.
    pub fn at_least(&self, bites: u32) {
        self.0.send_if_modified(|count| {
            let more = *count < bites;
            *count = bites.max(*count);
            more
        });
    }
}

/// The fault did not take effect as often as the check relies on, so what was observed says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("fault {id} bit {bites} times instead of {wanted}")]
pub struct NeverBit {
    /// The fault.
    pub id: &'static str,
    /// How often it was to take effect.
    pub wanted: u32,
    /// How often it did.
    pub bites: u32,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    fn counting() -> (Guard, Bites, Arc<AtomicU32>) {
        let healed = Arc::new(AtomicU32::new(0));
        let (guard, bites) = Guard::new("test/any", {
            let healed = Arc::clone(&healed);
            move || {
                healed.fetch_add(1, SeqCst);
            }
        });
        (guard, bites, healed)
    }

    #[test]
    fn dropping_heals_once() {
        let (guard, _bites, healed) = counting();
        assert_eq!(healed.load(SeqCst), 0);
        drop(guard);
        assert_eq!(healed.load(SeqCst), 1);
    }

    #[test]
    fn healing_tells_the_bites_and_heals_once() {
        let (guard, bites, healed) = counting();
        bites.count();
        bites.count();
        assert_eq!(guard.heal(), 2);
        assert_eq!(healed.load(SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_bite_ends_at_the_deadline() {
        let (guard, bites, _healed) = counting();
        bites.count();
        assert_eq!(guard.bitten(1, Instant::now()).await, Ok(()));
        let missing = guard.bitten(2, Instant::now() + Duration::from_secs(1)).await;
        assert_eq!(missing, Err(NeverBit { id: "test/any", wanted: 2, bites: 1 }));
    }

    #[tokio::test]
    async fn waiting_for_a_seam_that_is_gone_ends_at_once() {
        let (guard, bites, _healed) = counting();
        drop(bites);
        let missing = guard.bitten(1, Instant::now() + Duration::from_secs(3600)).await;
        assert_eq!(missing, Err(NeverBit { id: "test/any", wanted: 1, bites: 0 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_kept_elsewhere_is_looked_up_again() {
        let looks = AtomicU32::new(0);
        let guard = Guard::looking_up("test/any", move || looks.fetch_add(1, SeqCst), || ());
        let far = Instant::now() + Duration::from_secs(3600);
        assert_eq!(guard.bitten(5, far).await, Ok(()));
        assert!(guard.heal() >= 6);
    }
}
