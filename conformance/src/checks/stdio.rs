//! Standard streams.

use std::{fs, time::Duration};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::{
    check::{Body, Check, Stop},
    contract::stdio,
    history::{Answer, Code, Method, Status},
    lab::{
        Container, Lab, NOTICE, Order, deadline,
        message::{self, Stdio},
        program,
        stdio::Wiring,
    },
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "stdio/separate-streams",
        clause: &stdio::SEPARATE,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled],
        body: Body::Example(|lab| Box::pin(separate_streams(lab))),
    },
    Check {
        id: "stdio/flood-then-delete",
        clause: &stdio::COMPLETE,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled, Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(flood_then_delete(lab))),
    },
    Check {
        id: "stdio/exec-flood-then-delete",
        clause: &stdio::COMPLETE,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled, Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(exec_flood_then_delete(lab))),
    },
    Check {
        id: "stdio/echo-until-close-io",
        clause: &stdio::CLOSE_IO,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::Refused(Method::CloseIo), Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(echo_until_close_io(lab))),
    },
    Check {
        id: "stdio/close-io-again",
        clause: &stdio::CLOSE_IO,
        needs: &[],
        notices: &[Lie::Broken(Method::CloseIo), Lie::Refused(Method::CloseIo)],
        body: Body::Example(|lab| Box::pin(close_io_again(lab))),
    },
    Check {
        id: "stdio/client-detaches-from-stdin",
        clause: &stdio::DETACH,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled, Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(client_detaches_from_stdin(lab))),
    },
    Check {
        id: "stdio/reader-returns",
        clause: &stdio::READER_RETURNS,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled, Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(reader_returns(lab))),
    },
    Check {
        id: "stdio/reader-stays-away",
        clause: &stdio::BACK_PRESSURE,
        needs: &[],
        notices: &[Lie::State(Status::Stopped), Lie::Unanswered(Method::Exec), Lie::OutputCut, Lie::OutputDoubled],
        body: Body::Example(|lab| Box::pin(reader_stays_away(lab))),
    },
    Check {
        id: "stdio/kill-of-blocked-writer",
        clause: &stdio::BACK_PRESSURE,
        needs: &[],
        notices: &[Lie::ExitStatus(Method::Wait), Lie::Refused(Method::Delete), Lie::Unanswered(Method::Wait)],
        body: Body::Example(|lab| Box::pin(kill_of_blocked_writer(lab))),
    },
    Check {
        id: "stdio/terminal",
        clause: &stdio::TERMINAL,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::Refused(Method::Create)],
        body: Body::Example(|lab| Box::pin(terminal(lab))),
    },
    Check {
        id: "stdio/exec-terminal",
        clause: &stdio::TERMINAL,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::Refused(Method::Exec)],
        body: Body::Example(|lab| Box::pin(exec_terminal(lab))),
    },
    Check {
        id: "stdio/terminal-ignores-stderr",
        clause: &stdio::TERMINAL,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::Refused(Method::Create)],
        body: Body::Example(|lab| Box::pin(terminal_ignores_stderr(lab))),
    },
    Check {
        id: "stdio/missing-fifo",
        clause: &stdio::REFUSED,
        needs: &[],
        notices: &[Lie::Accepted(Method::Create), Lie::Accepted(Method::Start), Lie::LeftProcess, Lie::LeftFile],
        body: Body::Example(|lab| Box::pin(refused(lab, "/no/such/fifo"))),
    },
    Check {
        id: "stdio/unknown-scheme",
        clause: &stdio::REFUSED,
        needs: &[],
        notices: &[Lie::Accepted(Method::Create), Lie::Accepted(Method::Start), Lie::LeftProcess, Lie::LeftFile],
        body: Body::Example(|lab| Box::pin(refused(lab, "carrier-pigeon:///coop"))),
    },
    Check {
        id: "stdio/file",
        clause: &stdio::FILE,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::ExitStatus(Method::Wait), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(file(lab, true))),
    },
    Check {
        id: "stdio/file-without-stderr",
        clause: &stdio::FILE,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::ExitStatus(Method::Wait), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(file(lab, false))),
    },
    Check {
        id: "stdio/only-stdin",
        clause: &stdio::NULL,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(some_streams(lab, [true, false, false]))),
    },
    Check {
        id: "stdio/only-stdout",
        clause: &stdio::NULL,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(some_streams(lab, [false, true, false]))),
    },
    Check {
        id: "stdio/only-stderr",
        clause: &stdio::NULL,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(some_streams(lab, [false, false, true]))),
    },
];

/// How long output may take to get through a busy machine.
pub(super) const FLOW: Duration = Duration::from_secs(5);
/// More than a FIFO and the pipe before it can hold.
const FLOOD: usize = 1 << 20;
/// What a FIFO holds on its own.
const BACKLOG: usize = 16 << 10;

/// All of a flood, byte for byte.
pub(super) fn is_flood(output: &[u8], bytes: usize) -> Result<(), Stop> {
    if output.len() != bytes {
        let actual = format!("{} bytes", output.len());
        return Err(Stop::violated("output was lost or added", format!("{bytes} bytes"), actual));
    }
    let mut expected = program::pattern_blocks(bytes);
    let wrong = output.chunks(program::BLOCK).position(|seen| expected.next().is_none_or(|block| block != seen));
    match wrong {
        None => Ok(()),
        Some(block) => Err(Stop::violated(
            "output was changed",
            "the bytes that the program wrote",
            format!("others from position {} of {bytes}", block * program::BLOCK),
        )),
    }
}

/// Create with other streams than the container has. A shim that hangs in it is ended, so that it holds up nothing else.
pub(super) async fn create_wired(lab: &Lab, container: &Container<'_>, stdio: &Stdio) -> Result<Answer, Stop> {
    let creating = lab.begin(container.create_request_wired(stdio)?).await?;
    let answered = creating.answer_within(lab.scaled(FLOW), "nothing that it must wait for is missing").await;
    if answered.is_err() {
        container.signal_shim(Signal::SIGKILL)?;
    }
    answered
}

/// Two streams, two texts.
async fn separate_streams(lab: &Lab) -> Result<(), Stop> {
    let order = Order::new(program::says("to stdout", "to stderr", 0)).wired(Wiring::Output);
    let task = lab.run(order).await?;
    task.wait().await?.reports(0)?;
    task.delete().await?;
    for (output, expected) in [(&task.streams().stdout, "to stdout"), (&task.streams().stderr, "to stderr")] {
        let seen = output.to_end(lab, FLOW).await?;
        if seen != expected.as_bytes() {
            let actual = String::from_utf8_lossy(&seen).into_owned();
            return Err(Stop::violated("a stream carries something else", expected, actual));
        }
    }
    Ok(())
}

/// A mebibyte, Wait, Delete: every byte arrives.
async fn flood_then_delete(lab: &Lab) -> Result<(), Stop> {
    let order = Order::new(program::floods(FLOOD)).wired(Wiring::Output);
    let task = lab.run(order).await?;
    task.wait().await?.reports(0)?;
    task.delete().await?;
    is_flood(&task.streams().stdout.to_end(lab, FLOW).await?, FLOOD)
}

/// The same of an exec.
async fn exec_flood_then_delete(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::floods(FLOOD), Wiring::Output).await?;
    exec.start().await?;
    exec.wait().await?.reports(0)?;
    exec.delete().await?;
    is_flood(&exec.streams().stdout.to_end(lab, FLOW).await?, FLOOD)
}

/// A program that copies its input ends with it.
async fn echo_until_close_io(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::echoes()).wired(Wiring::All)).await?;
    let streams = task.streams();
    streams.write(b"hello")?;
    streams.stdout.until(lab, FLOW, "hello", |seen| seen == b"hello").await?;
    streams.close_stdin();
    lab.call(message::close_stdin(task.target())).await?.done("CloseIO")?;
    let waiting = task.begin(Method::Wait).await?;
    waiting.answer_within(lab.scaled(NOTICE), "the program's input has ended").await?.exit("Wait")?.reports(0)?;
    Ok(())
}

/// CloseIO twice while the program runs, and once after its end.
async fn close_io_again(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps()).wired(Wiring::All)).await?;
    let close = || lab.call(message::close_stdin(task.target()));
    close().await?.done("CloseIO")?;
    close().await?.done("a second CloseIO")?;
    task.end().await?;
    // Clients send it late, and ignore the answer.
    match close().await? {
        Answer::Done(_) => {}
        late @ (Answer::Refused { .. } | Answer::Lost(_)) => late.declined("CloseIO after the end")?,
    }
    task.delete().await?.reports(137)?;
    Ok(())
}

/// The client closes stdin and comes back: the program has not seen an end in between.
async fn client_detaches_from_stdin(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::echoes()).wired(Wiring::All)).await?;
    let streams = task.streams();
    streams.write(b"before;")?;
    streams.stdout.until(lab, FLOW, "the echo of `before`", |seen| seen == b"before;").await?;
    streams.close_stdin();
    task.is(Status::Running).await?;
    streams.reopen_stdin()?;
    streams.write(b"after;")?;
    streams.stdout.until(lab, FLOW, "the echo of `after`", |seen| seen == b"before;after;").await?;
    task.is(Status::Running).await?;
    Ok(())
}

/// The reader leaves, the program writes what a FIFO holds, the reader returns.
async fn reader_returns(lab: &Lab) -> Result<(), Stop> {
    let gate = lab.gate("reader-left")?;
    let floods = program::floods_and_touches(BACKLOG, "written");
    let order = Order::new(program::behind("reader-left", &floods)).wired(Wiring::Output);
    let task = lab.run(order).await?;
    task.streams().detach();
    task.is(Status::Running).await?;
    gate.open()?;
    let written = lab.places().shared.join("written");
    let seen = deadline::until(lab.scaled(FLOW), || written.exists().then_some(())).await;
    seen.ok_or_else(|| {
        Stop::violated(
            "a program cannot write what a FIFO holds while its reader is away",
            format!("{BACKLOG} bytes written"),
            "it waits or has been killed",
        )
    })?;
    task.is(Status::Running).await?;
    task.streams().attach(lab)?;
    let enough = |seen: &[u8]| seen.len() >= BACKLOG;
    let output = &task.streams().stdout;
    let seen = output.until(lab, FLOW, "what was written meanwhile", enough).await?;
    is_flood(&seen, BACKLOG)
}

/// Nobody reads a mebibyte: the program waits and everybody else does not; when the reader returns, all of it arrives.
async fn reader_stays_away(lab: &Lab) -> Result<(), Stop> {
    let gate = lab.gate("reader-away")?;
    let order = Order::new(program::behind("reader-away", &program::floods(FLOOD))).wired(Wiring::Output);
    let task = lab.run(order).await?;
    task.streams().detach();
    task.is(Status::Running).await?;
    gate.open()?;
    let exec = task.exec("e", &program::exits_with(3), Wiring::Null).await?;
    exec.start().await?;
    exec.wait().await?.reports(3)?;
    exec.delete().await?;
    // It cannot have ended: there is no room for what it writes.
    task.is(Status::Running).await?;
    task.streams().attach(lab)?;
    task.wait().await?.reports(0)?;
    task.delete().await?;
    is_flood(&task.streams().stdout.to_end(lab, FLOW).await?, FLOOD)
}

/// A program that waits for a reader can be killed and deleted.
async fn kill_of_blocked_writer(lab: &Lab) -> Result<(), Stop> {
    let gate = lab.gate("blocked")?;
    let order = Order::new(program::behind("blocked", &program::floods(FLOOD))).wired(Wiring::Output);
    let task = lab.run(order).await?;
    task.streams().detach();
    task.is(Status::Running).await?;
    gate.open()?;
    task.kill(libc::SIGKILL).await?;
    let waiting = task.begin(Method::Wait).await?;
    waiting.answer_within(lab.scaled(NOTICE), "the program was killed").await?.exit("Wait")?.reports(137)?;
    // The shim may wait for a reader for a while (contract TASK-39).
    task.streams().attach(lab)?;
    task.delete().await?.reports(137)?;
    Ok(())
}

/// A terminal echoes the line and turns line ends into its own.
async fn terminal(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::echoes()).wired(Wiring::Terminal)).await?;
    let streams = task.streams();
    streams.write(b"line\n")?;
    let both = b"line\r\nline\r\n";
    streams.stdout.until(lab, FLOW, "the terminal's echo and the program's", |seen| seen == both).await?;
    Ok(())
}

/// The same in an exec.
async fn exec_terminal(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps()).wired(Wiring::Terminal)).await?;
    let exec = task.exec("e", &program::echoes(), Wiring::Terminal).await?;
    exec.start().await?;
    exec.streams().write(b"line\n")?;
    let both = b"line\r\nline\r\n";
    let stdout = &exec.streams().stdout;
    stdout.until(lab, FLOW, "the terminal's echo and the program's", |seen| seen == both).await?;
    exec.end().await?;
    exec.delete().await?;
    Ok(())
}

/// Clients name a standard error that does not exist.
async fn terminal_ignores_stderr(lab: &Lab) -> Result<(), Stop> {
    let order = Order::new(program::tells_size()).wired(Wiring::Terminal);
    let task = lab.serve(order).await?;
    let stdio = Stdio { stderr: "/no/such/fifo".to_owned(), ..task.streams().paths.clone() };
    lab.call(task.create_request_wired(&stdio)?).await?.done("Create with a terminal and a missing stderr")?;
    task.start().await?;
    let line = |seen: &[u8]| seen.ends_with(b"\r\n");
    task.streams().stdout.until(lab, FLOW, "a line", line).await?;
    Ok(())
}

/// Streams of `uri`, which nobody can open.
async fn refused(lab: &Lab, uri: &str) -> Result<(), Stop> {
    let container = lab.serve(Order::new(program::sleeps())).await?;
    let stdio = Stdio { stdout: uri.to_owned(), stderr: uri.to_owned(), ..Stdio::default() };
    create_wired(lab, &container, &stdio).await?.declined(&format!("Create with streams at {uri}"))?;
    container.call(Method::Start).await?.refused("Start after a failed Create", &[Code::NotFound])?;
    if container.rootfs_is_mounted()? {
        return Err(Stop::violated("a failed Create leaves the rootfs mounted", "no mount", "a mount"));
    }
    // containerd goes on with Shutdown and the delete action, which clear_away does as well.
    Ok(())
}

/// Output to a file.
async fn file(lab: &Lab, stderr: bool) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::says("to stdout;", "", 0))).await?;
    let path = lab.places().base.join("log/of/the/task");
    let uri = format!("file://{}", path.display());
    let stdio = Stdio { stdout: uri.clone(), stderr: if stderr { uri } else { String::new() }, ..Stdio::default() };
    create_wired(lab, &task, &stdio).await?.done("Create with streams in a file")?;
    task.start().await?;
    task.wait().await?.reports(0)?;
    task.delete().await?;
    let mut bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    if let Some(lie) = lab.lie() {
        lie.output(&mut bytes);
    }
    if bytes == b"to stdout;" {
        return Ok(());
    }
    let actual = String::from_utf8_lossy(&bytes).into_owned();
    Err(Stop::violated("the file holds something else", "to stdout;", actual))
}

/// Only some of stdin, stdout and stderr: a life, or a refusal, and never a dead shim.
pub(super) async fn some_streams(lab: &Lab, [stdin, stdout, stderr]: [bool; 3]) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::says("out", "err", 0)).wired(Wiring::All)).await?;
    let paths = task.streams().paths.clone();
    let only = |wanted: bool, path: String| if wanted { path } else { String::new() };
    let stdio = Stdio {
        stdin: only(stdin, paths.stdin),
        stdout: only(stdout, paths.stdout),
        stderr: only(stderr, paths.stderr),
        terminal: false,
    };
    match create_wired(lab, &task, &stdio).await? {
        Answer::Done(_) => {
            task.start().await?;
            task.wait().await?.reports(0)?;
            task.delete().await?;
        }
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => answer.declined("Create with some streams")?,
    }
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim has died", "a shim that serves", "none"))
}
