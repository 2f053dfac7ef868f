//! How a shim comes to life: `start`, `-v`, `-info`.

clauses! {
    START_ANSWERS = "start/answers", Must, Spec,
        "start prints where the shim serves, and nothing else, and exits with 0.",
        "docs/runtime-v2.md, start; core/runtime/v2/binary.go",
        "containerd parses everything that start prints; anything else makes the container fail to start.";
    START_DAEMON = "start/daemon", Must, Client,
        "The shim that serves is another process than start, and outlives it.",
        "docs/runtime-v2.md, start; pkg/shim/shim.go",
        "containerd waits for the end of start and of its output.";
}
