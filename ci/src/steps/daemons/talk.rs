//! A process in a container that says something, waits at a gate, and only then ends.
//!
//! `ctr` may lose what a process wrote when it ends before `ctr` has opened the FIFO. So a process whose output is
//! judged stays until its output was seen, and nothing depends on how fast anybody is.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::{libc, sys::stat::Mode, unistd::mkfifo};

use super::{
    ctr::{Background, Ctr},
    stage::LIMIT,
    terminal::{self, Copier},
};
use crate::{command, deadline};

/// A FIFO in a root file system at which a script waits: `read line </NAME`.
#[derive(Debug)]
pub(super) struct Gate(PathBuf);

impl Gate {
    /// Makes a gate that is closed.
    pub(super) fn make(rootfs: &Path, name: &str) -> Result<Self> {
        let gate = rootfs.join(name);
        mkfifo(&gate, Mode::S_IRWXU).with_context(|| format!("cannot make the gate {}", gate.display()))?;
        Ok(Self(gate))
    }

    /// Lets the script go on that waits at the gate, or will soon.
    pub(super) fn open(&self) -> Result<()> {
        let gate = &self.0;
        let mut writer = deadline::until(&format!("reader at the gate {}", gate.display()), LIMIT, || {
            match File::options().write(true).custom_flags(libc::O_NONBLOCK).open(gate) {
                Ok(writer) => Ok(Some(writer)),
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
                Err(error) => Err(error).with_context(|| format!("cannot open the gate {}", gate.display())),
            }
        })?;
        writer.write_all(b"go\n").with_context(|| format!("cannot write to the gate {}", gate.display()))
    }
}

/// How the process is to be connected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Via {
    /// Standard output and standard error apart, no input.
    Files,
    /// All on one terminal.
    Terminal,
}

/// A call of `ctr` whose process waits at a gate.
#[derive(Debug)]
pub(super) struct Talk {
    call: Background,
    copier: Option<Copier>,
    gate: Gate,
    output: PathBuf,
    errors: PathBuf,
}

impl Talk {
    /// Makes the call, whose process is to wait at `gate`; `home` and `name` say where its output goes.
    pub(super) fn begin(ctr: &Ctr, call: &[&str], via: Via, gate: Gate, home: &Path, name: &str) -> Result<Self> {
        let (output, errors) = (home.join(format!("{name}.out")), home.join(format!("{name}.err")));
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot create {}", path.display()));
        let mut call = ctr.command(call);
        let (child, copier) = match via {
            Via::Terminal => {
                let (child, copier) = terminal::spawn(call, create(&output)?)?;
                fs::write(&errors, "").with_context(|| format!("cannot create {}", errors.display()))?;
                (child, Some(copier))
            }
            Via::Files => {
                call.stdout(create(&output)?).stderr(create(&errors)?);
                (call.spawn().with_context(|| format!("cannot run `{}`", command::line(&call)))?, None)
            }
        };
        Ok(Self { call: Background::of(child), copier, gate, output, errors })
    }

    /// Waits until the process has written exactly this.
    pub(super) fn says(&mut self, output: &str, errors: &str) -> Result<()> {
        self.shows(&format!("output {output:?} and errors {errors:?}"), |out, err| out == output && err == errors)
    }

    /// Waits until the process has named its terminal.
    pub(super) fn names_terminal(&mut self) -> Result<()> {
        self.shows("name of a terminal", |out, _| out.contains("/dev/pts/") || out.contains("/dev/console"))
    }

    /// Lets the process end, and sees that `ctr` ends with this code.
    pub(super) fn ends_with(self, code: i32) -> Result<()> {
        self.gate.open()?;
        let ended = self.call.code()?;
        ensure!(ended == Some(code), "`ctr` ended with {ended:?}, expected {code}");
        self.copier.map_or(Ok(()), Copier::finish)
    }

    /// Lets the process end although nobody may be there to tell.
    pub(super) fn let_go(self) -> Result<()> {
        self.gate.open()
    }

    fn shows(&mut self, what: &str, is_it: impl Fn(&str, &str) -> bool) -> Result<()> {
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let shown = deadline::until(what, LIMIT, || {
            let (output, errors) = (read(&self.output)?, read(&self.errors)?);
            let is_shown = is_it(&output, &errors);
            ensure!(is_shown || self.call.is_running()?, "`ctr` ended with output {output:?} and errors {errors:?}");
            Ok(is_shown.then_some(()))
        });
        shown.with_context(|| format!("there is {:?} and {:?}", read(&self.output), read(&self.errors)))
    }
}
