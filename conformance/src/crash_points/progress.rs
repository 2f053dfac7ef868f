//! What a sweep has done so far, on disk, so that one that was interrupted goes on where it was.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::Path,
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{
    Scenario, Visit,
    sweep::{Recorded, Visited},
};
use crate::{exit_code::Failure, subject::Subject};

/// How the document begins.
const SCHEMA: &str = "conformance.crash-points/1";

/// The document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Progress {
    schema: String,
    /// What is swept; another sweep does not go on with it.
    identity: Identity,
    /// The points, which stay the same however often it goes on.
    pub recorded: Option<Recorded>,
    /// What was visited.
    pub visited: Vec<Visited>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    scenario: String,
    shim: String,
    shim_bytes: u64,
    shim_modified_s: u64,
    engine: String,
    profile: String,
}

impl Progress {
    /// A sweep that begins.
    ///
    /// # Errors
    ///
    /// When the shim cannot be looked at.
    pub fn begin(subject: &Subject, scenario: &Scenario) -> Result<Self> {
        let metadata = fs::metadata(&subject.shim).with_context(|| format!("look at {}", subject.shim.display()))?;
        let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let identity = Identity {
            scenario: scenario.name.to_owned(),
            shim: subject.shim.display().to_string(),
            shim_bytes: metadata.len(),
            shim_modified_s: modified.map_or(0, |since| since.as_secs()),
            engine: subject.engine_argument(),
            profile: subject.profile.to_string(),
        };
        Ok(Self { schema: SCHEMA.to_owned(), identity, recorded: None, visited: Vec::new() })
    }

    /// Goes on with what lies at `path`, when something does.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or belongs to another sweep.
    pub fn resume(self, path: &Path) -> Result<Self, Failure> {
        let usage = |reason: &str| Failure::Usage(format!("resume {}: {reason}", path.display()));
        let bytes = match fs::read(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(self),
            read => read.map_err(|e| usage(&e.to_string()))?,
        };
        let found: Self = serde_json::from_slice(&bytes).map_err(|e| usage(&e.to_string()))?;
        if found.schema != self.schema || found.identity != self.identity {
            return Err(usage(
                "it belongs to another shim, engine or scenario, or the shim has changed\n  name another file",
            ));
        }
        Ok(found)
    }

    /// Whether this was visited.
    pub fn has(&self, visit: &Visit) -> bool {
        self.visited.iter().any(|visited| visited.visit == *visit)
    }

    /// Writes it down in one step: whoever reads it finds the old document or the new one.
    ///
    /// # Errors
    ///
    /// With the path that cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let draft = path.with_extension("draft");
        let write = || -> Result<()> {
            let mut file = fs::File::create(&draft)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            fs::rename(&draft, path)?;
            Ok(())
        };
        write().with_context(|| format!("write {}", path.display()))
    }
}
