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
    CUT_SHORT = "life/cut-short", Must, Client,
        "When containerd dies in the middle of a call, the call has been carried out or it has not, and the next containerd can go on from there.",
        "core/runtime/v2/shim_load.go; docs/runtime-v2.md",
        "containerd is upgraded and killed while calls are under way; a life that gets stuck half way needs a person.";
    START_CUT_SHORT = "life/start-cut-short", Should, Hygiene,
        "When containerd dies before it has read the answer of start, delete takes away whatever start has made.",
        "core/runtime/v2/shim_load.go: a bundle without an address is deleted",
        "Nobody else knows of that shim: it stays until the node is restarted.";
    EXIT_REMEMBERED = "life/exit-remembered", Must, Client,
        "An exit while containerd is away is told by State, Wait and Delete to the next one.",
        "core/runtime/v2/shim_load.go; docs/runtime-v2.md",
        "Otherwise the end of a job during an upgrade of containerd is a job that failed.";
    EXIT_ANNOUNCED = "life/exit-announced", Must, Client,
        "The event of an exit while containerd is away arrives when containerd is back soon.",
        "pkg/shim/publisher.go, which tries for about fifteen seconds",
        "CRI learns of exits from events; without one it finds out minutes later.";
    STDIO_CONTINUES = "life/stdio-continues", Must, Client,
        "Standard streams flow while containerd is away.",
        "docs/runtime-v2.md, I/O",
        "A program that writes would stop with containerd.";
    EVENTS_AWAY = "life/events-away", Must, Client,
        "Calls are answered although nobody takes the events.",
        "pkg/shim/publisher.go",
        "A containerd that is busy would be waited for by the very shims that it asks.";
    CRASH = "life/crash", Must, Spec,
        "After the shim was killed, delete ends every process of the container, takes away its mounts and its runtime's state, and tells an exit other than 0.",
        "docs/runtime-v2.md, delete; core/runtime/v2/shim.go, cleanupAfterDeadShim",
        "containerd publishes that exit, and reuses the id and the bundle.";
    KILLED = "life/killed-from-outside", Must, Client,
        "A process that is killed from outside has ended by 128 plus the signal, and that is told at once.",
        "pkg/sys/reaper",
        "The kernel's out-of-memory killer works like that.";
    FROZEN = "life/frozen-shim", Must, Client,
        "A shim that was stopped and goes on answers the calls and tells the exits of the time between.",
        "signal(7); a debugger or a frozen cgroup does it",
        "Otherwise a short stop loses exits for good.";
    NEIGHBOURS = "life/neighbours", Must, Client,
        "What happens to one container of a shim leaves the others alone.",
        "docs/runtime-v2.md, grouping",
        "One container of a pod would take the whole pod down.";
    LOG_FULL = "life/log-full", Should, Hygiene,
        "Calls are answered although nobody reads the log.",
        "core/runtime/v2/shim_unix.go, openShimLog",
        "A containerd that is stuck takes every shim that logs with it.";
    ABANDONED_CALLS = "life/abandoned-calls", Must, Client,
        "A call whose connection ends harms no other call and no container.",
        "core/runtime/v2/shim.go; github.com/containerd/ttrpc",
        "Clients come and go, and containerd is restarted at any time.";
    LOADS_IN_TIME = "life/loads-in-time", Must, Client,
        "A shim that is busy answers the Connect and Pids of a new containerd within 5 s.",
        "core/runtime/v2/shim_load.go, loadTimeout (io.containerd.timeout.shim.load)",
        "containerd takes the shim for dead, executes delete, and leaves it running.";
    STOPPED_IS_TAKEN_DOWN = "life/stopped-is-taken-down", Must, Client,
        "A new containerd takes down the shim of a task that has ended, by Delete, Shutdown and delete.",
        "core/runtime/v2/shim_load.go, shouldCleanupShim",
        "Shims of ended jobs would stay after each restart." { since: V1_7 };
    NEVER_CREATED_IS_TAKEN_DOWN = "life/never-created-is-taken-down", Must, Client,
        "A new containerd takes down a shim that was started and got no Create: Delete is NOT_FOUND, Shutdown ends it.",
        "core/runtime/v2/shim_load.go, cleanupShim",
        "A containerd that dies between start and Create leaves such shims." { since: V1_7 };
    CONNECTIONS = "life/connections", Must, Client,
        "Twenty connections at once are served.",
        "core/runtime/v2/shim_manager.go: one for each task of a sandbox",
        "Tasks of a large pod could not be started.";
    RECONNECTS = "life/reconnects", Should, Hygiene,
        "Connections that come and go leave nothing in the shim.",
        "github.com/containerd/ttrpc, server",
        "Monitoring connects once a minute for months.";
    FILES_STAY = "life/files-stay", Must, Client,
        "What lies in the bundle for the next containerd stays as it is while the shim lives.",
        "core/runtime/v2/shim_load.go",
        "Each restart would depend on how the one before went.";
    UPGRADE = "life/upgrade", Must, Client,
        "A shim that one release of containerd started is served by a later one.",
        "core/runtime/v2/shim_load.go; docs/containerd-2.0.md",
        "Upgrading containerd would end every container of the node.";
    IDLE = "life/idle", Should, Hygiene,
        "A shim whose containers do nothing does nothing.",
        "docs/runtime-v2.md: one shim for each pod",
        "A node has hundreds, and each would keep a processor from sleeping.";
    FOREVER = "life/forever", May, Defacto,
        "A shim without containerd stays, with or without a container.",
        "cmd/containerd-shim-runc-v2/task/service.go: nothing but Shutdown ends it",
        "A containerd that is down for a night finds its containers." {
            untestable: "for ever is longer than any check; shutdown/stays has those that are as long as a restart"
        };
}
