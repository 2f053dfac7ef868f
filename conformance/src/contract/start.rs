//! How a shim comes to life: `start`, `-v`, `-info`.

clauses! {
    START_ANSWERS = "start/answers", Must, Spec,
        "start prints where the shim serves, and nothing else, and exits with 0.",
        "docs/runtime-v2.md, start; core/runtime/v2/binary.go",
        "containerd parses everything that start prints; anything else makes the container fail to start.";
    START_DAEMON = "start/daemon", Must, Client,
        "The shim that serves is another process than start, and outlives it.",
        "docs/runtime-v2.md, start; pkg/shim/shim.go",
        "containerd waits for the end of start and of its output.";
    OWN_GROUP = "start/own-group", Should, Defacto,
        "The shim leaves the process group of start.",
        "pkg/shim/util_unix.go",
        "A signal to that group, as from a terminal or a supervisor, ends the shim and orphans its containers.";
    SERVES_AT_ONCE = "start/serves-at-once", Must, Client,
        "When start has ended, its address takes connections.",
        "core/runtime/v2/binary.go; core/runtime/v2/shim.go",
        "containerd dials once, without a second try.";
    WITHOUT_OPTIONS = "start/without-options", Must, Spec,
        "Runtime options may be absent.",
        "docs/runtime-v2.md, start",
        "containerd sends none when neither its configuration nor the client names any.";
    ANY_INPUT = "start/any-input", Must, Hygiene,
        "Whatever start finds on its standard input, it ends, and it leaves nothing when it fails.",
        "pkg/shim/shim.go",
        "Each generation of containerd writes something else there, and a hung start hangs a client.";
    ANY_ID = "start/any-id", Must, Client,
        "Every id that containerd permits works, up to 76 characters.",
        "pkg/identifiers/validate.go",
        "Names made from an id may get too long for sockets and files, and generated ids are long.";
    FAILS_CLEANLY = "start/fails-cleanly", Must, Client,
        "A start that fails exits with another code than 0 and leaves no process and no socket.",
        "docs/runtime-v2.md, start; core/runtime/v2/binary.go",
        "containerd forgets the container, so nobody would ever end a shim that stays.";
    SAME_SHIM = "start/same-shim", Should, Defacto,
        "A second start for what a living shim serves answers with the address of that shim and begins no other.",
        "docs/runtime-v2.md, start; cmd/containerd-shim-runc-v2/manager/manager_linux.go",
        "Two shims would own one container.";
    STALE_SOCKET = "start/stale-socket", Must, Client,
        "The socket of a dead shim does not keep the next one from starting.",
        "cmd/containerd-shim-runc-v2/manager/manager_linux.go",
        "After a crash the container's id could not be used until somebody removes the file by hand.";
    GROUP = "start/group", Should, Defacto,
        "Containers of one group are served by one shim, as long as any of them is there.",
        "docs/runtime-v2.md, start; cmd/containerd-shim-runc-v2/manager/manager_linux.go",
        "Kubernetes pods are made so: a shim for each container costs memory and splits the pod.";
    VERSION = "start/version", Should, Spec,
        "With -v the shim prints its version and exits with 0, whatever the directory.",
        "docs/runtime-v2.md, version information",
        "It is how an operator finds out which shim is installed.";
    INFO = "start/info", Should, Spec,
        "With -info the shim prints one RuntimeInfo message that has a name, and exits with 0.",
        "docs/runtime-v2.md, runtime information; api/types/introspection.proto",
        "containerd asks for it before it uses a runtime, and shows it to clients." { since: V2_0 };
}
