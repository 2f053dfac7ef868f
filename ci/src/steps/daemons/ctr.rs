//! containerd's own client, each call with a deadline.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{self, Finished},
    deadline,
};

/// How long one command of `ctr` may take, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// `ctr`, pointed at one daemon and one of its namespaces.
#[derive(Clone, Debug)]
pub(super) struct Ctr {
    program: PathBuf,
    common: Vec<OsString>,
}

/// A line of `ctr task ls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// The container's id.
    pub(super) id: String,
    /// The process id of its init.
    pub(super) pid: i32,
    /// `RUNNING`, `STOPPED`, …
    pub(super) status: String,
}

impl Ctr {
    /// The client at `program` for the daemon at `socket`.
    pub(super) fn new(program: &Path, socket: &Path, namespace: &str) -> Self {
        let common = ["--address".into(), socket.into(), "--namespace".into(), namespace.into()];
        Self { program: program.to_path_buf(), common: common.into() }
    }

    /// A call, not yet made.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut ctr = Command::new(&self.program);
        ctr.args(&self.common).args(args).stdin(Stdio::null());
        ctr
    }

    /// Makes a call and answers how it ended, whatever the code.
    pub(super) fn finish(&self, args: &[&str]) -> Result<Finished> {
        command::finish(&mut self.command(args), LIMIT)
    }

    /// Makes a call with `input` as its standard input.
    pub(super) fn finish_with_input(&self, args: &[&str], input: File) -> Result<Finished> {
        command::finish(self.command(args).stdin(input), LIMIT)
    }

    /// Makes a call that must succeed, and answers its standard output.
    pub(super) fn done(&self, args: &[&str]) -> Result<String> {
        let done = self.finish(args)?;
        if !done.status.success() {
            bail!("`{}` failed: {}: {}", command::line(&self.command(args)), done.status, done.stderr.trim_end());
        }
        Ok(done.stdout)
    }

    /// Starts a call that lasts; whoever drops the answer ends it.
    pub(super) fn background(&self, args: &[&str], output: Stdio) -> Result<Background> {
        let mut command = self.command(args);
        command.stdout(output).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot run `{}`", command::line(&command)))?;
        Ok(Background(child))
    }

    /// The task of container `id`, if the daemon lists one.
    pub(super) fn task(&self, id: &str) -> Result<Option<Task>> {
        let tasks = parse_tasks(&self.done(&["task", "ls"])?)?;
        Ok(tasks.into_iter().find(|task| task.id == id))
    }

    /// Waits until the task of `id` is in that status.
    pub(super) fn becomes(&self, id: &str, status: &str) -> Result<Task> {
        deadline::until(&format!("task {id} that is {status}"), LIMIT, || {
            Ok(self.task(id)?.filter(|task| task.status == status))
        })
    }
}

/// A call of `ctr` that lasts.
#[derive(Debug)]
pub(super) struct Background(Child);

impl Background {
    /// A call that was started elsewhere.
    pub(super) fn of(child: Child) -> Self {
        Self(child)
    }

    /// Waits for the call to end by itself and answers its exit code.
    pub(super) fn code(mut self) -> Result<Option<i32>> {
        let status = command::wait(&mut self.0, LIMIT)?;
        Ok(status.with_context(|| format!("a call of ctr was not done within {LIMIT:?}"))?.code())
    }

    /// Whether the call is still under way.
    pub(super) fn is_running(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Neither can fail in a way that matters: the child is ours, and may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn parse_tasks(table: &str) -> Result<Vec<Task>> {
    let rows = table.lines().skip(1);
    rows.map(|row| {
        let task = match row.split_whitespace().collect::<Vec<_>>()[..] {
            [id, pid, status] => pid.parse().ok().map(|pid| Task { id: id.to_owned(), pid, status: status.to_owned() }),
            _ => None,
        };
        task.with_context(|| format!("cannot understand the line {row:?} of `ctr task ls`"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read_from_the_table() {
        let tasks = parse_tasks("TASK    PID    STATUS    \none     17     RUNNING\n").unwrap();
        assert_eq!(tasks, [Task { id: "one".to_owned(), pid: 17, status: "RUNNING".to_owned() }]);
        assert!(parse_tasks("TASK PID STATUS\nodd\n").is_err());
    }
}
