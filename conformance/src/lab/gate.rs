//! A gate at which processes in containers wait, however many, until the lab lets all of them go at once.

use std::fs;

use anyhow::{Context as _, Result};

use super::Lab;

/// A closed gate; dropping it opens it.
#[derive(Debug)]
pub struct Gate {
    /// Locked exclusively; who waits asks for a shared lock.
    file: fs::File,
}

impl Lab {
    /// Closes a gate for [`behind`](super::program::behind); must come before the processes that are to wait.
    ///
    /// # Errors
    ///
    /// When its file cannot be made; the suite's fault.
    pub fn gate(&self, name: &str) -> Result<Gate> {
        let path = self.places().shared.join(name);
        let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
        file.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(Gate { file })
    }
}

impl Gate {
    /// Lets everybody go.
    ///
    /// # Errors
    ///
    /// When the lock cannot be released; the suite's fault.
    pub fn open(self) -> Result<()> {
        self.file.unlock().context("open a gate")
    }
}
