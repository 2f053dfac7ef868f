//! The `--log` file: one line for each message, in the two shapes runc has, so that shims find the cause of a failure there.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::cli::LogFormat;

/// How grave a message is; the names are logrus's, since shims written in Go look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Only with `--debug`.
    Debug,
    /// Something asked for was left out.
    Warning,
    /// The command failed.
    Error,
}

/// Where messages go. Without a file they are dropped, except the error that ends the command, which is always on stderr too.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<File>,
    format: LogFormat,
    debug: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: Level,
    msg: &'a str,
    time: &'a str,
}

impl Log {
    /// Opens (or makes) the file for appending.
    pub(super) fn open(path: Option<&Path>, format: LogFormat, debug: bool) -> Result<Self> {
        let file = path
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| {
                let file = OpenOptions::new().append(true).create(true).open(path);
                file.with_context(|| format!("cannot open log file {}", path.display()))
            })
            .transpose()?;
        Ok(Self { file, format, debug })
    }

    /// Something asked for was left out, and why.
    pub(super) fn warn(&self, message: impl AsRef<str>) {
        self.line(Level::Warning, message.as_ref());
    }

    /// What a reader of a failing run wants to see.
    pub(super) fn debug(&self, message: impl AsRef<str>) {
        if self.debug {
            self.line(Level::Debug, message.as_ref());
        }
    }

    /// Why the command failed.
    pub(super) fn error(&self, message: impl AsRef<str>) {
        self.line(Level::Error, message.as_ref());
    }

    fn line(&self, level: Level, message: &str) {
        let Some(mut file) = self.file.as_ref() else {
            return;
        };
        let time = jiff::Timestamp::now().to_string();
        let text = render(self.format, level, message, &time);
        // One write, so that lines of several processes do not mix. A log that cannot be written must not fail a container.
        if let Err(error) = file.write_all(text.as_bytes()) {
            complain(&format!("cannot write the log file: {error}"));
        }
    }
}

/// The line, pure.
fn render(format: LogFormat, level: Level, message: &str, time: &str) -> String {
    let line = Line { level, msg: message, time };
    match format {
        LogFormat::Json => serde_json::to_string(&line).unwrap_or_default() + "\n",
        LogFormat::Text => {
            let level = match level {
                Level::Debug => "debug",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            format!("time=\"{time}\" level={level} msg={message:?}\n")
        }
    }
}

/// Writes to stderr; there is nobody left to tell when that fails.
pub(super) fn complain(message: &str) {
    let _nobody_left = writeln!(io::stderr(), "{message}");
}

/// Writes to stdout what a caller parses.
pub(super) fn answer(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).context("cannot write to stdout")?;
    stdout.flush().context("cannot write to stdout")
}

/// The command line as text for a message.
pub(super) fn printable(arguments: &[OsString]) -> Vec<String> {
    arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_have_the_three_fields_shims_read() {
        let line = render(LogFormat::Json, Level::Error, "no \"x\"", "2026-01-01T00:00:00Z");
        assert_eq!(line, "{\"level\":\"error\",\"msg\":\"no \\\"x\\\"\",\"time\":\"2026-01-01T00:00:00Z\"}\n");
    }

    #[test]
    fn text_lines_are_logfmt() {
        let line = render(LogFormat::Text, Level::Warning, "gone", "2026-01-01T00:00:00Z");
        assert_eq!(line, "time=\"2026-01-01T00:00:00Z\" level=warning msg=\"gone\"\n");
    }
}
