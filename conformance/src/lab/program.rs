//! What runs inside the container: command lines of the payload.

use std::time::Duration;

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Program {
    /// The arguments after the payload's path.
    pub args: Vec<String>,
}

/// The payload's path inside the container.
pub const PAYLOAD: &str = "/payload";

fn program(args: &[&str]) -> Program {
    Program { args: args.iter().map(|&arg| arg.to_owned()).collect() }
}

/// Exits at once with `status`.
pub fn exits_with(status: u8) -> Program {
    program(&["exit", &status.to_string()])
}

/// Lives until it is killed; exits with 0 on SIGTERM.
pub fn sleeps() -> Program {
    program(&["sleep"])
}

/// Exits with 0 after this time.
pub fn sleeps_for(time: Duration) -> Program {
    program(&["sleep-for", &time.as_millis().to_string()])
}

/// Exits with 0 as soon as `/shared/NAME` exists.
pub fn exits_when(name: &str) -> Program {
    program(&["exit-when", name])
}

/// Lives until it is killed; ignores every signal that can be ignored.
pub fn ignores_signals() -> Program {
    program(&["ignore"])
}

/// Ends by this signal, raised by itself. As PID 1 of a namespace it cannot, so it is for execs.
pub fn dies_by(signal: i32) -> Program {
    program(&["die", &signal.to_string()])
}

/// Copies standard input to standard output until its end, then exits with 0.
pub fn echoes() -> Program {
    program(&["echo"])
}

/// Writes `bytes` bytes of a known pattern to standard output, then exits with 0.
pub fn floods(bytes: usize) -> Program {
    program(&["flood", &bytes.to_string()])
}

/// Writes `text` to stdout and `errors` to stderr, then exits with `status`.
pub fn says(text: &str, errors: &str, status: u8) -> Program {
    program(&["say", text, errors, &status.to_string()])
}

/// Waits until the lab opens the [gate](super::Lab::gate) `name`, then becomes `then`.
pub fn behind(name: &str, then: &Program) -> Program {
    let mut args = vec!["behind".to_owned(), name.to_owned()];
    args.extend(then.args.iter().cloned());
    Program { args }
}

/// Writes `bytes` bytes of a known pattern to standard output, creates `/shared/NAME`, then sleeps.
pub fn floods_and_touches(bytes: usize, name: &str) -> Program {
    program(&["flood-touch", &bytes.to_string(), name])
}

/// Forks `count` grandchildren that lose their parent at once and live until SIGUSR1 comes, then sleeps.
pub fn orphans(count: u32) -> Program {
    program(&["orphans", &count.to_string()])
}

/// Starts a child that holds standard output open, then exits with `status`.
pub fn leaves_child(status: u8) -> Program {
    program(&["leave-child", &status.to_string()])
}

/// Writes one line of JSON about itself (descriptors, environment, ids, cwd), then exits with 0.
pub fn reports() -> Program {
    program(&["report"])
}

/// Writes the number of each signal it gets, one a line, after a line `ready`; ends on SIGKILL alone.
pub fn notes_signals() -> Program {
    program(&["signals"])
}

/// Creates `/shared/NAME`, then sleeps; from then on it exits with 0 on SIGTERM.
pub fn touches(name: &str) -> Program {
    program(&["touch", name])
}

/// Adds a byte to `/shared/NAME` again and again.
pub fn counts(name: &str) -> Program {
    program(&["count", name])
}

/// Uses memory until it is stopped.
pub fn eats_memory() -> Program {
    program(&["eat-memory"])
}

/// Writes the size of its terminal as `COLUMNSxROWS`, at first and after every change.
pub fn tells_size() -> Program {
    program(&["tty-size"])
}

/// Writes what [`floods`] writes, a byte at a time.
pub fn drips(bytes: usize) -> Program {
    program(&["drip", &bytes.to_string()])
}

/// Writes `text` to stderr and closes it, writes a line `closed` to stdout, and then sleeps.
pub fn closes_stderr(text: &str) -> Program {
    program(&["close-stderr", text])
}

/// A program that does not exist.
pub fn missing() -> Program {
    program(&[])
}

/// The byte at `position` of what [`floods`] writes.
pub fn pattern(position: usize) -> u8 {
    // 251 is prime: no power-of-two shift or repeat of a buffer maps the pattern onto itself.
    u8::try_from(position % 251).unwrap_or(0)
}

/// The bytes of a whole block of the pattern: a multiple of its period, so that all blocks are alike.
pub const BLOCK: usize = 251 << 8;

/// The first `bytes` bytes of what [`floods`] writes, block by block.
pub fn pattern_blocks(bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    let block: Vec<u8> = (0..BLOCK).map(pattern).collect();
    (0..bytes).step_by(BLOCK).map(move |from| block[..BLOCK.min(bytes - from)].to_vec())
}

impl Program {
    /// The whole command line inside the container.
    pub fn command_line(&self) -> Vec<String> {
        if self.args.is_empty() {
            return vec!["/no-such-program".to_owned()];
        }
        let mut line = vec![PAYLOAD.to_owned()];
        line.extend(self.args.iter().cloned());
        line
    }
}
