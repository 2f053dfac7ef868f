//! What holds of every history, whatever was done to the shim.

clauses! {
    SHIM_SURVIVES = "always/shim-survives", Must, Client,
        "The shim dies only when it is told to by a Shutdown that finds it empty, or when somebody kills it.",
        "cmd/containerd-shim-runc-v2/task/service.go, Shutdown; docs/runtime-v2.md",
        "With the shim goes the truth about how its containers ended, and their standard streams.";
    SHIM_EXITS = "always/shim-exits", Must, Client,
        "After a Shutdown that finds it empty the shim is gone within 3 s, or within 20 s when its last events could not be delivered.",
        "pkg/shim/shim.go; io.containerd.timeout.shim.shutdown",
        "Nobody owns a shim that stays, and nobody will ever end it.";
    NO_ZOMBIE = "always/no-zombie", Must, Spec,
        "Every process that falls to the shim is reaped within a second.",
        "docs/runtime-v2.md, sub-reaper",
        "Zombies keep their numbers, and a node runs out of them.";
    FLAT = "always/flat", Should, Hygiene,
        "When everything in it has been deleted, the shim holds what it held before.",
        "kernel: RLIMIT_NOFILE, pids.max; kubelet runs exec probes at each period",
        "A shim lives as long as its container; CRI probes run an exec in it every second.";
    ANSWERED = "always/answered", Must, Client,
        "A shim that runs answers every call, whatever else is stuck.",
        "core/runtime/v2/task_manager.go (most calls carry no deadline)",
        "containerd waits for ever, and so does whoever asked it.";
    MATRIX = "always/matrix", Must, Client,
        "Every call is answered as the state of its task permits, whatever came before: what is legal succeeds, what is not is refused and changes nothing.",
        "cmd/containerd-shim-runc-v2/process (states of init and exec); api/runtime/task/v3/shim.proto",
        "containerd keeps no state of its own: what the shim answers is what its clients see and act on.";
    CODES = "always/codes", Must, Client,
        "What is not there any more is NOT_FOUND, and a signal that finds no running process is NOT_FOUND or FAILED_PRECONDITION.",
        "core/runtime/v2/shim.go, delete; client/task_opts.go, WithProcessKill",
        "containerd takes these codes for success; any other leaves a task that cannot be deleted.";
}
