//! A runtime that is slow, fails or dies is not the shim's fault; what the shim makes of it is.

clauses! {
    NEIGHBOURS_ANSWER = "runtime/neighbours-answer", Should, Client,
        "While the runtime is busy with one container, calls about another one of the same shim are answered.",
        "core/runtime/v2/shim.go, State: containerd gives it 2 s; known: Create holds a lock of the whole shim up to 2.2",
        "One slow image or disk makes every container of the pod look dead.";
    FAILURE_IS_TOLD = "runtime/failure-is-told", Must, Client,
        "When the runtime fails, the call that needed it fails, and the shim goes on serving.",
        "cmd/containerd-shim-runc-v2/task/service.go",
        "A failure that looks like success leaves a container that nobody runs.";
    FAILED_CREATE_LEAVES_NOTHING = "runtime/failed-create-leaves-nothing", Must, Client,
        "A Create that failed leaves no task, no mount and no event; the id is unknown afterwards.",
        "cmd/containerd-shim-runc-v2/runc/container.go, NewContainer; core/runtime/v2/task_manager.go",
        "containerd removes the bundle next and cannot when something is mounted in it.";
    START_FAILURE_KEEPS_TASK = "runtime/start-failure-keeps-task", Must, Client,
        "A Start that failed leaves a task that can be looked at and deleted.",
        "core/runtime/v2/task_manager.go",
        "The client deletes the task next; when that fails it stays for ever.";
    LATE_RUNTIME = "runtime/late-create-is-undone", Should, Hygiene,
        "A runtime that was still creating when its shim was killed leaves nothing once delete has been executed and it has ended.",
        "docs/runtime-v2.md, delete",
        "A container runs that no containerd knows, with the mounts and cgroups of a bundle that is gone.";
}
