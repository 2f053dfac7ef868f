//! `containerd-shim-reference-v1`.

use std::process::ExitCode;

fn main() -> ExitCode {
    reference_shim::main()
}
