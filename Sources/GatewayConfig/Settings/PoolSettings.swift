import GatewayCore

/// One of `pools`: replicas that serve the same models.
package struct PoolSettings: Equatable, Sendable {
    package enum Policy: String, CaseIterable, Sendable { case roundRobin, leastInFlight }

    /// For metrics, logs and the CLI. Required, unique; 1 to 64 of `[A-Za-z0-9._-]`.
    package var name = ""
    /// What clients may ask for; no model is in two pools. At least one, at most 256.
    package var models: [ModelSettings] = []
    /// How the next replica is picked. Default roundRobin (smooth, weighted); roundRobin or leastInFlight.
    package var policy = Policy.roundRobin
    /// At least one, at most 1000.
    package var replicas: [ReplicaSettings] = []
    package var probe = ProbeSettings()
    package var queue = QueueSettings()
    package var retry = RetrySettings()
    /// Unused connections kept open to each replica, each loop. Default 32; 0 to 10000.
    package var idleConnectionsMax = 32
    /// How often the names in the replicas' `url` are looked up again. Default 30s; 0s (never) to 1h.
    package var resolveInterval = Interval.seconds(30)

    package init() {}
}

/// One of `pools[].models`; a plain text is the same as a mapping that has only `name`.
package struct ModelSettings: Equatable, Sendable {
    /// What clients call it. Required, unique.
    package var name = ""
    /// What the replicas call it; `nil`: the same.
    package var upstream: String?
    /// Models that are asked instead, in order, when every replica of this one fails or is full, or when the prompt is
    /// too long for it; theirs follow. Default none; at most 8, each served by a pool, none leading back here.
    package var fallback: [String] = []

    package init() {}
}

/// One of `pools[].replicas`.
package struct ReplicaSettings: Equatable, Sendable {
    package enum Kind: String, CaseIterable, Sendable {
        case weir, vllm, sglang, tgi, generic
        case llamaCPP = "llama.cpp"
    }

    /// For metrics, logs, the CLI and `x-weir-replica`. Required, unique in the file; 1 to 64 of `[A-Za-z0-9._-]`.
    package var name = ""
    /// `http://host:port` or `https://host:port`, with a path prefix if need be. Required.
    package var url = ReplicaURL.unset
    /// Share of the pool's requests. Default 1; 1 to 1000.
    package var weight = 1
    /// What runs there: decides the probe's path and how an answer can be resumed. Default generic.
    package var kind = Kind.generic
    /// Requests it may run at once. Default 256; 1 to 65535.
    package var maxInFlight = 256
    /// Used only while no other replica of the pool serves. Default false.
    package var backup = false
    /// File or environment variable that holds the replica's bearer key; at most one of them. Default none.
    package var apiKeyFile: String?
    package var apiKeyEnv: String?
    /// PEM authorities that an https replica's certificate must come from. Default none: those of the system.
    package var caFile: String?
    /// The bearer key, wherever it came from (filled in when settings are loaded).
    package var apiKey: Secret?

    package init() {}
}

/// The `pools[].probe` section.
package struct ProbeSettings: Equatable, Sendable {
    /// Path that answers 200 when healthy; `nil`: by kind, `/v1/models` for generic replicas, `/health` for the others.
    package var path: String?
    /// From the start of one probe to the start of the next. Default 2s; 50ms to 1h.
    package var interval = Interval.seconds(2)
    /// How long an answer may take. Default 1s; 10ms to 1m.
    package var timeout = Interval.seconds(1)
    /// Failures in a row that take a replica out. Default 3; 1 to 100.
    package var fall = 3
    /// Successes in a row that bring it back. Default 2; 1 to 100.
    package var rise = 2
    /// Part of the interval by which probes are moved at random. Default 0.1; 0 to 0.5.
    package var jitter = 0.1
    /// Whether a replica that comes back answers one request of one token first; never for generic ones. Default true.
    package var warmUp = true
    /// How long the weight of a replica that came back takes to rise. Default 10s; 0s to 10m.
    package var ramp = Interval.seconds(10)
    /// A replica without work, from which no real answer came for so long, is asked for one token; never a generic one.
    /// Zero: off. Default 1m; 0s to 24h.
    package var deepInterval = Interval.seconds(60)
    /// How long the answer to a deep probe or a warm-up may take. Default 30s; 100ms to 10m.
    package var deepTimeout = Interval.seconds(30)

    package init() {}

    /// What is asked of a replica of `kind`.
    package func path(for kind: ReplicaSettings.Kind) -> String {
        path ?? (kind == .generic ? "/v1/models" : "/health")
    }
}

/// The `pools[].queue` section: requests that wait while every replica is full.
package struct QueueSettings: Equatable, Sendable {
    /// Requests that may wait. Default 1000; 0 to 100000.
    package var length = 1000
    /// How long one may wait. Default 30s; 0s to 1h.
    package var timeout = Interval.seconds(30)

    package init() {}
}

/// The `pools[].retry` section.
package struct RetrySettings: Equatable, Sendable {
    /// Replicas that one request may be sent to. Default 3; 1 to 4.
    package var replicasMax = 3
    /// Retries per request of the last 10 s. Default 0.2; 0 to 1.
    package var budgetRatio = 0.2
    /// Retries a second that are allowed on top. Default 10; 0 to 100000.
    package var budgetPerSecond = 10
    /// Whether a stream that broke after its first content goes on elsewhere. Default true.
    package var resume = true

    package init() {}
}
