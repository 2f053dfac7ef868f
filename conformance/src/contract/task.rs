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
    CREATE = "task/create", Must, Client,
        "Create answers with the pid of a process that exists and in which the program has not begun.",
        "api/runtime/task/v3/shim.proto; core/runtime/v2/shim.go",
        "Clients set up networks and cgroups between Create and Start.";
    PID = "task/pid", Must, Client,
        "Create, Start and State name the same pid for init.",
        "api/runtime/task/v3/shim.proto",
        "Clients act on the process that the pid names.";
    DESCRIPTION = "task/description", Must, Client,
        "State repeats id, bundle, streams and terminal as Create was given them.",
        "api/runtime/task/v3/shim.proto; core/runtime/v2/shim.go",
        "After a restart of containerd it is the only way to attach to the streams again.";
    CONNECT = "task/connect", Must, Client,
        "Connect names the shim's pid always, and init's when the container is known; an unknown container is no error.",
        "core/runtime/v2/shim_load.go",
        "containerd asks it to find out whether a shim lives, before Create and after Delete as well.";
    PIDS = "task/pids", Must, Client,
        "Pids lists every process of a container that lives, its execs too, and none of one that has ended.",
        "core/runtime/v2/shim_load.go",
        "containerd takes a shim with an empty list for a leaked one and removes it.";
    WAIT = "task/wait", Must, Client,
        "Wait answers when the process has ended, to everybody who asks and however often, with one and the same exit.",
        "api/runtime/task/v3/shim.proto; client/task.go",
        "Clients learn of the end by it; every attached client waits for itself.";
    WAIT_FOR_PROCESS = "task/wait-for-process", Must, Client,
        "Wait waits for the process and not for the end of its streams.",
        "client/task.go",
        "A child that keeps standard output would keep the container alive for its clients.";
    WAIT_OVER_DELETE = "task/wait-over-delete", Should, Client,
        "A Wait that is pending when the task is deleted still answers with the true exit.",
        "api/runtime/task/v3/shim.proto",
        "A client that waits and one that removes would otherwise disagree about the end.";
    EXIT_TIME = "task/exit-time", Must, Client,
        "The time of an exit is when it happened.",
        "api/runtime/task/v3/shim.proto",
        "Clients show it and order containers by it.";
    FAILED_CREATE = "task/failed-create", Must, Client,
        "A Create that fails leaves no process, mount, cgroup, runtime state or event, and its id is unknown afterwards.",
        "core/runtime/v2/task_manager.go; cmd/containerd-shim-runc-v2/runc/container.go",
        "containerd tells the client of the failure and forgets the container.";
    DELETE = "task/delete", Must, Client,
        "Delete of a task that has ended or never started takes everything of it away; afterwards the task is unknown.",
        "docs/runtime-v2.md; core/runtime/v2/shim.go",
        "The bundle cannot be removed while something is mounted in it, nor the id be used again.";
    DELETE_UNKNOWN = "task/delete-unknown", Must, Client,
        "Delete of a task that is unknown, or no longer known, is refused with NOT_FOUND.",
        "core/runtime/v2/shim.go, delete",
        "It is the one code with which containerd goes on; with another the task can never be removed.";
    KILL = "task/kill", Must, Client,
        "Kill delivers the signal of this number to init, or with all to every process of the container.",
        "api/runtime/task/v3/shim.proto",
        "Programs reload, dump and stop by signals.";
    KILL_REALTIME = "task/kill-realtime", Should, Client,
        "Real-time signals are delivered like any other.",
        "api/runtime/task/v3/shim.proto",
        "Images with systemd as init stop by one of them.";
    KILL_CREATED = "task/kill-created", Must, Client,
        "A task that was created and not started can be killed, and then is stopped.",
        "client/task_opts.go; internal/cri/server",
        "Clients that give up between Create and Start clean up so.";
    KILL_ENDED = "task/kill-ended", Must, Client,
        "Kill of a process that has ended or is unknown is refused with NOT_FOUND.",
        "client/task_opts.go, WithProcessKill; internal/cri/server/container_stop.go",
        "Clients take that code alone for success; with another a stopped container cannot be removed.";
    KILL_INVALID = "task/kill-invalid", Should, Hygiene,
        "A signal number that does not exist is refused, and nothing changes.",
        "api/runtime/task/v3/shim.proto",
        "Whatever else arrives may be a deadly signal.";
    KILL_PAUSED = "task/kill-paused", Must, Client,
        "SIGKILL ends a paused task.",
        "cmd/containerd-shim-runc-v2/process/init_state.go",
        "A paused container could not be removed.";
    PAUSE = "task/pause", Must, Client,
        "Pause freezes every process of the task until Resume, and State says so.",
        "api/runtime/task/v3/shim.proto",
        "Snapshots of a container that goes on running are torn.";
    STATS = "task/stats", Must, Client,
        "Stats answers with the metrics of the container's cgroup, for v1 or v2.",
        "api/runtime/task/v3/shim.proto; core/metrics/cgroups",
        "Without them nobody sees what a container uses, and Kubernetes evicts blindly.";
    UPDATE = "task/update", Must, Client,
        "Update changes the limits of the container's cgroup.",
        "api/runtime/task/v3/shim.proto",
        "A client would believe in a limit that does not hold.";
    RESIZE = "task/resize", Must, Client,
        "ResizePty gives the terminal of a process this size.",
        "api/runtime/task/v3/shim.proto",
        "Full-screen programs draw for the size that they see.";
    CLOSE_STDIN = "task/close-stdin", Must, Client,
        "CloseIO ends the standard input of a process, after everything written before.",
        "api/runtime/task/v3/shim.proto; client/task.go",
        "A program that reads to the end of its input would never end.";
    CHECKPOINT = "task/checkpoint", Must, Proto,
        "Checkpoint succeeds or is refused, and the task runs on.",
        "docs/runtime-v2.md; api/runtime/task/v3/shim.proto",
        "Not every runtime can do it, and a client must learn so without losing the container.";
    UNKNOWN_ID = "task/unknown-id", Must, Client,
        "State, Pids, Kill and Delete of an unknown container are refused with NOT_FOUND.",
        "core/runtime/v2/shim.go; core/runtime/v2/shim_load.go",
        "containerd decides by that code whether a task is gone.";
    UNKNOWN_ID_EVERYWHERE = "task/unknown-id-everywhere", Should, Defacto,
        "Every call about an unknown container is refused with NOT_FOUND, but Connect and Shutdown.",
        "cmd/containerd-shim-runc-v2/task/service.go",
        "Clients tell a container that is gone from one that is broken.";
    ILLEGAL_CALL = "task/illegal-call", Must, Client,
        "A call that the task's state does not permit is refused and changes nothing.",
        "cmd/containerd-shim-runc-v2/process/init_state.go",
        "A retried or late call would otherwise destroy a container that works.";
    ILLEGAL_CODE = "task/illegal-code", May, Proto,
        "A call that the task's state does not permit is refused with FAILED_PRECONDITION.",
        "docs/runtime-v2.md; github.com/containerd/errdefs",
        "Clients could tell a wrong moment from a broken shim.";
    SECOND_CREATE = "task/second-create", Must, Client,
        "A second Create of a container is refused, and the container lives on.",
        "cmd/containerd-shim-runc-v2/runc/container.go",
        "A retried Create would otherwise end the container that it made.";
    SENSELESS_REQUEST = "task/senseless-request", Must, Hygiene,
        "A request that makes no sense is refused or ignored; the shim and its containers live on.",
        "cmd/containerd-shim-runc-v2/task/service.go",
        "One client's mistake would orphan every container of a pod.";
    ROOTFS = "task/rootfs", Must, Spec,
        "Create mounts what the request lists on the bundle's root, in this order; with an empty list the directory is used as it is.",
        "docs/runtime-v2.md, mounts; cmd/containerd-shim-runc-v2/runc/container.go, NewContainer",
        "Layers in another order are another image, and clients that mount themselves list nothing.";
    FAILURE_SAYS_WHY = "task/failure-says-why", Should, Client,
        "A refusal carries a text.",
        "core/runtime/v2/shim.go; github.com/containerd/errdefs",
        "It is all that a user sees of the cause.";
    WITHOUT_OPTIONS = "task/without-options", Must, Spec,
        "Create without options uses the shim's own defaults.",
        "docs/runtime-v2.md; cmd/containerd-shim-runc-v2/runc/container.go, NewContainer",
        "Clients that name no options are the common case.";
    AFTER_FAILED_CREATE = "task/after-failed-create", Must, Client,
        "After a Create that failed, Delete and Shutdown take the shim down.",
        "core/runtime/v2/task_manager.go and shim_manager.go, cleanupShimTask",
        "containerd does so at once; a shim that stays is nobody's.";
    STATE_IN_TIME = "task/state-in-time", Must, Client,
        "State is answered within 2 s, whatever the container and its streams do.",
        "core/runtime/v2/shim.go, State (io.containerd.timeout.task.state)",
        "After 2 s containerd shows the task as unknown.";
    WAIT_BLOCKS_NOBODY = "task/wait-blocks-nobody", Must, Client,
        "Calls that wait keep no other call waiting, on the same connection or another.",
        "core/runtime/v2/shim.go: one connection for each task carries all of its calls",
        "Every attached client holds a Wait for as long as the container runs.";
    KILL_NOTHING = "task/kill-nothing", May, Defacto,
        "Kill with signal 0 succeeds while the process lives and delivers nothing.",
        "kill(2); cmd/containerd-shim-runc-v2/process/init.go",
        "Clients ask so whether a process is there.";
    KILL_ALL_ENDED = "task/kill-all-ended", Should, Defacto,
        "Kill with all of a task that has ended succeeds or is NOT_FOUND.",
        "cmd/containerd-shim-runc-v2/process/init_state.go, stoppedState; client/task_opts.go",
        "Clients sweep up after init with it.";
    PIDS_DETAILS = "task/pids-details", May, Defacto,
        "Pids says which process is which exec.",
        "cmd/containerd-shim-runc-v2/task/service.go, Pids; api/types/runc/options/oci.proto, ProcessDetails",
        "ctr task ps and monitoring show it.";
    PIDS_OF_LIVING = "task/pids-of-living", Must, Client,
        "Pids of a task that is created, running or paused never fails and is never empty.",
        "core/runtime/v2/shim_load.go, shouldCleanupShim",
        "A containerd that starts again removes the shim of a task without processes." { since: V1_7 };
    CHECKPOINT_IMAGE = "task/checkpoint-image", May, Proto,
        "A Checkpoint that succeeds writes an image, and ends the task if that is asked for.",
        "api/runtime/task/v3/shim.proto, CheckpointTaskRequest; cmd/containerd-shim-runc-v2/process/init.go",
        "A container could not be moved." {
            untestable: "needs CRIU and a kernel for it, which no host of the suite has"
        };
    RESTORE = "task/restore", May, Proto,
        "Create with a checkpoint restores the task at Start.",
        "api/runtime/task/v3/shim.proto, CreateTaskRequest.checkpoint; cmd/containerd-shim-runc-v2/process/init.go",
        "A container could not be moved." {
            untestable: "needs an image made by CRIU, which no host of the suite has"
        };
    DELETE_TELLS = "task/delete-tells", Must, Client,
        "Delete answers with init's pid and its true exit.",
        "api/runtime/task/v3/shim.proto, DeleteResponse; core/runtime/v2/shim.go, delete",
        "containerd hands both to the client as the result of the task.";
    ANY_ID = "task/any-id", Must, Client,
        "Ids that are empty, very long or odd are served or refused, and the shim lives on.",
        "pkg/identifiers/validate.go; cmd/containerd-shim-runc-v2/task/service.go",
        "The API may be called by others than containerd, which alone checks ids.";
    IMPLEMENTED = "task/implemented", Should, Spec,
        "Every call of the service that containerd's clients make is implemented.",
        "docs/runtime-v2.md; api/runtime/task/v3/shim.proto",
        "ctr and CRI offer the operation, and it fails for this runtime alone.";
    LOOKS = "task/looks-change-nothing", Must, Client,
        "State, Pids, Stats and Connect change nothing, whatever the state.",
        "api/runtime/task/v3/shim.proto; core/runtime/v2/shim_load.go",
        "Monitoring makes them every few seconds.";
}
