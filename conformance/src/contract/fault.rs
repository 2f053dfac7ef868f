//! Something happens to the surroundings of a shim and is over again. What it may neglect meanwhile, the fault says
//! (`conformance explain FAULT`); what it owes all the same, and behind it, stands here.

clauses! {
    SHIM_LOST = "fault/shim-lost", Must, Spec,
        "When the shim dies its containers run on until delete ends them; then nothing of any of them is left, and the exit that delete tells is true.",
        "docs/runtime-v2.md, delete; core/runtime/v2/shim.go, cleanupAfterDeadShim",
        "containerd announces that exit, and gives the id and the bundle to the next container.";
    STRUCK = "fault/struck-process", Must, Client,
        "What strikes one process from outside is told as what became of that process, and harms nothing else of the same shim.",
        "pkg/sys/reaper; docs/runtime-v2.md, grouping",
        "The out-of-memory killer, a debugger or an operator would take the whole pod with one process.";
    CONTAINERD_LOST = "fault/containerd-lost", Must, Client,
        "When containerd has died or stood still, the shim tells the next caller what came to pass meanwhile, and serves on.",
        "core/runtime/v2/shim_load.go; pkg/shim/publisher.go",
        "Upgrades of containerd would lose exits, or whole containers.";
    CONNECTION = "fault/connection", Must, Hygiene,
        "A connection that is slow, cut or garbled costs at most the call on it: the shim and its other callers go on, and the call was carried out or was not.",
        "github.com/containerd/ttrpc: PROTOCOL.md; core/runtime/v2/shim.go (one connection for each container)",
        "A containerd that dies in the middle of a message would take every container of the pod with it.";
    EVENTS = "fault/events", Must, Client,
        "While events cannot be delivered calls are answered, and when they can be again, those that are owed arrive.",
        "pkg/shim/publisher.go, which tries for about fifteen seconds",
        "CRI learns of exits from events alone; calls that wait for them stop everything.";
    RUNTIME = "fault/runtime", Must, Client,
        "When the runtime is late, fails or dies, its call says so truthfully, the task can be ended and deleted, and other containers go on.",
        "cmd/containerd-shim-runc-v2/task/service.go; cmd/containerd-shim-runc-v2/process/init.go",
        "One failed execution would leave a task that nobody can remove.";
    DEPRIVED = "fault/deprived", Must, Hygiene,
        "When the kernel or the disk refuses what a call needs, the call is refused and leaves nothing, other calls are answered, and with what is needed back the shim serves on.",
        "cmd/containerd-shim-runc-v2/process/init.go (a failed create is cleaned up); docs/runtime-v2.md, the shim serves until Shutdown",
        "A full disk or a limit that is met for a moment would cost a pod that runs.";
}
