//! Sandboxes: the Sandbox API, for shims that offer it. A member is a container in a sandbox.

clauses! {
    UNKNOWN_METHOD = "sandbox/unknown-method", Must, Client,
        "A service or a method that the shim does not have is refused with UNIMPLEMENTED.",
        "plugins/sandbox/controller.go, PortForward; core/runtime/v2/bridge.go",
        "containerd goes on without it by that code alone; any other is a sandbox that failed."
        { since: V1_7 };
    LIFE = "sandbox/life", Must, Proto,
        "A sandbox is created, started, stopped and shut down by calls that succeed in this order.",
        "api/runtime/sandbox/v1/sandbox.proto; docs/sandbox-api.md, flow",
        "The first call that fails ends the pod."
        { since: V1_7 };
    CREATE_ONCE = "sandbox/create-once", Should, Hygiene,
        "A second CreateSandbox is refused with ALREADY_EXISTS, and the sandbox lives on.",
        "core/runtime/v2/example/sandbox/example.go",
        "A retried call would otherwise replace a sandbox that has members."
        { since: V1_7 };
    OPTIONS = "sandbox/options", Must, Client,
        "CreateSandbox takes the configuration of a pod, or any other, as options, and annotations beside it.",
        "internal/cri/server/sandbox_run.go; plugins/sandbox/controller.go, Create",
        "Kubernetes always sends one; a shim that has no use for it need not read it, but must not fail."
        { since: V1_7 };
    START_FIRST = "sandbox/start-first", Should, Hygiene,
        "StartSandbox of a sandbox that was not created is refused with NOT_FOUND or FAILED_PRECONDITION.",
        "core/runtime/v2/example/sandbox/example.go",
        "A client would take a sandbox for ready that nobody described."
        { since: V1_7 };
    START_AGAIN = "sandbox/start-again", Should, Hygiene,
        "A second StartSandbox changes nothing, whether it is refused or not.",
        "core/runtime/v2/example/sandbox/example.go",
        "The namespaces that members have joined would no longer be those of the sandbox."
        { since: V1_7 };
    START = "sandbox/start", Must, Client,
        "StartSandbox names a process that lives and the time of creation, and SandboxStatus names the same.",
        "plugins/sandbox/controller.go, Start; internal/cri/server/container_create.go",
        "Members are given the namespaces of that process, and clients show the age of a pod."
        { since: V1_7 };
    PLATFORM = "sandbox/platform", Must, Client,
        "Platform names the operating system and the architecture, in Go's words.",
        "plugins/sandbox/controller.go, Platform",
        "containerd makes the configuration of members for it; for an empty one it makes none."
        { since: V1_7 };
    STATUS = "sandbox/status", Must, Client,
        "SandboxStatus says SANDBOX_READY while the sandbox runs, and anything else before and afterwards.",
        "internal/cri/server/sandbox_status.go, toCRISandboxStatus",
        "Kubernetes starts members in a pod that is ready, and replaces one that is not."
        { since: V1_7 };
    STATUS_ENDED = "sandbox/status-ended", Should, Client,
        "SandboxStatus of a sandbox that has ended tells when.",
        "plugins/sandbox/controller.go, Status",
        "A client that comes later has no other way to find out."
        { since: V1_7 };
    PING = "sandbox/ping", Must, Proto,
        "PingSandbox of a sandbox that runs is answered.",
        "api/runtime/sandbox/v1/sandbox.proto",
        "It is how a client finds out that a sandbox lives."
        { since: V1_7 };
    WAIT = "sandbox/wait", Must, Proto,
        "WaitSandbox answers when the sandbox has ended, to everybody who asks and however often, with one and the same exit.",
        "api/runtime/sandbox/v1/sandbox.proto; plugins/sandbox/controller.go, Wait",
        "CRI takes the answer for the end of the pod."
        { since: V1_7 };
    STOP = "sandbox/stop", Must, Client,
        "StopSandbox succeeds in every state and however often; NOT_FOUND and UNAVAILABLE are as good.",
        "plugins/sandbox/controller.go, Stop",
        "Kubernetes repeats it until it succeeds, and does not remove the pod before."
        { since: V1_7 };
    STOP_ENDS_MEMBERS = "sandbox/stop-ends-members", Must, Spec,
        "A sandbox ends last: after StopSandbox no member runs, and the exits of all are told as ever.",
        "docs/sandbox-api.md, background",
        "A member would go on in a pod that is reported as gone."
        { since: V1_7 };
    CLOSED = "sandbox/closed", Should, Hygiene,
        "After StopSandbox no member can be created.",
        "docs/sandbox-api.md, background",
        "A late client would start a container in a pod whose network is being taken down."
        { since: V1_7 };
    PROCESS_DIES = "sandbox/process-dies", Should, Client,
        "When the process of a sandbox dies, WaitSandbox answers, SandboxStatus says that it is not ready, and the members are left to their clients.",
        "internal/cri/server/events.go; plugins/sandbox/controller.go",
        "A pod whose namespaces are gone would be taken for a healthy one."
        { since: V1_7 };
    SHUTDOWN = "sandbox/shutdown", Must, Proto,
        "ShutdownSandbox is answered, ends the shim within 3 s whatever it holds, and its socket goes with it.",
        "api/runtime/sandbox/v1/sandbox.proto; plugins/sandbox/controller.go, Shutdown",
        "containerd takes a missing answer for a failure and keeps the bundle; a shim that stays is nobody's."
        { since: V1_7 };
    SHUTDOWN_UNCREATED = "sandbox/shutdown-uncreated", Must, Client,
        "ShutdownSandbox and delete take away a shim whose sandbox was never created.",
        "plugins/sandbox/controller.go, cleanupShim",
        "containerd does so when CreateSandbox fails, and then forgets the shim."
        { since: V2_0 };
    MEMBERS = "sandbox/members", Must, Spec,
        "Members live and die each for itself, in the words of the Task API.",
        "docs/sandbox-api.md; core/runtime/v2/shim_manager.go, Start",
        "One container of a pod would take the others with it, or the pod."
        { since: V1_7 };
    MEMBER_DELETED = "sandbox/member-deleted", Must, Client,
        "Delete of a member takes everything of it away, without any delete action.",
        "core/runtime/v2/shim_manager.go, Start: nothing is done when the connection of a member closes",
        "Each container that a pod restarts would leave something behind, for as long as the pod lives."
        { since: V2_0 };
    TASK_SHUTDOWN = "sandbox/task-shutdown", Must, Spec,
        "Shutdown of the Task service does not end a shim that holds a sandbox, members or not.",
        "docs/sandbox-api.md; core/runtime/v2/shim.go, delete",
        "containerd may send it after every member: a pod would end with its first container."
        { since: V1_7 };
    METRICS = "sandbox/metrics", May, Client,
        "SandboxMetrics answers with the metrics of this sandbox, or is refused with UNIMPLEMENTED.",
        "plugins/sandbox/controller.go, Metrics",
        "Nobody would see what the pod uses beside its containers."
        { since: V1_7 };
    REATTACH = "sandbox/reattach", Must, Client,
        "A containerd that starts again finds the sandbox and its members as they were, and can wait for it again.",
        "core/runtime/v2/shim_load.go; plugins/sandbox/controller.go",
        "An upgrade of containerd would restart every pod of the node."
        { since: V1_7 };
    CRASH = "sandbox/crash", Must, Client,
        "After the shim was killed, delete of the sandbox ends and takes away its members too.",
        "core/runtime/v2/shim_manager.go, Start: no delete is executed for a member",
        "Containers without a shim would run on, and nobody would ever find them."
        { since: V2_0 };
    UNKNOWN_ID = "sandbox/unknown-id", Should, Hygiene,
        "A call about a sandbox that the shim does not have is refused with NOT_FOUND and changes nothing.",
        "core/runtime/v2/example/sandbox/example.go",
        "A mistaken or late call would end a pod that it was not meant for."
        { since: V1_7 };
    WITHOUT_CONFIG = "sandbox/without-config", Should, Client,
        "The bundle of a sandbox may lack config.json.",
        "core/runtime/v2/bundle.go",
        "containerd writes none when the client of the sandbox gives no specification."
        { since: V2_3 };
}
