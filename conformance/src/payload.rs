//! What runs inside containers: one static program in an otherwise empty root file system.
//!
//! It is this suite's own executable, dispatched by the name under which it is run. It stays on plain, blocking code: a container's init
//! should hold one thread and nothing else.

use std::{
    fs,
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use fork::{Fork, fork};
use nix::{
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        signalfd::SignalFd,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid, pause, pipe, read},
};

use crate::lab::program::{pattern, pattern_blocks};

/// Runs `args` (without the program's own name) and ends with its status.
pub fn main(args: &[String]) -> ExitCode {
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(status) => ExitCode::from(status),
        Err(e) => {
            // Standard error is all there is to tell it to.
            _ = writeln!(io::stderr(), "payload: {e:#}");
            ExitCode::from(125)
        }
    }
}

fn run(args: &[&str]) -> Result<u8> {
    match args {
        ["exit", status] => Ok(status.parse()?),
        ["exit-when", name] => exit_when(name),
        ["sleep"] => wait_for(&[Signal::SIGTERM, Signal::SIGINT]),
        ["sleep-for", ms] => sleep_for(ms.parse()?),
        ["ignore"] => ignore(),
        ["die", signal] => die(signal.parse()?),
        ["echo"] => echo(),
        ["flood", bytes] => flood(bytes.parse()?),
        ["say", text, errors, status] => say(text, errors, status.parse()?),
        ["orphans", count] => orphans(count.parse()?),
        ["leave-child", status] => leave_child(status.parse()?),
        ["report"] => report(),
        ["signals"] => signals(),
        ["touch", name] => touch(name),
        ["behind", name, then @ ..] => behind(name, then),
        ["flood-touch", bytes, name] => flood(bytes.parse()?).and_then(|_| touch(name)),
        ["count", name] => count(name),
        ["eat-memory"] => eat_memory(),
        ["tty-size"] => tty_size(),
        ["drip", bytes] => drip(bytes.parse()?),
        ["close-stderr", text] => close_stderr(text),
        ["log", to] => log(to, false),
        ["log-lingering", to] => log(to, true),
        ["log-dead", _] => Ok(1),
        _ => bail!("unknown program {args:?}"),
    }
}

/// Blocks until one of `signals`, reaping like a good init; blocking them first makes them reach a namespace's PID 1, which the kernel
/// shields from default actions.
fn wait_for(signals: &[Signal]) -> Result<u8> {
    let mut set: SigSet = signals.iter().copied().collect();
    set.add(Signal::SIGCHLD);
    set.thread_block().context("block signals")?;
    loop {
        if set.wait().context("wait for a signal")? != Signal::SIGCHLD {
            return Ok(0);
        }
        while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status != WaitStatus::StillAlive) {}
    }
}

fn sleep_for(ms: u16) -> Result<u8> {
    nix::poll::poll(&mut [], ms).context("pause")?;
    Ok(0)
}

fn exit_when(name: &str) -> Result<u8> {
    let word = format!("/shared/{name}");
    while !fs::exists(&word).with_context(|| format!("look for {word}"))? {
        // A look, not a wait for a while: whoever writes the word cannot wake a process in another PID namespace.
        nix::poll::poll(&mut [], 2u16).context("pause")?;
    }
    Ok(0)
}

fn ignore() -> Result<u8> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).context("block signals")?;
    loop {
        pause();
    }
}

fn die(signal: i32) -> Result<u8> {
    kill(getpid(), Signal::try_from(signal)?).context("raise a signal")?;
    ignore()
}

fn echo() -> Result<u8> {
    io::copy(&mut io::stdin().lock(), &mut io::stdout().lock()).context("copy stdin")?;
    Ok(0)
}

fn flood(bytes: usize) -> Result<u8> {
    // A line buffer in between would write in pieces of its own.
    let mut stdout = fs::File::from(io::stdout().as_fd().try_clone_to_owned().context("duplicate standard output")?);
    for block in pattern_blocks(bytes) {
        stdout.write_all(&block).context("write")?;
    }
    Ok(0)
}

/// As [`flood`], a byte at a time.
fn drip(bytes: usize) -> Result<u8> {
    let stdout = io::stdout();
    for position in 0..bytes {
        nix::unistd::write(&stdout, &[pattern(position)]).context("write")?;
    }
    Ok(0)
}

/// Says something on standard error, closes it, and goes on with standard output alone.
fn close_stderr(text: &str) -> Result<u8> {
    write!(io::stderr(), "{text}").context("write")?;
    nix::unistd::close(io::stderr().as_raw_fd()).context("close standard error")?;
    println_flushed("closed")?;
    wait_for(&[Signal::SIGTERM])
}

/// A logger (containerd: docs/runtime-v2.md, I/O) that says it is ready when nobody holds `to` locked: what comes at descriptors 3 and 4
/// goes to files beside `to`, and the environment as well. With `lingers` it outlives its input.
fn log(to: &str, lingers: bool) -> Result<u8> {
    // Whoever ends it does so by a signal; what is under way is finished first.
    let mut end: SigSet = [Signal::SIGTERM].into_iter().collect();
    end.thread_block().context("block signals")?;
    let variables = std::env::vars_os().map(|(k, v)| format!("{}={}\n", k.display(), v.display()));
    fs::write(format!("{to}.env"), variables.collect::<String>()).context("write the environment")?;
    // Opened before it says that it is ready, so that nothing is missed.
    let copies =
        [("/proc/self/fd/3", format!("{to}.out")), ("/proc/self/fd/4", format!("{to}.err"))].map(|(from, to)| {
            let source = fs::File::open(from).with_context(|| format!("open {from}"));
            let file = fs::File::create(&to).with_context(|| format!("create {to}"));
            std::thread::spawn(move || io::copy(&mut source?, &mut file?).context("copy"))
        });
    fs::write(format!("{to}.begun"), "").context("say that it runs")?;
    if let Ok(gate) = fs::File::open(to) {
        gate.lock_shared().with_context(|| format!("wait for {to}"))?;
    }
    for inherited in [3, 4, 5] {
        nix::unistd::close(inherited).context("close an inherited descriptor")?;
    }
    for copy in copies {
        copy.join().map_err(|_| anyhow::anyhow!("a copying thread panicked"))??;
    }
    fs::write(format!("{to}.end"), "").context("write the end")?;
    if lingers {
        end.add(Signal::SIGINT);
        end.wait().context("wait for a signal")?;
    }
    Ok(0)
}

fn say(text: &str, errors: &str, status: u8) -> Result<u8> {
    write!(io::stdout(), "{text}").context("write")?;
    io::stdout().flush().context("flush")?;
    write!(io::stderr(), "{errors}").context("write")?;
    Ok(status)
}

/// Forks as [`fork()`] does, with an error that says so.
fn fork_process() -> Result<Fork> {
    fork().map_err(|e| anyhow::anyhow!("fork: {e}"))
}

/// The lab holds the file locked until it opens the gate; all who wait then go on together.
fn behind(name: &str, then: &[&str]) -> Result<u8> {
    let path = format!("/shared/{name}");
    let gate = fs::File::open(&path).with_context(|| format!("open {path}"))?;
    gate.lock_shared().with_context(|| format!("wait for {path}"))?;
    run(then)
}

/// Each orphan is a grandchild whose parent has gone; it ends when the write end of the pipe does, which is at SIGUSR1.
fn orphans(count: u32) -> Result<u8> {
    let (reader, writer) = pipe().context("make a pipe")?;
    for _ in 0..count {
        match fork_process()? {
            Fork::Child => {
                drop(writer);
                if let Fork::Child = fork_process()? {
                    read(reader.as_fd(), &mut [0]).context("wait for the word")?;
                }
                return Ok(0);
            }
            Fork::Parent(child) => {
                waitpid(Pid::from_raw(child), None).context("wait for a child")?;
            }
        }
    }
    let word: SigSet = [Signal::SIGUSR1].into_iter().collect();
    word.thread_block().context("block signals")?;
    println_flushed("orphaned")?;
    word.wait().context("wait for the word")?;
    drop(writer);
    wait_for(&[Signal::SIGTERM])
}

fn leave_child(status: u8) -> Result<u8> {
    match fork_process()? {
        Fork::Child => ignore(),
        Fork::Parent(_) => Ok(status),
    }
}

fn report() -> Result<u8> {
    let mut descriptors = fs::read_dir("/proc/self/fd")
        .context("list descriptors")?
        .map(|entry| {
            let entry = entry?;
            let target = fs::read_link(entry.path()).map_or_else(|_| String::new(), |to| to.display().to_string());
            Ok((entry.file_name().to_string_lossy().into_owned(), target))
        })
        .collect::<io::Result<Vec<_>>>()
        .context("list descriptors")?;
    // The listing's own descriptor.
    descriptors.retain(|(_, target)| !target.is_empty() && !target.ends_with("/fd"));
    let env: Vec<String> = std::env::vars_os().map(|(k, v)| format!("{}={}", k.display(), v.display())).collect();
    let report = serde_json::json!({
        "descriptors": descriptors,
        "env": env,
        "uid": nix::unistd::getuid().as_raw(),
        "gid": nix::unistd::getgid().as_raw(),
        "pid": getpid().as_raw(),
        "cwd": std::env::current_dir().context("read the working directory")?,
        "oom_score_adj": fs::read_to_string("/proc/self/oom_score_adj").context("read oom_score_adj")?.trim(),
    });
    println_flushed(&report.to_string())?;
    Ok(0)
}

fn signals() -> Result<u8> {
    let all = SigSet::all();
    all.thread_block().context("block signals")?;
    // Unlike sigwait's, its numbers need not be among those that have names: real-time signals have none.
    let signals = SignalFd::new(&all).context("watch for signals")?;
    println_flushed("ready")?;
    loop {
        if let Some(signal) = signals.read_signal().context("wait for a signal")? {
            println_flushed(&signal.ssi_signo.to_string())?;
        }
    }
}

fn touch(name: &str) -> Result<u8> {
    // Whoever sees the file may send the signal at once.
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGCHLD]).thread_block().context("block signals")?;
    fs::write(format!("/shared/{name}"), b"x").with_context(|| format!("write /shared/{name}"))?;
    wait_for(&[Signal::SIGTERM])
}

fn count(name: &str) -> Result<u8> {
    let path = format!("/shared/{name}");
    let mut file =
        fs::OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("open {path}"))?;
    loop {
        file.write_all(b"x").context("count")?;
        // A pause between beats, not a wait for anything: the file's growth is what is observed.
        nix::poll::poll(&mut [], 5u16).context("pause")?;
    }
}

fn eat_memory() -> Result<u8> {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![1; 1 << 20]);
        if eaten.len() > 1 << 14 {
            bail!("16 GiB eaten and nobody stopped it");
        }
    }
}

fn tty_size() -> Result<u8> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGWINCH);
    signals.thread_block().context("block signals")?;
    loop {
        let size = rustix::termios::tcgetwinsize(io::stdout()).context("ask for the size of the terminal")?;
        println_flushed(&format!("{}x{}", size.ws_col, size.ws_row))?;
        signals.wait().context("wait for a change")?;
    }
}

fn println_flushed(line: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").context("write")?;
    stdout.flush().context("flush")
}
