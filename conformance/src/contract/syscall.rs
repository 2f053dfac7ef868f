//! The system calls of the shim fail, or are its last.

clauses! {
    START_REFUSED = "syscall/start-refused", Must, Client,
        "A start for which the kernel has no thread, no process, no descriptor, no memory or no space ends soon: either a shim serves, or it exits with another code than 0 and leaves no process and no socket.",
        "docs/runtime-v2.md, start; core/runtime/v2/binary.go",
        "containerd waits for the end of start without any limit, and whoever asked it waits too.";
    CALL_REFUSED = "syscall/call-refused", Must, Client,
        "When the kernel refuses what a call needs, the call is refused, nothing of it is left, and the shim serves on.",
        "core/runtime/v2/shim.go; docs/runtime-v2.md",
        "A full disk or a used up limit is temporary; a shim that does not come back from it takes its containers along.";
    CRASH_ANYWHERE = "syscall/crash-anywhere", Must, Spec,
        "Wherever in a call the shim is killed, delete leaves nothing of the container.",
        "docs/runtime-v2.md, delete; core/runtime/v2/shim.go, cleanupAfterDeadShim",
        "The kernel's out-of-memory killer does not choose its moment.";
}
