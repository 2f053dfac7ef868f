//! Who may reach what.

clauses! {
    SOCKET = "security/socket", Must, Client,
        "Only its owner can reach the shim's socket: it, or its directory, is closed to group and others.",
        "pkg/shim/util_unix.go, NewSocket",
        "Who can talk to a shim can run anything in its containers, and with its mounts on the host.";
    NO_ABSTRACT = "security/no-abstract-sockets", Must, Client,
        "A shim serves at no abstract address.",
        "CVE-2020-15257; pkg/shim/util_unix.go",
        "Every process of the network namespace, a container with the host's network too, reaches an abstract socket.";
    DESCRIPTORS = "security/descriptors", Must, Client,
        "A process in a container has its three streams and no other descriptor.",
        "runc(8); cmd/containerd-shim-runc-v2/process/io.go",
        "A descriptor of the host inside a container is a way out of it.";
    ENVIRONMENT = "security/environment", Must, Client,
        "A process in a container has the environment of its spec, and nothing of containerd's or the shim's.",
        "opencontainers/runtime-spec, config.md, process",
        "The environment of daemons carries credentials of proxies and registries.";
}
