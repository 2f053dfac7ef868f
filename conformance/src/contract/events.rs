//! What the shim publishes.

clauses! {
    FIELDS = "events/fields", Must, Spec,
        "Every event carries the topic, the message and the fields that belong to it.",
        "docs/runtime-v2.md, events; api/events/task.proto",
        "Consumers find the container, the exec and the process by them.";
    ENVELOPE = "events/envelope", Must, Client,
        "The envelope names the namespace of the container and the time of publishing.",
        "core/events/exchange/exchange.go, validateEnvelope",
        "containerd refuses any other envelope, so the event is lost.";
    AGREE = "events/agree", Must, Client,
        "Events name the process that Create and Start named, and nothing is announced that did not happen.",
        "internal/cri/server/events.go",
        "CRI finds the container of an exit by its pid and id, and takes a deletion at its word.";
    ONE_EXIT = "events/one-exit", Must, Spec,
        "Every process that ran has one exit event, with the status and the time that Wait, State and Delete tell.",
        "docs/runtime-v2.md, events; internal/cri/server/events.go",
        "CRI learns from it alone that a container has ended.";
    ORDER = "events/order", Must, Spec,
        "Create comes before start, start before exit, exit before delete; an exec is added before it starts, and starts before it exits.",
        "docs/runtime-v2.md, events",
        "A consumer that sees an exit of an unknown process drops it.";
    EXEC_ORDER = "events/exec-order", Must, Spec,
        "An exec is announced as added, then as started, then as exited.",
        "docs/runtime-v2.md, events",
        "A consumer that sees an exit of an unknown process drops it.";
    DELETE_TOLD = "events/delete-told", Must, Spec,
        "A deleted task is announced, at least when the shim is given 300 ms before it must leave.",
        "docs/runtime-v2.md, events",
        "Whoever keeps accounts of tasks by events never closes this one.";
    FAILURES_SILENT = "events/failures-silent", Must, Client,
        "What failed is not announced.",
        "core/runtime/v2/task_manager.go; cmd/containerd-shim-runc-v2/task/service.go",
        "Consumers would count tasks that never were.";
    PAUSED_TOLD = "events/paused-told", Should, Spec,
        "A pause and its end are announced after they happened; a refused one is not.",
        "docs/runtime-v2.md, events",
        "CRI-less clients show the state from events.";
    OUTAGE = "events/outage", Must, Client,
        "Events of an outage of the events service of up to 5 s are delivered after it.",
        "pkg/shim/publisher.go",
        "A restart of containerd would lose exits, and the containers would run for ever in its books.";
    INDEPENDENT = "events/independent", Must, Client,
        "No call waits for the events service, be it hung, gone, or never there.",
        "cmd/containerd-shim-runc-v2/task/service.go, forward",
        "containerd calls and is called by the same shim: each would wait for the other.";
    OOM_TOLD = "events/oom-told", Should, Spec,
        "A container that was stopped by the kernel for its memory limit is announced as out of memory.",
        "docs/runtime-v2.md, events; internal/cri/server/events.go",
        "Kubernetes tells OOMKilled from an ordinary exit by it.";
    EXEC_DELETE_ID = "events/exec-delete-id", Must, Client,
        "If the deletion of an exec is announced, the event names the exec.",
        "api/events/task.proto, TaskDelete.id",
        "Without the id it says that the whole container is gone.";
    TOLD_BEFORE_LEAVING = "events/told-before-leaving", Must, Client,
        "The exit has been announced when the shim is gone, though Delete and Shutdown follow at once.",
        "core/runtime/v2/shim.go; pkg/shim/publisher.go",
        "Nobody is left to tell it, and containerd makes none up for a task that was deleted.";
    DELETE_TOLD_AT_ONCE = "events/delete-told-at-once", Should, Spec,
        "The deletion is announced though Shutdown follows at once.",
        "docs/runtime-v2.md, events; pkg/shim/shim.go: known to be lost at times since 2.0",
        "containerd itself leaves no time between the two.";
    DELETE_OF_CREATED = "events/delete-of-created", Should, Spec,
        "When a created task is deleted, its exit is announced before its deletion.",
        "docs/runtime-v2.md, events; cmd/containerd-shim-runc-v2/process/init_state.go, createdState",
        "A consumer that sees the deletion first drops the exit.";
    ORDER_OVER_OUTAGE = "events/order-over-outage", May, Spec,
        "Events that could not be delivered are delivered in the order of the life.",
        "docs/runtime-v2.md, events: they are ordered; pkg/shim/publisher.go sends again one by one",
        "A consumer that sees an exit of an unknown process drops it.";
    MANY = "events/many", Must, Client,
        "A thousand events in a row arrive, each once.",
        "pkg/shim/publisher.go: a queue of limited length",
        "A busy pod makes as many while containerd is slow.";
    CHECKPOINTED = "events/checkpointed", Should, Spec,
        "A checkpoint is announced.",
        "docs/runtime-v2.md, events",
        "Consumers that keep accounts of images miss it." {
            untestable: "needs CRIU and a kernel for it, which no host of the suite has"
        };
    WAIT_AGREES = "events/after-wait", Should, Client,
        "When Wait has answered, the exit event follows within a second.",
        "client/task.go; internal/cri/server/events.go",
        "ctr and CRI learn of the same end by the two ways.";
}
