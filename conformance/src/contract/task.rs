//! The calls about a container and its init.

clauses! {
    DELETE_FOLLOWS_EXIT = "task/delete-follows-exit", Must, Spec,
        "TaskDelete follows TaskExit, or TaskCreate if the task was never started.",
        "docs/runtime-v2.md, events",
        "A consumer that sees the deletion first takes the exit for that of an unknown task.";
    EXIT_STATUS = "task/exit-status", Must, Client,
        "An exit is told as the exit code, or as 128 plus the number of the signal, the same everywhere.",
        "api/runtime/task/v3/shim.proto; pkg/shim (reaper)",
        "Clients show and act on the status of Wait, CRI on that of the event.";
}
