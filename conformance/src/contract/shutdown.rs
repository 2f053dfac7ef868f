//! When the shim goes, and when it must not.

clauses! {
    HELD = "shutdown/held", Must, Client,
        "While the shim holds a task, running or stopped, Shutdown is answered and changes nothing.",
        "docs/sandbox-api.md; cmd/containerd-shim-runc-v2/task/service.go",
        "containerd sends it after every task of a group: the others would be orphaned, or their exits lost.";
    STAYS = "shutdown/stays", Must, Client,
        "Neither init's exit, nor Delete, nor the end of containerd or of its connections ends the shim.",
        "core/runtime/v2/shim.go; cmd/containerd-shim-runc-v2/task/service.go",
        "Who waits for the exit would get none, or a made-up one from the delete action.";
    GOES = "shutdown/goes", Must, Client,
        "Shutdown of a shim without tasks ends it within 3 s, and its socket goes with it.",
        "core/runtime/v2/shim.go",
        "A node collects shims that nobody owns.";
    GOES_UNHEARD = "shutdown/goes-unheard", Must, Client,
        "Shutdown ends the shim within 20 s when its events cannot be delivered.",
        "pkg/shim/publisher.go",
        "A shim that waits for a containerd that is gone would wait for ever.";
    SIGPIPE = "shutdown/sigpipe", Must, Client,
        "SIGPIPE does not end the shim.",
        "pkg/shim/shim_unix.go",
        "Every restart of containerd closes the pipe into which the shim logs.";
    SIGTERM = "shutdown/sigterm", Must, Client,
        "After SIGTERM the shim serves on, or the delete action can clean up what it left.",
        "pkg/shim/shim_unix.go",
        "An operator, or the end of the system, signals it while containers run.";
    SIGNALS = "shutdown/signals", Must, Hygiene,
        "After SIGINT, SIGHUP, SIGQUIT, SIGUSR1 or SIGUSR2 the shim serves on, or the delete action can clean up what it left.",
        "pkg/shim/shim_unix.go; signal(7)",
        "Terminals, service managers and people send them, and nobody but delete comes after a shim.";
    AGAIN = "shutdown/again", Must, Client,
        "Shutdown may come several times, and after every task of a group.",
        "docs/sandbox-api.md; core/runtime/v2/shim.go, delete",
        "containerd sends it after each task without counting.";
    ARGUMENTS = "shutdown/arguments", May, Defacto,
        "The arguments id and now of Shutdown do not matter: what is held keeps the shim.",
        "cmd/containerd-shim-runc-v2/task/service.go, Shutdown; api/runtime/task/v3/shim.proto, ShutdownRequest",
        "A client that fills them in would orphan containers.";
    ANSWERED = "shutdown/answered", Should, Proto,
        "Shutdown is answered before the shim leaves.",
        "api/runtime/task/v3/shim.proto; core/runtime/v2/shim.go tolerates a closed connection",
        "The caller cannot tell a shim that obeys from one that crashed.";
}
