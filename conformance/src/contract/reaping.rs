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
    WHOLE_CONTAINER = "reaping/whole-container", Must, Client,
        "When init of a container that shares the host's pids ends, all of the container is ended, and each exec's end is told.",
        "cmd/containerd-shim-runc-v2/task/service.go, handleInitExit; runc/util.go, ShouldKillAllOnExit",
        "No kernel ends them: they would run on in a cgroup that cannot be removed.";
    PID_REUSE = "reaping/pid-reuse", Must, Client,
        "An exit is never taken for that of a later process with the same pid.",
        "cmd/containerd-shim-runc-v2/task/service.go, processExits",
        "The wrong container would be shown as ended." {
            untestable: "the kernel would have to give the pid of an ended process away in the moment before the shim looks it up, which nobody outside can bring about"
        };
    DEEP_ORPHANS = "reaping/deep-orphans", Must, Spec,
        "Processes that were forked away twice are the shim's as well, and it reaps a thousand of them.",
        "docs/runtime-v2.md, sub-reaper",
        "Daemons start so; a container may start any number.";
}
