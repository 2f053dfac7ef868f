//! The engine as a program of its own; all of it is in the library, so that a multi-call program can be it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    fault_injector::engine::main(std::env::args_os())
}
