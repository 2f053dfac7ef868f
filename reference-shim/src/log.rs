//! Lines for containerd's log.
//!
//! Stderr is a FIFO that containerd may have stopped to read, or left altogether, so a line that cannot be written at
//! once is lost: `eprintln!` would panic instead.

use std::{
    fmt::Arguments,
    io::{self, Write},
};

/// Writes one line; use it as `log!`.
pub(crate) fn line(text: Arguments<'_>) {
    let line = format!("reference-shim[{}]: {text}\n", std::process::id());
    // One write, so that lines do not mix; its failure is nobody's business.
    drop(io::stderr().write(line.as_bytes()));
}

macro_rules! log {
    ($($text:tt)*) => {
        $crate::log::line(format_args!($($text)*))
    };
}
