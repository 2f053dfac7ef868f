//! External commands: shown before they run, named with their exit code when they fail, and never waited for without
//! end where they might hang.

use std::{
    fs::File,
    io::{Read, Seek},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::wait::{Id, WaitPidFlag, waitid},
    unistd::Pid,
};

/// What a finished command left: its exit status and everything that it wrote.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output, invalid UTF-8 replaced.
    pub(crate) stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub(crate) stderr: String,
}

/// Shows the command and runs it with this process's output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Shows the command, runs it with this process's output and answers how it ended.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    show(command);
    command.status().with_context(|| format!("cannot run `{}`", line(command)))
}

/// Runs a command whose output is data for us, and answers its standard output; anything but success is an error.
///
/// It is not shown, as it changes nothing; its standard error goes to ours.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run `{}`", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` did not write UTF-8", line(command)))
}

/// Runs a command to its end and keeps its output; one that is not done within `limit` is killed and is an error.
pub(crate) fn finish(command: &mut Command, limit: Duration) -> Result<Finished> {
    // Files, as a pipe would also have to be drained, and would be kept open by a grandchild.
    let mut stdout = tempfile::tempfile().context("cannot create a file for standard output")?;
    let mut stderr = tempfile::tempfile().context("cannot create a file for standard error")?;
    let mut child = command
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    let status = wait(&mut child, limit)?;
    let (stdout, stderr) = (contents(&mut stdout)?, contents(&mut stderr)?);
    match status {
        Some(status) => Ok(Finished { status, stdout, stderr }),
        None => bail!(
            "`{}` was not done within {limit:?}; it had written {:?} and {:?}",
            line(command),
            ending(&stdout),
            ending(&stderr)
        ),
    }
}

/// Waits for a child for at most `limit`; kills and reaps it, and answers nothing, if that is not enough.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (done, is_done) = mpsc::channel();
    thread::scope(|scope| {
        // `NOWAIT` leaves the child a zombie: its pid stays ours, so the kill below cannot hit a stranger.
        scope.spawn(move || done.send(waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)));
        let in_time = is_done.recv_timeout(limit).is_ok();
        if !in_time {
            child.kill().with_context(|| format!("cannot kill process {pid}"))?;
        }
        let status = child.wait().with_context(|| format!("cannot wait for process {pid}"))?;
        Ok(in_time.then_some(status))
    })
}

/// The command as one would type it, for messages.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The end of a long text, for messages.
pub(crate) fn ending(text: &str) -> &str {
    const LENGTH: usize = 300;
    let start = text.len().saturating_sub(LENGTH);
    (start..=text.len()).find_map(|start| text.get(start..)).unwrap_or_default()
}

/// Prints the command line to standard error, as a shell's trace would.
pub(crate) fn show(command: &Command) {
    let changes: String = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={} ", name.display(), quoted(&value?.to_string_lossy()))))
        .collect();
    eprintln!("+ {changes}{}", line(command));
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn contents(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_typed_again() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo it's", ""]);
        assert_eq!(line(&command), r"sh -c 'echo it'\''s' ''");
    }

    #[test]
    fn the_ending_of_a_text_begins_at_a_character() {
        assert_eq!(ending("short"), "short");
        assert_eq!(ending(&"é".repeat(1000)), "é".repeat(150));
        assert_eq!(ending(&format!("é{}", "x".repeat(299))), "x".repeat(299));
    }

    #[test]
    fn output_and_status_are_kept() {
        let done = finish(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 7"]), Duration::from_secs(20));
        let done = done.unwrap();
        assert_eq!(done.status.code(), Some(7));
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn a_command_that_hangs_is_ended_and_named() {
        let error = finish(Command::new("sleep").arg("600"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().starts_with("`sleep 600` was not done within 50ms"), "{error}");
    }

    #[test]
    fn a_failure_names_the_command_and_its_code() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` failed: exit status: 3");
    }
}
