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
}
