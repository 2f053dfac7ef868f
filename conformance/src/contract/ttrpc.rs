//! The wire: what a shim owes to a peer that speaks ttrpc, and to everybody else when a peer does not.
//!
//! The sources name containerd/ttrpc, the Go library of containerd and of its own shims. Its 1.1 is in containerd 1.6, its 1.2 in all
//! later ones; ttrpc-rust, which the shims in Rust are built with, differs from both where a sentence says so.

clauses! {
    FRAME = "ttrpc/frame", Must, Client,
        "A frame is ten bytes of header, in network order, and the payload that the header counts, however the bytes arrive; each request gets one answer, on its own stream.",
        "containerd/ttrpc: PROTOCOL.md, Message Frame; channel.go, recv",
        "A socket cuts where it likes; a shim that trusts one read with one frame breaks under load.";
    STREAM = "ttrpc/stream", Must, Client,
        "Every odd stream id is good for a request, from 1 to the highest.",
        "containerd/ttrpc: PROTOCOL.md, Message Frame; client.go, nextStreamID",
        "A client counts upwards as long as its connection lasts.";
    UNKNOWN_FIELDS = "ttrpc/unknown-fields", Must, Client,
        "Fields of a request that the shim does not know are passed over, in the envelope and in its payload.",
        "containerd/ttrpc: request.proto; protobuf.dev, unknown fields",
        "A containerd that is newer than the shim sends them.";
    EMPTY_PAYLOAD = "ttrpc/empty-payload", Must, Client,
        "An empty payload is the message with nothing in it.",
        "containerd/ttrpc: services.go, protoUnmarshal; protobuf.dev, encoding",
        "That is how protobuf writes such a message.";
    LARGEST = "ttrpc/largest", Must, Client,
        "A payload of 4 MiB is taken.",
        "containerd/ttrpc: channel.go, messageLengthMax",
        "A process with a large environment comes close to it.";
    OVERSIZE = "ttrpc/oversize", Must, Client,
        "A payload over 4 MiB is refused on its own stream, and the connection goes on.",
        "containerd/ttrpc: PROTOCOL.md, Message Frame; channel.go, recv; server.go, sendStatus",
        "One request that is too large would otherwise fail every call that is under way.";
    OVERSIZE_CODE = "ttrpc/oversize-code", Should, Defacto,
        "The code of that refusal is RESOURCE_EXHAUSTED; ttrpc-rust says INVALID_ARGUMENT.",
        "containerd/ttrpc: channel.go, recv",
        "Only this code tells the caller that less would have been taken.";
    ODD = "ttrpc/odd-streams", Should, Defacto,
        "A request on an even stream is refused with INVALID_ARGUMENT, and the connection goes on.",
        "containerd/ttrpc: PROTOCOL.md, Message Frame; server.go",
        "Even ids are the server's; one that takes them cannot be extended.";
    REUSE = "ttrpc/reuse", Must, Hygiene,
        "A request on a stream id that is not higher than all before is refused with INVALID_ARGUMENT (containerd/ttrpc 1.2) or answered like any other (1.1, ttrpc-rust); calls in flight and the connection go on.",
        "containerd/ttrpc: server.go, lastStreamID",
        "An answer to the one call would be taken for the answer to the other.";
    MALFORMED = "ttrpc/malformed", Must, Hygiene,
        "A request that cannot be decoded is refused with INVALID_ARGUMENT, and the connection goes on.",
        "containerd/ttrpc: server.go, unmarshal request error",
        "A client with a bug would take the shim, and so every container of a pod, with it.";
    MALFORMED_PAYLOAD = "ttrpc/malformed-payload", Must, Hygiene,
        "A call whose message cannot be decoded is refused, and the connection goes on. containerd/ttrpc says INTERNAL, ttrpc-rust UNKNOWN.",
        "containerd/ttrpc: services.go, protoUnmarshal",
        "An empty message instead of an unreadable one would act on something else than was asked for.";
    UNKNOWN = "ttrpc/unknown", Must, Client,
        "A call of a service or method that the shim does not have is refused with UNIMPLEMENTED.",
        "containerd/ttrpc: services.go, handle, and #83; core/runtime/v2/shim.go, Downgrade",
        "By this code containerd falls back to an older API, and finds out that a shim has no sandboxes.";
    IGNORED = "ttrpc/ignored", Must, Defacto,
        "A frame of an unknown type, and an answer that is sent to the server, change nothing: they are passed over or refused.",
        "containerd/ttrpc: server.go, \"must ignore this for future compat\"",
        "A type that comes later would end every connection to an older shim.";
    CONCURRENT = "ttrpc/concurrent", Must, Client,
        "Calls of one connection are worked on side by side and answered in any order: a Wait holds up nothing, and fifty of them are no limit.",
        "containerd/ttrpc: server.go; every client of containerd waits for its task over the one connection to its shim",
        "State, Kill and Exec would wait for the end of the container.";
    DEADLINE = "ttrpc/deadline", Must, Client,
        "A deadline that passes ends the waiting and nothing else: the call is refused with DEADLINE_EXCEEDED or answered truthfully, and what it was about is as it was. A far one is no hindrance.",
        "containerd/ttrpc: request.proto, timeout_nano; services.go, getRequestContext",
        "containerd gives State two seconds when it lists tasks; that a node is slow must not cost a container.";
    GIVEN_UP = "ttrpc/create-given-up", Should, Defacto,
        "A Create whose deadline passes, or whose caller hangs up, is given up: no task, mount or event of it remains, and the id can be used again.",
        "cmd/containerd-shim-runc-v2/process/init.go, Create: the runtime runs in the context of the call",
        "The caller was told that there is no container, and makes another one.";
    NEGATIVE_DEADLINE = "ttrpc/negative-deadline", Must, Hygiene,
        "A negative deadline is none, or one that has passed.",
        "containerd/ttrpc: services.go, getRequestContext",
        "A caller whose context has ended computes such a one.";
    NO_DEADLINE = "ttrpc/no-deadline", Must, Client,
        "A call without a deadline is worked on until it is done.",
        "core/runtime/v2/shim.go: Create, Start, Wait, Delete and Exec get none",
        "A Wait that gives up looks like a container that ended.";
    NAMESPACE = "ttrpc/namespace", Should, Defacto,
        "A call is answered whatever namespace its metadata name, or if they name none: the shim has that of its -namespace.",
        "cmd/containerd-shim-runc-v2/task/service.go; pkg/shim/shim.go",
        "Tools that speak to a shim directly send none.";
    METADATA = "ttrpc/metadata", Must, Client,
        "Metadata that the shim does not know are passed over, however many and large.",
        "containerd/ttrpc: metadata.go; a containerd that traces sends traceparent",
        "Tracing would be the end of all calls.";
    METADATA_GARBLED = "ttrpc/garbled-metadata", Must, Hygiene,
        "Metadata that are not text are refused with INVALID_ARGUMENT or passed over.",
        "containerd/ttrpc: request.proto, KeyValue",
        "What travels in metadata comes from clients of containerd.";
    FLAGS = "ttrpc/flags", Should, Defacto,
        "Flags of a request for a call with one answer change nothing.",
        "containerd/ttrpc: PROTOCOL.md, Request Flags; server.go",
        "A client that is made for streams sets them.";
    DATA_UNKNOWN = "ttrpc/data-on-no-stream", Must, Hygiene,
        "Data on a stream that is not open are passed over (containerd/ttrpc 1.1) or refused with INVALID_ARGUMENT (1.2.8, ttrpc-rust).",
        "containerd/ttrpc: PROTOCOL.md, Data; server.go, \"StreamID is no longer active\"",
        "Between 1.2.0 and 1.2.7 such a frame ends the process, and orphans every container of the shim.";
    DATA_UNARY = "ttrpc/data-on-a-call", Must, Hygiene,
        "Data on the stream of a call with one request are passed over or refused with INVALID_ARGUMENT, and the call goes on.",
        "containerd/ttrpc: PROTOCOL.md, \"not allowed on a unary stream\"; server.go",
        "From 1.2.0 to 1.2.9 such a frame ends the process, and orphans every container of the shim.";
    ERROR_TEXT = "ttrpc/error-text", Should, Defacto,
        "A refusal says in words what is the matter.",
        "containerd/ttrpc: errdefs in status.message; core/runtime/v2/shim.go, errgrpc.ToNative",
        "It is all that a user gets to see.";
    BROKEN_PEER = "ttrpc/broken-peer", Must, Client,
        "A peer that ends in the middle of a frame or sends garbage harms no other connection and no container, and its connection is given up with all that it held.",
        "containerd/ttrpc: server.go, recvErr; containerd is killed while it writes",
        "Each death of containerd would leave a descriptor in each shim, until there are none left.";
    HALF_CLOSE = "ttrpc/half-close", Should, Hygiene,
        "A peer that has ended its direction, in a frame or between frames, finds the connection ended by the shim soon.",
        "containerd/ttrpc: server.go, recvErr",
        "Both sides would hold a connection on which nothing will ever be said.";
    MANY = "ttrpc/many-connections", Must, Client,
        "Connections that come and go, or stay and say nothing, hold up nobody and leave nothing.",
        "core/runtime/v2/shim_load.go: each restart of containerd makes a connection, each task of a pod has one of its own",
        "A shim lives for months and through many containerds.";
    ABANDONED = "ttrpc/abandoned-calls", Must, Client,
        "The answer to a call whose connection is gone is dropped; it reaches no other connection, and the call keeps nothing open.",
        "containerd/ttrpc: server.go, respond",
        "Stream ids begin anew with each connection: a stale answer would be taken for another one.";
    DEAF = "ttrpc/deaf-peer", Must, Hygiene,
        "A peer that does not read its answers holds up nobody else.",
        "containerd/ttrpc: server.go, a goroutine for each connection",
        "A containerd that is stopped in a debugger would stop every client of the shim.";
    APART = "ttrpc/clients-apart", Must, Client,
        "Clients of one shim do not notice each other: each gets the answers to its own calls, and any of them may ask for any container.",
        "core/runtime/v2/shim.go: the tasks of a pod share a shim and have a connection each",
        "One container would be told the state of another.";
}
