//! Streams with nobody, somebody slow, or several at the other end.

use std::{fs, io::Write as _, time::Duration};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use super::stdio::{FLOW, create_wired, is_flood};
use crate::{
    check::{Body, Check, Stop},
    contract::stdio,
    history::{Answer, Method, Status, Topic},
    lab::{
        Lab, NOTICE, Order,
        message::{self, Stdio},
        program,
        stdio::Wiring,
    },
    lie::Lie,
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "stdio/no-writer",
        clause: &stdio::NO_WRITER,
        needs: &[],
        notices: &[Lie::Refused(Method::Create), Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(no_writer(lab))),
    },
    Check {
        id: "stdio/no-reader",
        clause: &stdio::NO_READER,
        needs: &[],
        notices: &[Lie::Unanswered(Method::Create), Lie::Broken(Method::Create)],
        body: Body::Example(|lab| Box::pin(no_reader(lab))),
    },
    Check {
        id: "stdio/client-makes-fifos",
        clause: &stdio::CLIENT_MAKES_FIFOS,
        needs: &[],
        notices: &[Lie::Accepted(Method::Create), Lie::Broken(Method::Create)],
        body: Body::Example(|lab| Box::pin(client_makes_fifos(lab))),
    },
    Check {
        id: "stdio/own-end",
        clause: &stdio::OWN_END,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::State(Status::Stopped)],
        body: Body::Example(|lab| Box::pin(own_end(lab))),
    },
    Check {
        id: "stdio/leaked-holder",
        clause: &stdio::LEAKED_HOLDER,
        needs: &[],
        notices: &[Lie::Unanswered(Method::Delete), Lie::ExitStatus(Method::Delete)],
        body: Body::Example(|lab| Box::pin(leaked_holder(lab))),
    },
    Check {
        id: "stdio/slow-reader",
        clause: &stdio::SLOW_READER,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled],
        body: Body::Example(|lab| Box::pin(slow_reader(lab))),
    },
    Check {
        id: "stdio/several-writers",
        clause: &stdio::SEVERAL_WRITERS,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled, Lie::ExitStatus(Method::Wait)],
        body: Body::Example(|lab| Box::pin(several_writers(lab))),
    },
    Check {
        id: "stdio/byte-by-byte",
        clause: &stdio::UNCHANGED,
        needs: &[],
        notices: &[Lie::OutputCut, Lie::OutputDoubled],
        body: Body::Example(|lab| Box::pin(arrives(lab, program::drips(DRIPS), DRIPS))),
    },
    Check {
        id: "stdio/64-mebibytes",
        clause: &stdio::UNCHANGED,
        needs: &[],
        notices: &[Lie::OutputCut],
        body: Body::Example(|lab| Box::pin(arrives(lab, program::floods(DELUGE), DELUGE))),
    },
    Check {
        id: "stdio/resize-without-terminal",
        clause: &stdio::RESIZE_WITHOUT_TERMINAL,
        needs: &[],
        notices: &[Lie::Broken(Method::ResizePty), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(resize_without_terminal(lab))),
    },
    Check {
        id: "stdio/no-stdout",
        clause: &stdio::NULL,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(super::stdio::some_streams(lab, [true, false, true]))),
    },
    Check {
        id: "stdio/no-stderr",
        clause: &stdio::NULL,
        needs: &[],
        notices: &[Lie::Broken(Method::Create), Lie::ShimDead],
        body: Body::Example(|lab| Box::pin(super::stdio::some_streams(lab, [true, true, false]))),
    },
    Check {
        id: "stdio/exec-only-stdin",
        clause: &stdio::NULL,
        needs: &[],
        notices: EXEC_LIES,
        body: Body::Example(|lab| Box::pin(exec_some_streams(lab, [true, false, false]))),
    },
    Check {
        id: "stdio/exec-only-stdout",
        clause: &stdio::NULL,
        needs: &[],
        notices: EXEC_LIES,
        body: Body::Example(|lab| Box::pin(exec_some_streams(lab, [false, true, false]))),
    },
    Check {
        id: "stdio/exec-only-stderr",
        clause: &stdio::NULL,
        needs: &[],
        notices: EXEC_LIES,
        body: Body::Example(|lab| Box::pin(exec_some_streams(lab, [false, false, true]))),
    },
    Check {
        id: "stdio/exec-no-stdout",
        clause: &stdio::NULL,
        needs: &[],
        notices: EXEC_LIES,
        body: Body::Example(|lab| Box::pin(exec_some_streams(lab, [true, false, true]))),
    },
    Check {
        id: "stdio/exec-no-stderr",
        clause: &stdio::NULL,
        needs: &[],
        notices: EXEC_LIES,
        body: Body::Example(|lab| Box::pin(exec_some_streams(lab, [true, true, false]))),
    },
];

const EXEC_LIES: &[Lie] = &[Lie::Broken(Method::Start), Lie::ShimDead, Lie::State(Status::Stopped)];
/// Enough single writes to fill a pipe by their number.
const DRIPS: usize = 20_000;
/// More than anything in between can hold.
const DELUGE: usize = 64 << 20;
/// How long a reader pauses; a shim that gives it 2 s is known to lose output.
const PAUSE: Duration = Duration::from_secs(4);

/// Nobody has opened standard input when the task is created; somebody comes later.
async fn no_writer(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::echoes()).wired(Wiring::All)).await?;
    let streams = task.streams();
    streams.close_stdin();
    create_wired(lab, &task, &streams.paths).await?.done("Create with nobody at standard input")?;
    task.start().await?;
    streams.reopen_stdin()?;
    streams.write(b"late")?;
    streams.stdout.until(lab, FLOW, "late", |seen| seen == b"late").await?;
    task.is(Status::Running).await?;
    Ok(())
}

/// Nobody reads when the task is created. If the shim refuses, the client that tries again with a reader succeeds.
async fn no_reader(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::says("out", "err", 0)).wired(Wiring::Output)).await?;
    task.streams().detach();
    let answer = lab.call(task.create_request()?).await?;
    task.streams().attach(lab)?;
    match answer {
        Answer::Done(_) => {}
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => {
            answer.declined("Create without a reader")?;
            task.create().await?;
        }
    }
    task.start().await?;
    task.wait().await?.reports(0)?;
    Ok(())
}

/// A path at which there is nothing is refused, and there is nothing afterwards.
async fn client_makes_fifos(lab: &Lab) -> Result<(), Stop> {
    let task = lab.serve(Order::new(program::says("out", "err", 0))).await?;
    let missing = lab.places().base.join("not-made-by-the-client");
    let path = missing.display().to_string();
    let stdio = Stdio { stdout: path.clone(), stderr: path, ..Stdio::default() };
    create_wired(lab, &task, &stdio).await?.declined("Create with streams that do not exist")?;
    if missing.exists() {
        return Err(Stop::violated("the shim made a file in the place of a FIFO", "nothing", "a file"));
    }
    Ok(())
}

/// The program closes standard error and goes on.
async fn own_end(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::closes_stderr("the end")).wired(Wiring::Output)).await?;
    let streams = task.streams();
    streams.stdout.until(lab, FLOW, "closed", |seen| seen == b"closed\n").await?;
    let errors = streams.stderr.to_end(lab, FLOW).await?;
    if errors != b"the end" {
        let actual = String::from_utf8_lossy(&errors).into_owned();
        return Err(Stop::violated("a stream that was closed carries something else", "the end", actual));
    }
    task.is(Status::Running).await?;
    Ok(())
}

/// A command leaves a process behind that holds its output open.
async fn leaked_holder(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.exec("e", &program::leaves_child(3), Wiring::Output).await?;
    exec.start().await?;
    exec.wait().await?.reports(3)?;
    let deleting = exec.begin(Method::Delete).await?;
    let limit = lab.scaled(Duration::from_secs(15));
    deleting.answer_within(limit, "its process has ended").await?.exit("Delete")?.reports(3)?;
    Ok(())
}

/// The program has ended, its task is being deleted, and the reader comes back only then.
async fn slow_reader(lab: &Lab) -> Result<(), Stop> {
    /// Fits the two pipes between a program and its client, and neither alone.
    const BYTES: usize = 100 << 10;
    let gate = lab.gate("slow")?;
    let order = Order::new(program::behind("slow", &program::floods(BYTES))).wired(Wiring::Output);
    let task = lab.run(order).await?;
    task.streams().detach();
    gate.open()?;
    let ended = |history: &crate::history::History| history.events().find(|(_, e)| e.topic == Topic::Exit).map(drop);
    // A shim without a pipe of its own lets the program wait for its reader, and nothing can be lost.
    if lab.recorder().until(lab.scaled(NOTICE), ended).await.is_none() {
        task.streams().attach(lab)?;
        task.wait().await?.reports(0)?;
        task.delete().await?.reports(0)?;
        return is_flood(&task.streams().stdout.to_end(lab, FLOW).await?, BYTES);
    }
    let deleting = task.begin(Method::Delete).await?.answer();
    tokio::pin!(deleting);
    let early = tokio::time::timeout(PAUSE, &mut deleting).await;
    task.streams().attach(lab)?;
    let answer = match early {
        Ok(answer) => answer?,
        Err(_) => deleting.await?,
    };
    answer.exit("Delete")?.reports(0)?;
    is_flood(&task.streams().stdout.to_end(lab, FLOW).await?, BYTES)
}

/// Three clients write lines in turns; each line is echoed whole, and only CloseIO ends the input.
async fn several_writers(lab: &Lab) -> Result<(), Stop> {
    const LINES: usize = 20;
    let task = lab.run(Order::new(program::echoes()).wired(Wiring::All)).await?;
    let streams = task.streams();
    let path = &streams.paths.stdin;
    let mut clients = Vec::new();
    for client in ["a", "b", "c"] {
        let file = fs::OpenOptions::new().write(true).open(path).with_context(|| format!("open {path}"))?;
        clients.push((client, file));
    }
    let mut written = Vec::new();
    for number in 0..LINES {
        for (client, file) in &mut clients {
            let line = format!("{}{number}\n", client.repeat(90));
            file.write_all(line.as_bytes()).context("write to standard input")?;
            written.push(line);
        }
    }
    let expected = written.concat();
    let all = |seen: &[u8]| seen.len() >= expected.len();
    let seen = streams.stdout.until(lab, FLOW, "every line", all).await?;
    if seen != expected.as_bytes() {
        let actual = String::from_utf8_lossy(&seen).into_owned();
        return Err(Stop::violated("lines of several clients are not what they wrote", expected, actual));
    }
    drop(clients);
    streams.close_stdin();
    task.is(Status::Running).await?;
    lab.call(message::close_stdin(task.target())).await?.done("CloseIO")?;
    let waiting = task.begin(Method::Wait).await?;
    waiting.answer_within(lab.scaled(NOTICE), "its input has ended").await?.exit("Wait")?.reports(0)?;
    Ok(())
}

/// Everything that the program writes arrives.
async fn arrives(lab: &Lab, program: program::Program, bytes: usize) -> Result<(), Stop> {
    let task = lab.run(Order::new(program).wired(Wiring::Output)).await?;
    task.wait().await?.reports(0)?;
    task.delete().await?;
    is_flood(&task.streams().stdout.to_end(lab, FLOW * 2).await?, bytes)
}

/// A size for what has no window, while it runs and after its end.
async fn resize_without_terminal(lab: &Lab) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    for status in [Status::Running, Status::Stopped] {
        if status == Status::Stopped {
            task.end().await?;
        }
        match lab.call(message::resize(task.target(), 80, 24)).await? {
            Answer::Done(_) => {}
            answer @ (Answer::Refused { .. } | Answer::Lost(_)) => answer.declined("ResizePty without a terminal")?,
        }
        task.is(status).await?;
    }
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim did not survive", "a living shim", "none"))
}

/// An exec with only some of its streams: a life, or a refusal, and never a dead shim.
async fn exec_some_streams(lab: &Lab, [stdin, stdout, stderr]: [bool; 3]) -> Result<(), Stop> {
    let task = lab.run(Order::new(program::sleeps())).await?;
    let exec = task.plan_exec("e", Wiring::All)?;
    let paths = &exec.streams().paths;
    let only = |wanted: bool, path: &str| if wanted { path.to_owned() } else { String::new() };
    let stdio = Stdio {
        stdin: only(stdin, &paths.stdin),
        stdout: only(stdout, &paths.stdout),
        stderr: only(stderr, &paths.stderr),
        terminal: false,
    };
    let process = crate::lab::spec::process(&program::says("out", "err", 0), false, &[]);
    lab.call(message::exec(exec.target(), Some(&process), &stdio)).await?.done("Exec")?;
    let starting = exec.begin(Method::Start).await?;
    let answer = starting.answer_within(lab.scaled(FLOW), "nothing that it must wait for is missing").await;
    if answer.is_err() {
        // So that it holds up nothing else.
        task.signal_shim(Signal::SIGKILL)?;
    }
    match answer? {
        Answer::Done(_) => {
            exec.wait().await?.reports(0)?;
            exec.delete().await?;
        }
        answer @ (Answer::Refused { .. } | Answer::Lost(_)) => answer.declined("Start of an exec with some streams")?,
    }
    task.is(Status::Running).await?;
    if task.shim_is_alive()? {
        return Ok(());
    }
    Err(Stop::violated("the shim has died", "a shim that serves", "none"))
}
