//! What the shim tells of itself.

clauses! {
    ABSENT = "log/absent", Should, Hygiene,
        "Without a FIFO for the log start serves all the same, or it fails and leaves nothing.",
        "pkg/shim/shim_unix.go, openLog",
        "Whoever starts a shim by hand is left with a process that serves nobody.";
    FIFO = "log/fifo", Must, Spec,
        "The shim writes its log into the FIFO log of the bundle.",
        "docs/runtime-v2.md, shim logging; core/runtime/v2/shim_unix.go, openShimLog",
        "Its complaints never get into the log of containerd, where people look for them.";
    READER_GONE = "log/reader-gone", Must, Client,
        "When nobody is left to read the log, the shim works on, and goes on logging when somebody is again.",
        "core/runtime/v2/shim_unix.go; pkg/shim/shim_unix.go",
        "Each restart of containerd takes the reader away.";
    PANIC = "log/panic", Should, Client,
        "A shim that crashes says so in its log.",
        "docs/runtime-v2.md, shim logging",
        "Nobody learns why the containers are gone." {
            untestable: "no shim can be made to crash on purpose; those that do are judged for it elsewhere"
        };
    DEBUG = "log/debug", May, Defacto,
        "-debug logs no less than its absence does.",
        "pkg/shim/shim.go, setLogger",
        "An operator who looks for a cause sees nothing more." {
            untestable: "a shim that has nothing to say is as right as one that has"
        };
}
