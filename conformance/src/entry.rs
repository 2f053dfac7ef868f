//! The names under which this executable is somebody else: it runs as fake containerd, world, payload and engine of its own runs.

/// Hidden subcommand: the fake containerd.
pub const CONTAINERD: &str = "__containerd";
/// Hidden subcommand: a world and the check in it.
pub const WORLD: &str = "__world";
/// Hidden subcommand: a world in which nothing is judged.
pub const PROBE: &str = "__probe";
/// Under this name the executable is the program inside containers.
pub const PAYLOAD: &str = "payload";
/// Under this name the executable is our OCI runtime.
pub const ENGINE: &str = "conformance-engine";
