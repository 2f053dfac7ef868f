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
    CLIENT_MAKES_FIFOS = "stdio/client-makes-fifos", Must, Client,
        "The shim opens the FIFOs that the client made, and makes none.",
        "cmd/containerd-shim-runc-v2/process/io.go, copyPipes; client: cio.NewFIFOSetInDir",
        "A file in the place of a missing FIFO fills the disk with output that nobody reads.";
    NO_WRITER = "stdio/no-writer", Must, Client,
        "A standard input that nobody writes to holds up nothing.",
        "cmd/containerd-shim-runc-v2/process/io.go, opens without blocking",
        "A detached container has nobody at its input.";
    NO_READER = "stdio/no-reader", Should, Client,
        "Create without a reader of its output succeeds or is refused within 35 s, and leaves nothing when refused.",
        "cmd/containerd-shim-runc-v2/process/init.go; core/runtime/v2/task_manager.go",
        "A client that died between two steps would leave a container that the next one cannot replace.";
    OWN_END = "stdio/own-end", Should, Defacto,
        "A stream that the program closes ends for its reader, while the other goes on.",
        "cmd/containerd-shim-runc-v2/process/io.go, copyPipes",
        "A consumer of one stream waits for the end of the other.";
    LEAKED_HOLDER = "stdio/leaked-holder", Should, Client,
        "Delete does not wait for more than 15 s for a process that kept a stream open.",
        "cmd/containerd-shim-runc-v2/process/init.go, delete; process/exec.go",
        "A daemon that a command left behind would make the command impossible to remove.";
    SLOW_READER = "stdio/slow-reader", Should, Client,
        "A reader that pauses for 4 s loses nothing, though Delete is called meanwhile.",
        "cmd/containerd-shim-runc-v2/process/init.go, delete; known: 2 s and no more in 1.6 and early 1.7",
        "The end of the output of a job is lost on a busy node.";
    LOGGER = "stdio/logger", Should, Spec,
        "binary:// gives both streams to a program, as descriptors 3 and 4, with the rest of the address as its arguments.",
        "docs/runtime-v2.md, I/O; pkg/process/io_util/binary.go",
        "Loggers of clients are such programs.";
    LOGGER_ENVIRONMENT = "stdio/logger-environment", Should, Spec,
        "The logger has CONTAINER_ID and CONTAINER_NAMESPACE in its environment.",
        "docs/runtime-v2.md, I/O",
        "It would not know whose output it gets.";
    LOGGER_READY = "stdio/logger-ready", Should, Spec,
        "Create waits until the logger closes descriptor 5.",
        "docs/runtime-v2.md, I/O; cmd/containerd-shim-runc-v2/process/io.go, NewBinaryIO",
        "The first lines would be written before anybody takes them.";
    LOGGER_DEAD = "stdio/logger-dead", Must, Hygiene,
        "A logger that has ended before it was ready fails Create or is none: the shim answers, and the container lives or is not there.",
        "docs/runtime-v2.md, I/O: binary-v2 was made because the older scheme cannot tell; cmd/containerd-shim-runc-v2/process/io.go",
        "A logging program that cannot start would cost the shim, and every container in it.";
    LOGGER_STOPS = "stdio/logger-stops", Should, Defacto,
        "The logger is ended when its process was deleted.",
        "cmd/containerd-shim-runc-v2/process/io.go, binaryIO.Close",
        "A node collects loggers of containers that are gone.";
    LOGGER_V2 = "stdio/logger-v2", May, Spec,
        "binary-v2:// takes a logger for ready when it has written a byte, and for broken when it closes without.",
        "docs/runtime-v2.md, I/O; cmd/containerd-shim-runc-v2/process/io.go",
        "A logger that crashed counts as ready under the older scheme." { since: V2_3 };
    RESIZE_WITHOUT_TERMINAL = "stdio/resize-without-terminal", Should, Defacto,
        "ResizePty of a process without a terminal, or of one that has ended, is harmless.",
        "cmd/containerd-shim-runc-v2/process/init.go, Resize",
        "Clients send the size of their window without asking what they are attached to.";
    SEVERAL_WRITERS = "stdio/several-writers", Must, Client,
        "What several writers put into standard input arrives, each write whole, and it ends by CloseIO alone.",
        "fifo(7); cmd/containerd-shim-runc-v2/process/io.go",
        "Two clients may be attached to one container.";
    UNCHANGED = "stdio/unchanged", Must, Client,
        "Any amount of output arrives unchanged, in whatever pieces it was written.",
        "docs/runtime-v2.md, I/O; cmd/containerd-shim-runc-v2/process/io.go",
        "Clients pipe archives and databases through standard streams.";
}
