//! The calls about execs.

clauses! {
    LIFE = "exec/life", Must, Client,
        "An exec is added, started and reaped as init is, and its exit is the same in Wait, the exit event, State and Delete.",
        "api/runtime/task/v3/shim.proto; client/process.go",
        "kubectl exec and probes show and act on the status of an exec.";
    STATE = "exec/state", Must, Client,
        "State of an exec follows its life: created without a pid, running with the pid of Start, stopped with the exit of Wait.",
        "api/runtime/task/v3/shim.proto, StateResponse",
        "containerd answers every question about an exec from it, after a restart too.";
    UNIQUE_ID = "exec/unique-id", Must, Client,
        "An exec id is taken until the exec is deleted: another Exec with it is ALREADY_EXISTS and changes nothing.",
        "cmd/containerd-shim-runc-v2/task/service.go, Exec",
        "A replaced exec runs on with nobody who could wait for it, kill it or read its output.";
    STARTS_ONCE = "exec/starts-once", Must, Client,
        "A second Start of an exec is refused and starts nothing.",
        "cmd/containerd-shim-runc-v2/process/exec_state.go",
        "A client that repeats a Start after a timeout would run the command twice.";
    FAILED_START = "exec/failed-start", Must, Client,
        "When an exec cannot be started, Start says so, nothing is announced as started or ended, and the exec can be deleted.",
        "docs/runtime-v2.md, events; cmd/containerd-shim-runc-v2/process/exec.go",
        "A typing error in the command of an exec must not cost more than that exec.";
    FAILED_WAIT = "exec/failed-wait", Should, Client,
        "Wait for an exec that could not be started does not answer that it ended well.",
        "client/process.go, Wait",
        "A client that waits before it starts takes the command for having succeeded.";
    WAIT_FIRST = "exec/wait-first", Must, Client,
        "Wait for an exec that has not been started yet answers when it was started and has ended.",
        "client/process.go; clients call Wait before Start to miss no exit",
        "A Wait that fails or answers early loses the exit of every short exec.";
    KILL_CREATED = "exec/kill-created", Must, Client,
        "Kill of an exec that was not started is FAILED_PRECONDITION.",
        "cmd/containerd-shim-runc-v2/process/exec.go; client/task_opts.go",
        "Clients that take down execs treat this code, and NOT_FOUND, as done, and fail on others.";
    KILL_EXITED = "exec/kill-exited", Must, Client,
        "Kill of an exec that has ended is NOT_FOUND.",
        "cmd/containerd-shim-runc-v2/process/utils.go, checkKillError; client/task_opts.go",
        "Clients that take down execs treat this code as done, and fail on others.";
    DELETE = "exec/delete", Must, Client,
        "Delete of an exec is refused while it runs, succeeds when it was never started or has ended, and frees its id.",
        "api/runtime/task/v3/shim.proto, Delete",
        "Probes reuse ids; an id that stays taken makes the next probe fail.";
    UNKNOWN = "exec/unknown", Must, Client,
        "A call about an exec that does not exist is NOT_FOUND.",
        "cmd/containerd-shim-runc-v2/runc/container.go, Process",
        "containerd takes NOT_FOUND for gone and goes on; other codes make it stop half way.";
    ENDS_WITH_INIT = "exec/ends-with-init", Must, Client,
        "When init ends, its execs end by SIGKILL, and that is told.",
        "cmd/containerd-shim-runc-v2/task/service.go, handleInitExit; pid_namespaces(7)",
        "An exec whose end is never told hangs its client for ever.";
    EXITS_BEFORE_INIT = "exec/exits-before-init", Should, Defacto,
        "The exits of execs are announced before that of init.",
        "cmd/containerd-shim-runc-v2/task/service.go, handleInitExit",
        "A consumer that drops a container at its exit does not know the execs of later events.";
    START_AFTER_INIT = "exec/start-after-init", Should, Client,
        "Start of an exec whose container has ended is FAILED_PRECONDITION.",
        "cmd/containerd-shim-runc-v2/task/service.go, Start",
        "Clients tell a container that has ended from a command that cannot be executed by this code.";
    PAUSED = "exec/paused", Must, Defacto,
        "In a paused container no exec runs: Exec, or at the latest its Start, is refused.",
        "cmd/containerd-shim-runc-v2/process/init_state.go, pausedState",
        "An exec that is frozen at once hangs its client without a word.";
    EVENTS = "exec/events", Must, Spec,
        "The events of an exec come in the order of its life: added, started, ended, each once.",
        "docs/runtime-v2.md, events",
        "A consumer that sees the end first waits for the end of what has ended.";
    CONCURRENT = "exec/concurrent", Must, Client,
        "Execs of one container live at the same time without mixing up status, pid or output.",
        "cmd/containerd-shim-runc-v2/task/service.go",
        "Probes and users exec into a container whenever they like.";
    LEAVES_NOTHING = "exec/leaves-nothing", Must, Hygiene,
        "Deleted execs leave no descriptor, no thread and no zombie in the shim.",
        "cmd/containerd-shim-runc-v2/process/exec.go, delete",
        "A probe each second finds the limit of descriptors within a day.";
    EMPTY_ID = "exec/empty-id", Must, Hygiene,
        "Exec without an id is refused, or harms neither init nor the shim.",
        "cmd/containerd-shim-runc-v2/task/service.go, Exec: the empty id means init",
        "Every later call about init would be about the exec.";
    IN_CREATED = "exec/in-created", May, Defacto,
        "An exec can be added and started while its container is created.",
        "cmd/containerd-shim-runc-v2/process/init_state.go, createdState",
        "Tools that prepare a container run helpers in it before its program begins.";
    NEVER_STARTED_WAIT = "exec/never-started-wait", Should, Client,
        "A Wait for an exec that was never started ends, at the latest when its task is deleted.",
        "client/process.go, Wait; cmd/containerd-shim-runc-v2/process/exec.go",
        "A client that waits before it starts hangs for ever when the container ends in between.";
    LEAVES_INIT_ALONE = "exec/leaves-init-alone", Must, Client,
        "However an exec ends, init runs on.",
        "cmd/containerd-shim-runc-v2/task/service.go, handleProcessExit",
        "A failing probe would end the container that it asks.";
    KILL_OTHERS_NOT = "exec/kill-others-not", Must, Client,
        "Kill of an exec reaches that exec alone, with all or without.",
        "cmd/containerd-shim-runc-v2/process/exec.go, kill",
        "To interrupt one command would end the container.";
    AS_SPECIFIED = "exec/as-specified", Must, Client,
        "An exec has the arguments, environment, directory and user of its spec, and the namespaces of its container.",
        "api/runtime/task/v3/shim.proto, ExecProcessRequest.spec; opencontainers/runtime-spec, config.md, process",
        "A command run as another user or elsewhere is another command.";
    OF_ITS_CONTAINER = "exec/of-its-container", Must, Client,
        "An exec belongs to its container: the same id in another one is another exec.",
        "cmd/containerd-shim-runc-v2/runc/container.go",
        "Probes of all containers of a pod use the same few ids.";
    ANY_ID = "exec/any-id", Must, Hygiene,
        "Exec ids that are very long or odd are served or refused, and the shim lives on.",
        "pkg/identifiers/validate.go: containerd alone checks ids; cmd/containerd-shim-runc-v2/process/exec.go makes file names of them",
        "The API may be called by others than containerd.";
}
