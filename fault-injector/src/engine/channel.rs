//! The two ends of the conversation between a command and the container process that it has cloned.
//!
//! The parent says *go* when everything that must exist first (id maps, cgroup) does, and *run* when the container is on
//! disk; the child says *ready* when only the program is missing, *exec* just before `execve`, or why it failed. An end that
//! closes without a word is a death: a child whose parent died goes no further, and the program itself never sees the
//! channel, which closes on exec.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use anyhow::{Context as _, Result, bail};

const GO: u8 = b'g';
const RUN: u8 = b'r';
const READY: u8 = b'R';
const EXEC: u8 = b'X';
const FAILED: u8 = b'!';

/// Held by the command.
#[derive(Debug)]
pub(super) struct ParentEnd(UnixStream);

/// Held by the container process.
#[derive(Debug)]
pub(super) struct ChildEnd(UnixStream);

/// Both ends; each process drops the other's.
pub(super) fn pair() -> Result<(ParentEnd, ChildEnd)> {
    let (parent, child) = UnixStream::pair().context("cannot make a socket pair")?;
    Ok((ParentEnd(parent), ChildEnd(child)))
}

impl ParentEnd {
    /// What had to be prepared from outside is.
    pub(super) fn go(&mut self) -> Result<()> {
        self.0.write_all(&[GO]).context("the container process ended early")
    }

    /// The container is on disk.
    pub(super) fn run(&mut self) -> Result<()> {
        self.0.write_all(&[RUN]).context("the container process ended early")
    }

    /// Waits until the child is ready; its own words when it failed.
    pub(super) fn wait_ready(&mut self) -> Result<()> {
        self.expect(READY)
    }

    /// Waits until the child has executed its program; its own words when it failed.
    pub(super) fn wait_executed(&mut self) -> Result<()> {
        self.expect(EXEC)?;
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).context("cannot hear the container process")?;
        match rest.split_first() {
            None => Ok(()),
            Some((_, reason)) => bail!("{}", String::from_utf8_lossy(reason)),
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        let mut word = [0];
        let count = self.0.read(&mut word).context("cannot hear the container process")?;
        if count == 0 {
            bail!("the container process ended without a word");
        }
        if word[0] == wanted {
            return Ok(());
        }
        let mut reason = String::new();
        self.0.read_to_string(&mut reason).context("cannot hear the container process")?;
        bail!("{reason}");
    }
}

impl ChildEnd {
    /// Waits for *go*.
    pub(super) fn wait_go(&mut self) -> Result<()> {
        self.expect(GO)
    }

    /// Waits for *run*.
    pub(super) fn wait_run(&mut self) -> Result<()> {
        self.expect(RUN)
    }

    /// Only the program is missing.
    pub(super) fn ready(&mut self) -> Result<()> {
        self.0.write_all(&[READY]).context("the command that made this process has ended")
    }

    /// `execve` comes next.
    pub(super) fn executing(&mut self) -> Result<()> {
        self.0.write_all(&[EXEC]).context("the command that made this process has ended")
    }

    /// The last word. Whether anybody hears it makes no difference to a process that ends.
    pub(super) fn failed(&mut self, reason: &str) {
        let _parent_may_be_dead = self.0.write_all(&[&[FAILED], reason.as_bytes()].concat());
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        let mut word = [0];
        let said = self.0.read_exact(&mut word);
        said.context("the command that made this process has ended")?;
        if word[0] != wanted {
            bail!("heard {} in place of {}", char::from(word[0]), char::from(wanted));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_runs_closes_the_channel() {
        let (mut parent, mut child) = pair().unwrap();
        child.executing().unwrap();
        drop(child);
        parent.wait_executed().unwrap();
    }

    #[test]
    fn a_program_that_does_not_run_says_why() {
        let (mut parent, mut child) = pair().unwrap();
        child.executing().unwrap();
        child.failed("no such file");
        drop(child);
        assert_eq!(parent.wait_executed().unwrap_err().to_string(), "no such file");
    }

    #[test]
    fn silence_is_death() {
        let (mut parent, child) = pair().unwrap();
        drop(child);
        let error = parent.wait_ready().unwrap_err().to_string();
        assert_eq!(error, "the container process ended without a word");
    }

    #[test]
    fn a_child_without_a_parent_goes_no_further() {
        let (parent, mut child) = pair().unwrap();
        drop(parent);
        child.wait_go().unwrap_err();
    }
}
