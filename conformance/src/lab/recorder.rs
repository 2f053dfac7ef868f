//! Where everything that is observed comes together; the lie of an audit is told here.

use std::{cell::RefCell, time::Duration};

use tokio::sync::Notify;

use crate::{
    clock,
    history::{Event, History, Moment, Record, What},
    lie::Lie,
};

/// How much of a shim's log is kept for a failure's page.
const LOG_KEPT: usize = 64 << 10;

/// Collects a history.
#[derive(Debug, Default)]
pub struct Recorder {
    lie: Option<Lie>,
    history: RefCell<History>,
    held: RefCell<Option<Event>>,
    log: RefCell<String>,
    troubles: RefCell<Vec<String>>,
    malformed: RefCell<Vec<String>>,
    news: Notify,
}

impl Recorder {
    /// An empty history, and the lie to tell about it.
    pub fn new(lie: Option<Lie>) -> Self {
        Self { lie, ..Self::default() }
    }

    /// The lie, if one is told.
    pub fn lie(&self) -> Option<Lie> {
        self.lie
    }

    /// Adds a record of this moment.
    pub fn record(&self, what: What) {
        self.record_at(clock::now(), what);
    }

    fn record_at(&self, at: Moment, what: What) {
        self.history.borrow_mut().records.push(Record { at, what });
        self.news.notify_waiters();
    }

    /// Adds an event that arrived at `at`.
    pub fn event(&self, at: Moment, event: Event) {
        let events = match self.lie {
            Some(lie) => lie.event(event, &mut self.held.borrow_mut()),
            None => vec![event],
        };
        for event in events {
            self.record_at(at, What::Event(event));
        }
    }

    /// An event arrived that containerd would have refused.
    pub fn malformed_event(&self, reason: String) {
        self.record(What::EventRefused(reason.clone()));
        self.malformed.borrow_mut().push(reason);
    }

    /// The reasons of all refused events.
    pub fn malformed(&self) -> Vec<String> {
        self.malformed.borrow().clone()
    }

    /// Keeps the end of what shims log.
    pub fn log(&self, id: &str, text: &str) {
        let mut log = self.log.borrow_mut();
        for line in text.lines() {
            log.push_str(id);
            log.push_str(": ");
            log.push_str(line);
            log.push('\n');
        }
        if log.len() > LOG_KEPT {
            let cut = log.len() - LOG_KEPT;
            let cut = log[cut..].find('\n').map_or(log.len(), |newline| cut + newline + 1);
            log.drain(..cut);
        }
    }

    /// The end of what shims logged.
    pub fn log_tail(&self) -> String {
        self.log.borrow().clone()
    }

    /// Something of the suite's own went wrong.
    pub fn trouble(&self, what: String) {
        self.troubles.borrow_mut().push(what);
    }

    /// What went wrong with the suite itself.
    pub fn troubles(&self) -> Vec<String> {
        self.troubles.borrow().clone()
    }

    /// What has been recorded so far.
    pub fn history(&self) -> History {
        self.history.borrow().clone()
    }

    /// Looks at the history now and after each news, until `wanted` finds what it looks for; `None` when `limit` passes first.
    pub async fn until<T>(&self, limit: Duration, mut wanted: impl FnMut(&History) -> Option<T>) -> Option<T> {
        let look = async {
            loop {
                // Registered before looking, so that news in between is not missed.
                let news = self.news.notified();
                if let Some(found) = wanted(&self.history.borrow()) {
                    return found;
                }
                news.await;
            }
        };
        tokio::time::timeout(limit, look).await.ok()
    }
}
