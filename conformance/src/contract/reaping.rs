//! Processes, zombies and orphans.

clauses! {
    PARENT = "reaping/parent", Must, Spec,
        "The shim is the parent of a container's init and of its execs.",
        "docs/runtime-v2.md, sub-reaper; pkg/shim/shim_linux.go",
        "Who is not the parent of a process cannot learn how it ended.";
    NO_ZOMBIES = "reaping/no-zombies", Must, Client,
        "Every child of the shim is reaped within a second of its end, whoever made it.",
        "docs/runtime-v2.md, sub-reaper; pkg/sys/reaper",
        "Zombies use up the pids of the host and of the pod.";
    ORPHANS = "reaping/orphans", Must, Spec,
        "Orphans of a container that shares the host's pids fall to the shim, which reaps them without a word.",
        "docs/runtime-v2.md, sub-reaper",
        "Nobody else reaps them, and an exit event for one would be taken for a task's.";
    BURST = "reaping/burst", Must, Client,
        "When many processes end at once, each exit is told once, for the right process with the right status.",
        "pkg/sys/reaper; SIGCHLD does not queue, signal(7)",
        "A lost exit hangs its client for ever; a mixed-up one tells it a lie.";
    FAST_EXIT = "reaping/fast-exit", Must, Client,
        "A program that ends before Start has answered is started and ended like any other.",
        "cmd/containerd-shim-runc-v2/task/service.go, preStart",
        "Most jobs are short; their exits must not be lost in the gap.";
    CREATED_EXIT = "reaping/exit-of-created", Must, Client,
        "A created task that is killed is told to have ended, though it was never started.",
        "cmd/containerd-shim-runc-v2/process/init_state.go, createdState; client/task_opts.go",
        "Clients take down a container that they could not start by Kill, Wait, Delete.";
    PAUSED_EXIT = "reaping/exit-of-paused", Must, Client,
        "A paused task that is killed ends, and is told to have ended.",
        "cmd/containerd-shim-runc-v2/process/init_state.go, pausedState",
        "A paused container that cannot be killed can only be removed with the node.";
}
