import GatewayCore

// The names on the page. docs/telemetry.md lists them; a test compares.

extension MetricsPage {
    /// What the loops counted, summed. A series that never counted is left out, except `ok` and where values are few.
    mutating func append(loops: [LoopMetrics]) {
        appendRequests(loops)
        appendHistograms(loops)
        appendReplicas(loops)
        appendConnections(loops.map(\.connections))
    }

    private mutating func appendRequests(_ loops: [LoopMetrics]) {
        let shape = loops[0].shape
        family("weir_requests_total", .counter, "Requests that ended, by how.")
        for pool in 0...shape.noPool {
            for (index, label) in Outcome.labels.enumerated() {
                let count = loops.sum { $0.pools[pool].requests[index].value }
                if count > 0 || (index == 0 && pool < shape.noPool) {
                    sample(["pool": shape.poolLabel(pool), "outcome": label], count)
                }
            }
        }
        family("weir_tokens_total", .counter, "Tokens that replicas reported, by direction.")
        for (pool, name) in shape.pools.enumerated() {
            sample(["direction": "prompt", "pool": name], loops.sum { $0.pools[pool].promptTokens.value })
            sample(["direction": "completion", "pool": name], loops.sum { $0.pools[pool].completionTokens.value })
        }
        family("weir_retries_total", .counter, "Requests moved to another replica before their first content.")
        for (pool, name) in shape.pools.enumerated() {
            sample(["pool": name], loops.sum { $0.pools[pool].retries.value })
        }
        family("weir_fallbacks_total", .counter, "Requests that left the pool for another model, by why.")
        for (pool, name) in shape.pools.enumerated() {
            for reason in FallbackReason.allCases {
                let count = loops.sum { $0.pools[pool].fallbacks[reason.rawValue].value }
                sample(["pool": name, "reason": reason.label], count)
            }
        }
        family("weir_resumes_total", .counter, "Continuations of streams that broke after their first content.")
        for (pool, name) in shape.pools.enumerated() {
            for way in ResumeResult.allCases {
                for outcome in ResumeOutcome.allCases where way != .none || outcome == .failed {
                    let count = loops.sum { $0.pools[pool].resumes[way.rawValue * 4 + outcome.rawValue].value }
                    sample(["outcome": outcome.label, "pool": name, "way": way.label], count)
                }
            }
        }
    }

    private mutating func appendHistograms(_ loops: [LoopMetrics]) {
        let shape = loops[0].shape
        family("weir_request_duration_seconds", .histogram, "From a complete request head to the end of the answer.")
        for pool in 0...shape.noPool { histogram(pool, loops) { $0.duration.add(to: &$1) } }
        family("weir_time_to_first_token_seconds", .histogram, "From a complete request head to the first content.")
        for pool in shape.pools.indices { histogram(pool, loops) { $0.timeToFirstToken.add(to: &$1) } }
        family("weir_queue_wait_seconds", .histogram, "Waiting for a replica with room.")
        for pool in shape.pools.indices { histogram(pool, loops) { $0.queueWait.add(to: &$1) } }
        family("weir_overhead_seconds", .histogram, "The part of a request's time that no replica spent.")
        for pool in shape.pools.indices { histogram(pool, loops) { $0.overhead.add(to: &$1) } }
    }

    private mutating func histogram(
        _ pool: Int, _ loops: [LoopMetrics], _ read: (PoolMetrics, inout Histogram.Reading) -> Void
    ) {
        var reading = Histogram.Reading()
        for loop in loops { read(loop.pools[pool], &reading) }
        histogram(["pool": loops[0].shape.poolLabel(pool)], reading)
    }

    private mutating func appendReplicas(_ loops: [LoopMetrics]) {
        let shape = loops[0].shape
        family("weir_replica_requests_total", .counter, "Attempts at a replica that ended, by how.")
        for (replica, entry) in shape.replicas.enumerated() {
            for (index, label) in AttemptResult.labels.enumerated() {
                let count = loops.sum { $0.replicas[replica].attempts[index].value }
                if count > 0 || index == 0 {
                    sample(["pool": shape.pools[entry.pool], "replica": entry.name, "result": label], count)
                }
            }
        }
    }

    private mutating func appendConnections(_ loops: [ConnectionMetrics]) {
        family("weir_limiter_decisions_total", .counter, "What the limiter said, by the limit that refused.")
        sample(["decision": "allowed"], loops.sum { $0.limiterAllowed.value })
        for kind in RateLimitKind.allCases {
            sample(["decision": "rejected_\(kind.rawValue)"], loops.sum { $0.limiterRejected[kind.index].value })
        }
        family("weir_authentication_failures_total", .counter, "Credentials refused, by reason.")
        for problem in TokenProblem.allCases {
            sample(["reason": problem.label], loops.sum { $0.authenticationFailures[problem.index].value })
        }
        family("weir_token_cache_lookups_total", .counter, "Look-ups in the verified-token cache, by result.")
        sample(["result": "hit"], loops.sum { $0.tokenCacheHits.value })
        sample(["result": "miss"], loops.sum { $0.tokenCacheMisses.value })
        family("weir_client_disconnects_total", .counter, "Clients that left before their answer was complete.")
        sample(loops.sum { $0.clientsGone.value })
        family("weir_connections_accepted_total", .counter, "Client connections accepted.")
        sample(loops.sum { $0.accepted.value })
        family("weir_connections_refused_total", .counter, "Client connections closed unread: there were too many.")
        sample(loops.sum { $0.refused.value })
        family("weir_tls_handshake_failures_total", .counter, "Client connections that ended within their handshake.")
        sample(loops.sum { $0.handshakesFailed.value })
        family("weir_connections", .gauge, "Client connections open now.")
        // Read one after the other, so that a connection may be seen closed but not accepted.
        sample(max(0, loops.sum { $0.accepted.value } - loops.sum { $0.closed.value }))
        family("weir_received_bytes_total", .counter, "Bytes read from clients.")
        sample(loops.sum { $0.bytesIn.value })
        family("weir_sent_bytes_total", .counter, "Bytes written to clients.")
        sample(loops.sum { $0.bytesOut.value })
    }

    /// What is true now. Replicas and pools beyond `shape` are left out: the snapshot may be a reload younger.
    mutating func append(_ gauges: GaugeSnapshot, shape: TelemetryShape) {
        let replicas = Array(zip(shape.replicas, gauges.replicas))
        family("weir_replica_up", .gauge, "Whether a replica answers: 1 or 0. Says nothing about draining.")
        for (entry, replica) in replicas {
            sample(["pool": shape.pools[entry.pool], "replica": entry.name], replica.isUp ? 1 : 0)
        }
        family("weir_replica_draining", .gauge, "Whether an operator took a replica out: 1 or 0.")
        for (entry, replica) in replicas {
            sample(["pool": shape.pools[entry.pool], "replica": entry.name], replica.isDraining ? 1 : 0)
        }
        family("weir_replica_in_flight", .gauge, "Requests at a replica now.")
        for (entry, replica) in replicas {
            sample(["pool": shape.pools[entry.pool], "replica": entry.name], replica.inFlight)
        }
        family("weir_replica_stopped_models", .gauge, "Models that are kept off a replica because they fail there.")
        for (entry, replica) in replicas {
            sample(["pool": shape.pools[entry.pool], "replica": entry.name], replica.stoppedModels)
        }
        family("weir_queue_length", .gauge, "Requests waiting for a replica with room.")
        for (pool, length) in zip(shape.pools, gauges.queueLengths) { sample(["pool": pool], length) }
        gauge("weir_limiter_keys", "Keys that the limiter keeps counts for.", gauges.limiterKeys)
        gauge("weir_body_memory_bytes", "Bytes of request bodies held now.", gauges.bodyMemoryBytes)
        gauge("weir_body_memory_limit_bytes", "Bytes of request bodies that may be held.", gauges.bodyMemoryLimitBytes)
        gauge("weir_redis_up", "Whether Redis answers: 1 or 0.", gauges.redisIsUp.map { $0 ? 1 : 0 })
        gauge("weir_ready", "Whether /readyz says yes: 1 or 0.", gauges.isReady.map { $0 ? 1 : 0 })
        if let degraded = gauges.sessionsDegraded {
            family("weir_sessions_degraded_total", .counter, "Turns answered without being remembered.")
            sample(degraded)
        }
    }

    /// What runs, and what the process costs.
    mutating func append(_ build: BuildInfo, started: WallTime) {
        family("weir_build_info", .gauge, "What was built: always 1.")
        sample(["version": build.version, "swift": build.swift], 1)
        family("weir_process_start_time_seconds", .gauge, "When the process started, in seconds since 1970.")
        sample(Double(started.nanosecondsSinceEpoch / 1_000_000) / 1000)
        let process = ProcessUsage.now()
        gauge("weir_process_resident_memory_bytes", "Resident memory.", process.residentBytes)
        gauge("weir_process_open_fds", "Open file descriptors.", process.openDescriptors)
        gauge("weir_process_max_fds", "File descriptors that may be open.", process.descriptorsMax)
        gauge("weir_process_threads", "Threads.", process.threads)
        family("weir_process_cpu_seconds_total", .counter, "User and system time.")
        sample(process.cpuSeconds)
    }

    private mutating func gauge(_ name: StaticString, _ help: StaticString, _ value: Int?) {
        guard let value else { return }
        family(name, .gauge, help)
        sample(value)
    }
}

extension Array {
    fileprivate func sum(_ value: (Element) -> Int) -> Int { reduce(0) { $0 &+ value($1) } }
}
