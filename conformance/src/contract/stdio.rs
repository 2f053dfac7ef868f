//! Standard streams.

clauses! {
    SEPARATE = "stdio/separate", Must, Client,
        "Standard output and standard error arrive whole, each at its own FIFO, and end at the latest with Delete.",
        "docs/runtime-v2.md, I/O; cmd/containerd-shim-runc-v2/process/io.go",
        "Clients read to the end; a stream that does not end hangs them.";
    COMPLETE = "stdio/complete", Must, Client,
        "What a program wrote before its end is delivered, though Delete follows at once.",
        "cmd/containerd-shim-runc-v2/process/init.go, delete",
        "The last lines of a job are those that say why it failed.";
    CLOSE_IO = "stdio/close-io", Must, Client,
        "CloseIO ends standard input once everything before it was delivered; repeated or late it does no harm.",
        "api/runtime/task/v3/shim.proto, CloseIORequest; client/task.go",
        "Without it every program that reads to the end of its input runs for ever.";
    DETACH = "stdio/detach", Must, Client,
        "A client that closes its end of standard input does not end it: another one may attach.",
        "cmd/containerd-shim-runc-v2/process/io.go, which holds the other end open",
        "To detach from a shell would end it.";
    READER_RETURNS = "stdio/reader-returns", Must, Client,
        "When a reader leaves, the program is not killed, and what it writes up to the capacity of a pipe is there for the next reader.",
        "cmd/containerd-shim-runc-v2/process/io.go, which holds the other end open",
        "Every restart of a log collector would kill the containers that write.";
    BACK_PRESSURE = "stdio/back-pressure", Must, Client,
        "When nobody reads, the program that writes waits, and the shim does not.",
        "cmd/containerd-shim-runc-v2/process/io.go",
        "A stuck log collector would make containers impossible to stop.";
    TERMINAL = "stdio/terminal", Must, Client,
        "With a terminal, input and output go through it, and standard error has no path of its own.",
        "cmd/containerd-shim-runc-v2/process/init.go; client: cio.NewFIFOSetInDir",
        "kubectl exec -it needs it.";
    REFUSED = "stdio/refused", Must, Client,
        "Streams that cannot be opened make Create fail, and no task is left.",
        "cmd/containerd-shim-runc-v2/process/io.go",
        "A container without its streams would run with nobody hearing it.";
    FILE = "stdio/file", Must, Spec,
        "file:// appends both streams to the file.",
        "docs/runtime-v2.md, I/O",
        "nerdctl and others log that way.";
    NULL = "stdio/null", Should, Client,
        "A stream without a path is /dev/null; Create with any of them left out succeeds or is refused, and the shim lives.",
        "cmd/containerd-shim-runc-v2/process/io.go",
        "Clients leave out what they do not want.";
}
