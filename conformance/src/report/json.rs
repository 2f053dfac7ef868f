//! The run as a document for machines.

use std::io::Write;

use anyhow::{Context as _, Result};

use super::{Document, Event, Renderer, Run};
use crate::history::Moment;

/// Writes the document at the end of the run.
pub(super) struct Json {
    sink: Box<dyn Write>,
}

impl Json {
    /// Into `sink`.
    pub(super) fn new(sink: Box<dyn Write>) -> Self {
        Self { sink }
    }
}

impl Renderer for Json {
    fn handle(&mut self, run: &Run, event: &Event<'_>, _now: Moment) -> Result<()> {
        let Event::Over(summary) = event else { return Ok(()) };
        serde_json::to_writer_pretty(&mut self.sink, &Document::of(run, summary)?).context("write the json report")?;
        self.sink.write_all(b"\n").and_then(|()| self.sink.flush()).context("write the json report")
    }
}
