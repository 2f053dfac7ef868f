//! containerd comes and goes, the shim comes and goes.

clauses! {
    REATTACH = "life/reattach", Must, Client,
        "A containerd that starts again finds the shim by what lies in the bundle, with the same task in it.",
        "core/runtime/v2/shim_load.go",
        "Otherwise a restart of containerd kills or forgets every container of the node.";
    NO_LEAK = "life/no-leak", Must, Hygiene,
        "When a life has ended, no process, mount, cgroup, socket or file of it is left.",
        "docs/runtime-v2.md, delete",
        "A node collects the remains until it runs out of something.";
}
