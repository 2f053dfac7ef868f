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
    UNUSABLE = "start/unusable-answer", Should, Hygiene,
        "A shim whose answer containerd could not use, so that nobody connects and its bundle is removed, goes by itself.",
        "core/runtime/v2/binary.go, Start; core/runtime/v2/task_manager.go, Create: only the bundle is removed",
        "containerd does not know that shim and no file names it: it stays until the node is restarted.";
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
    FLAGS = "start/flags", Must, Spec,
        "start takes -namespace, -address, -publish-binary and -id, each with one dash and before the word start.",
        "docs/runtime-v2.md, start; pkg/shim/util.go, Command",
        "containerd knows no other way to say which container it means.";
    DEBUG = "start/debug", Must, Client,
        "start takes -debug, and serves with it as it does without.",
        "pkg/shim/util.go, Command",
        "An operator who raises the log level of containerd would be unable to start containers.";
    IN_BUNDLE = "start/in-bundle", Must, Spec,
        "start finds the bundle in its working directory, by relative paths.",
        "docs/runtime-v2.md, start; core/runtime/v2/binary.go",
        "No flag of start names the bundle.";
    ENVIRONMENT = "start/environment", Must, Spec,
        "start works in the environment that containerd makes, which may lack all that this release does not set.",
        "docs/runtime-v2.md, start; pkg/shim/util.go, Command",
        "Releases before 1.7 say less; a shim that asks for more cannot be started by them.";
    MAX_VERSION = "start/max-version", Should, Client,
        "MAX_SHIM_VERSION=2 does not stop a shim from serving version 3.",
        "pkg/shim/util.go, Command: the value is always 2",
        "Every release sets it to 2, those of version 3 too, so a shim that obeys never serves the newer API." {
            since: V1_7, untestable: "a shim that answers with version 2 does so for whatever reason, and is right to"
        };
    SCHED_CORE = "start/sched-core", May, Defacto,
        "With SCHED_CORE=1 the shim and its containers get a core scheduling cookie of their own.",
        "docs/runtime-v2.md, start; pkg/shim/util_linux.go",
        "Hyper-threads of one core would be shared between containers that must not see each other's timing." {
            untestable: "needs a kernel with core scheduling on a processor with more than one thread a core"
        };
    WITHOUT_EVENTS_ADDRESS = "start/without-events-address", Should, Defacto,
        "start does not fail when the environment names no events service.",
        "cmd/containerd-shim-runc-v2; pkg/shim/shim.go",
        "Tools that start shims by hand, and tests of them, name none.";
    LEGACY_OPTIONS = "start/legacy-options", Must, Spec,
        "start takes the runtime options as an Any on its standard input, and takes an empty one for none.",
        "docs/runtime-v2.md, start; core/runtime/v2/shim_manager.go",
        "The runtime that an operator chose would not be used." { until: V2_2 };
    BOOTSTRAP_PARAMS = "start/bootstrap-params", Must, Spec,
        "start takes BootstrapParams on its standard input, options in an extension.",
        "docs/runtime-v2.md, start; api/runtime/bootstrap/v1/bootstrap.proto",
        "It is all that this release writes; a shim that takes it for something else starts with the wrong settings." { since: V2_3, era: Protobuf };
    READS_TO_END = "start/reads-to-end", Must, Client,
        "start reads its standard input to the end, and does not wait for more than the end.",
        "pkg/shim/shim.go; pkg/shim/util.go, Command",
        "A start that waits for input hangs the client that asked for the container.";
    ANSWER_FORM = "start/answer-form", Must, Spec,
        "The answer has a form that this containerd reads: an address, JSON, or BootstrapResult.",
        "docs/runtime-v2.md, start; core/runtime/v2/shim.go, parseStartResponse",
        "An older containerd takes a newer answer for an address, and a newer one refuses a version that it does not know.";
    JSON_VERSION = "start/json-version", Must, Client,
        "An answer in JSON carries version 2 or 3 and the protocol.",
        "core/runtime/v2/shim.go, parseStartResponse",
        "Without a version the whole text is taken for an address." { since: V1_7, era: Json };
    LETS_GO = "start/lets-go", Must, Client,
        "The shim that serves holds neither standard output nor standard error of start.",
        "core/runtime/v2/binary.go: os/exec waits for the end of both",
        "containerd waits for the end of the output: start would never end for it.";
    ADDRESS = "start/address", Must, Client,
        "The address is unix:// with an absolute path.",
        "pkg/shim/util_unix.go, AnonDialer",
        "An address without a scheme is dialled as an abstract socket, which nobody serves.";
    GRPC_ADDRESS = "start/grpc-address", Must, Client,
        "A shim that speaks gRPC answers with a bare path.",
        "core/runtime/v2/shim.go, grpcDialContext",
        "containerd hands the address to net.Dial as it is." {
            since: V1_7, untestable: "the suite speaks ttrpc alone, as every shim that is known to it does"
        };
    TASK_SERVICE = "start/task-service", Must, Spec,
        "A shim that answers with version 2 serves containerd.task.v2.Task, one that answers with 3 containerd.task.v3.Task.",
        "docs/runtime-v2.md; core/runtime/v2/bridge.go, NewTaskClient",
        "The first Create would be UNIMPLEMENTED.";
    FAILURE_SAYS_WHY = "start/failure-says-why", Should, Spec,
        "A start that fails says why on its output.",
        "docs/runtime-v2.md, start; core/runtime/v2/binary.go, shimCallError",
        "containerd shows the text to the user and has nothing else.";
    INTERRUPTED = "start/interrupted", Must, Client,
        "A start that was killed half way does not keep the same id from being started.",
        "core/runtime/v2/binary.go: the context of the client ends it",
        "A client that gives up once could never use that name again.";
    SOCKET_NAME = "start/socket-name", Should, Defacto,
        "The socket's path depends on containerd's address, the namespace and the container or group, not on the bundle's place.",
        "pkg/shim/util_unix.go, SocketAddress",
        "Bundles lie deep, and the path of a socket may have 107 bytes.";
    SOCKET_LENGTH = "start/socket-length", Must, Client,
        "The socket's path has at most 107 bytes, however long id and namespace are.",
        "sys/un.h, sockaddr_un; pkg/shim/util_unix.go",
        "Nobody can connect to a longer one.";
    SOCKET_DIRECTORY = "start/socket-directory", Should, Spec,
        "The socket lies in the directory that the parameters name.",
        "api/runtime/bootstrap/v1/bootstrap.proto, socket_dir; core/runtime/v2/shim_unix.go",
        "Two containerds with state directories of their own would share sockets, and rootless ones may not write elsewhere." { since: V2_3, era: Protobuf };
    DETACHED = "start/detached", Should, Defacto,
        "The shim's standard input and output are /dev/null, and its standard error is the log.",
        "cmd/containerd-shim-runc-v2/manager/manager_linux.go, newCommand",
        "What it holds of its starter keeps that one's terminal or pipes open.";
    BUNDLE_FILES = "start/bundle-files", Must, Client,
        "The shim needs no more in a bundle than config.json, rootfs, work and log, and makes none of the files that containerd makes.",
        "core/runtime/v2/bundle.go; core/runtime/v2/shim_manager.go",
        "containerd writes shim-binary-path and bootstrap.json after start; a file of that name is replaced or misread.";
    ADDRESS_FILE = "start/address-file", Must, Client,
        "The shim writes the address that it answers with into the file address of each bundle, without a line end.",
        "runtime/v2/shim.go, loadShim (1.7); pkg/shim/util.go, ReadAddress",
        "A containerd of this release reads nothing else when it comes back, and forgets every container." { until: V1_7 };
    FLAGS_DECIDE = "start/flags-decide", Must, Client,
        "Id and namespace are those of the flags, whatever is on standard input.",
        "docs/runtime-v2.md, start; pkg/shim/compat.go",
        "A shim that takes options for parameters serves all containers of a namespace as one.";
    GROUP_KEY = "start/group-key", Should, Defacto,
        "The annotation io.containerd.runc.v2.group names the group before io.kubernetes.cri.sandbox-id does.",
        "cmd/containerd-shim-runc-v2/manager/manager_linux.go, groupLabels",
        "Containers of a pod that are to have shims of their own would share one, or the reverse.";
    SHIM_CGROUP = "start/shim-cgroup", May, Defacto,
        "With the option shim_cgroup the shim runs in that cgroup.",
        "api/types/runc/options/oci.proto, shim_cgroup; cmd/containerd-shim-runc-v2/manager/manager_linux.go",
        "What shims use is charged to whoever containerd is charged to.";
    INFO_WITHOUT_OPTIONS = "start/info-without-options", Should, Client,
        "-info works without options on its standard input, in a directory that is no bundle.",
        "core/runtime/v2/shim_manager.go, loadShimInfo",
        "containerd asks before any container exists." { since: V2_0 };
    INFO_UNWRAPPED = "start/info-unwrapped", Must, Client,
        "What -info prints is the RuntimeInfo message itself.",
        "core/runtime/v2/shim_manager.go, loadShimInfo; api/types/introspection.proto",
        "Wrapped in an Any its name is read as a type's name, and its features are lost." { since: V2_0 };
    INFO_FEATURES = "start/info-features", May, Defacto,
        "-info carries the features of the OCI runtime, when that one tells any.",
        "cmd/containerd-shim-runc-v2/manager/manager_linux.go; core/runtime/v2/task_manager.go, validateRuntimeFeatures",
        "containerd refuses mounts with mapped ids to a runtime that does not claim them." { since: V2_0 };
    ASKED_LEAVES_NOTHING = "start/asked-leaves-nothing", Must, Hygiene,
        "-v and -info leave no process, socket or file.",
        "docs/runtime-v2.md, version information",
        "Monitoring asks every minute.";
}
