//! The `delete` action.

clauses! {
    ANSWERS = "delete/answers", Must, Client,
        "delete exits with 0 and prints one DeleteResponse, after a normal life too.",
        "docs/runtime-v2.md, delete; core/runtime/v2/binary.go",
        "containerd runs it after every task; a failure is announced as status 255, and empty output as a clean exit.";
    CLEANS_UP = "delete/cleans-up", Must, Spec,
        "After the shim's death delete ends every process of the container, removes its runtime state and unmounts its root, within 5 s.",
        "docs/runtime-v2.md, delete; core/runtime/v2/shim.go",
        "containerd kills it after 5 s and removes the bundle; what is left then is nobody's.";
    EXIT = "delete/exit", Must, Client,
        "The exit of a container that delete had to end is not 0, and its time is now.",
        "core/runtime/v2/binary.go; core/runtime/v2/shim.go",
        "containerd announces it as the exit of the container.";
    TRUE_EXIT = "delete/true-exit", May, Client,
        "When the exit was known before the shim died, delete tells that one.",
        "core/runtime/v2/shim.go",
        "A container that ended well would be shown as killed.";
    AGAIN = "delete/again", Must, Client,
        "delete may be executed again, and by two at once; none fails for the other's sake.",
        "core/runtime/v2/shim_load.go",
        "A restart of containerd does so when a socket accepts and then closes.";
    NEVER_CREATED = "delete/never-created", May, Client,
        "delete succeeds when no container was created.",
        "core/runtime/v2/shim_manager.go",
        "containerd would announce a failure of a container that never was.";
    SPARES_OTHERS = "delete/spares-others", Must, Client,
        "delete of one container touches neither the shim nor the other containers of its group.",
        "core/runtime/v2/shim.go; cmd/containerd-shim-runc-v2/manager/manager_linux.go",
        "It is executed whenever one container of a pod goes.";
    FLAGS = "delete/flags", Must, Spec,
        "delete takes the flags of start and -bundle, and is executed in the bundle.",
        "docs/runtime-v2.md, delete; core/runtime/v2/binary.go",
        "A delete that refuses its flags is announced as a failure of the container.";
    IN_TIME = "delete/in-time", Must, Client,
        "delete ends within 5 s, however much there is to end.",
        "core/runtime/v2/shim.go, cleanupTimeout (io.containerd.timeout.shim.cleanup)",
        "containerd kills it then, and announces status 255 for a container that may run on.";
    UNMOUNTS = "delete/unmounts", Must, Spec,
        "delete unmounts the bundle's root and everything mounted below it.",
        "docs/runtime-v2.md, delete; core/runtime/v2/bundle.go, Delete",
        "containerd removes the directory next, and fails while it is a mount.";
    HALF_A_BUNDLE = "delete/half-a-bundle", Must, Client,
        "delete of a bundle that was never finished ends in time and leaves nothing.",
        "core/runtime/v2/shim_load.go: whatever cannot be loaded is deleted",
        "A containerd that dies while it writes a bundle would wait for it at each start.";
    KEEPS_BUNDLE = "delete/keeps-bundle", Should, Client,
        "delete leaves the bundle's directory to containerd.",
        "core/runtime/v2/bundle.go, atomicDelete",
        "containerd renames and removes it itself; another may have been made in its place by then.";
    ALONE = "delete/alone", Must, Client,
        "delete needs neither the shim nor containerd nor an events service.",
        "docs/runtime-v2.md, delete; core/runtime/v2/shim.go, cleanupAfterDeadShim",
        "It is executed when one of them is dead.";
    SILENT = "delete/silent", Should, Client,
        "delete publishes no event.",
        "core/runtime/v2/shim.go, cleanupAfterDeadShim: containerd publishes for it",
        "The container's end would be announced twice.";
    PID = "delete/pid", May, Client,
        "delete tells the pid that init had.",
        "core/runtime/v2/binary.go, Delete; api/runtime/task/v3/shim.proto, DeleteResponse",
        "Consumers find the process that ended by it.";
    OTHER_VERSION = "delete/other-version", Should, Client,
        "delete cleans up after a shim of another version.",
        "core/runtime/v2/shim_load.go: the path is kept, the file behind it is upgraded",
        "After an upgrade no container of before could be removed." {
            untestable: "a run is about one binary; two versions of a shim are two"
        };
    REAPS = "delete/reaps", Must, Hygiene,
        "delete leaves no process behind, its own included.",
        "cmd/containerd-shim-runc-v2/manager/manager_linux.go, Stop",
        "Each removed container would cost a process.";
}
