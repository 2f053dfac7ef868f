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
    PEER = "security/peer", May, Defacto,
        "A caller with another user or group than the shim's is turned away.",
        "github.com/containerd/ttrpc, UnixSocketRequireSameUser; pkg/shim/shim_linux.go",
        "A socket whose permissions were loosened would be open to all." {
            untestable: "the socket's own permissions turn such a caller away first"
        };
    LISTENER = "security/listener", Should, Hygiene,
        "The runtime that the shim executes does not inherit the socket that the shim serves on.",
        "pkg/shim/util_unix.go; pkg/shim/shim.go: known to leak up to 2.2",
        "A runtime that lives on keeps the address taken, and what it starts could answer for the shim.";
    LOGGER_SECRETS = "security/logger-secrets", Should, Spec,
        "A logger's environment holds nothing of containerd's or the shim's.",
        "docs/runtime-v2.md, I/O; pkg/process/io_util/binary.go",
        "It is a program of the client's, and the environment of daemons carries credentials.";
    OOM_SCORE = "security/oom-score", Should, Defacto,
        "The kernel prefers to end the shim over containerd: its oom_score_adj is that of containerd and one more.",
        "pkg/shim/util_unix.go, AdjustOOMScore",
        "Short of memory the kernel would choose containerd, and with it the node.";
    CONTAINER_OOM_SCORE = "security/container-oom-score", Must, Client,
        "A container has the oom_score_adj of its spec.",
        "opencontainers/runtime-spec, config.md, oomScoreAdj; runc(8)",
        "Kubernetes orders its pods by it for the kernel's choice.";
    MOUNT_ESCAPE = "security/mount-escape", Must, Hygiene,
        "A mount of the root file system lands below the bundle's root, whatever symbolic links the image holds.",
        "core/mount/mount_linux.go, All",
        "An image could have the shim mount over directories of the host." { since: V1_7 };
}
