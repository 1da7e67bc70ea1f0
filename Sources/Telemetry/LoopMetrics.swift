import GatewayCore

/// How a broken stream was continued elsewhere, best way first (docs/resuming.md).
package enum ResumeResult: Int, Sendable, CaseIterable {
    case tokenIDs, prefill, replay
    /// No way was open: the client got an honest end.
    case none

    package var label: String {
        switch self {
        case .tokenIDs: "token_ids"
        case .prefill: "prefill"
        case .replay: "replay"
        case .none: "none"
        }
    }
}

/// What a continuation came to.
package enum ResumeOutcome: Int, Sendable, CaseIterable {
    /// The stream went on to its end.
    case ok
    /// The replica does not continue answers in this way: the next way was tried.
    case refused
    /// What it said did not continue what the client has.
    case diverged
    /// It broke too; or, without a way, the client got an honest end.
    case failed

    package var label: String {
        switch self {
        case .ok: "ok"
        case .refused: "refused"
        case .diverged: "diverged"
        case .failed: "failed"
        }
    }
}

/// Why a request went to another model than the one that it named.
package enum FallbackReason: Int, Sendable, CaseIterable {
    /// No replica of its model answered: all down, full, busy or failing.
    case exhausted
    /// The prompt was too long for its model.
    case contextLength
    /// Its stream broke, and no replica of its model could go on with it.
    case broken

    package var label: String {
        switch self {
        case .exhausted: "exhausted"
        case .contextLength: "context_length"
        case .broken: "broken"
        }
    }
}

/// What one loop counts about one pool.
package final class PoolMetrics: Sendable {
    let requests = InlineArray<64, Counter> { _ in Counter() }
    let duration = Histogram()
    let timeToFirstToken = Histogram()
    let queueWait = Histogram()
    let overhead = Histogram()
    let promptTokens = Counter()
    let completionTokens = Counter()
    let retries = Counter()
    let fallbacks = InlineArray<3, Counter> { _ in Counter() }
    let resumes = InlineArray<16, Counter> { _ in Counter() }

    /// A request for one of its models ended.
    package func requestEnded(_ record: AccessRecord) {
        requests[Int(record.outcome.index)].add()
        duration.record(record.duration)
        if let interval = record.timeToFirstToken { timeToFirstToken.record(interval) }
        if let interval = record.overhead { overhead.record(interval) }
        if let usage = record.usage {
            promptTokens.add(usage.promptTokens)
            completionTokens.add(usage.completionTokens)
        }
    }
}

/// What one loop counts about one replica.
package final class ReplicaMetrics: Sendable {
    let attempts = InlineArray<32, Counter> { _ in Counter() }
}

/// What one loop counts about itself, whatever pools there are: the same from the process's start to its end.
package final class ConnectionMetrics: Sendable {
    let accepted = Counter()
    let closed = Counter()
    let refused = Counter()
    let handshakesFailed = Counter()
    let bytesIn = Counter()
    let bytesOut = Counter()
    let clientsGone = Counter()
    let limiterAllowed = Counter()
    let limiterRejected = InlineArray<4, Counter> { _ in Counter() }
    let authenticationFailures = InlineArray<12, Counter> { _ in Counter() }
    let tokenCacheHits = Counter()
    let tokenCacheMisses = Counter()

    /// A request that has paid for itself.
    package func admitted() { limiterAllowed.add() }
    package func rejected(_ kind: RateLimitKind) { limiterRejected[kind.index].add() }
    package func authenticationFailed(_ problem: TokenProblem) { authenticationFailures[problem.index].add() }
    package func tokenCacheHit() { tokenCacheHits.add() }
    package func tokenCacheMissed() { tokenCacheMisses.add() }

    /// What one request took over the clients' sockets, and whether its client left before its answer was complete.
    package func requestEnded(_ record: AccessRecord) {
        bytesIn.add(record.bytesIn)
        bytesOut.add(record.bytesOut)
        if record.outcome == Outcome(.clientGone) { clientsGone.add() }
    }
}

/// The counters that one loop writes: fixed indices, no dictionary, no lock, no allocation.
///
/// It belongs to one ``TelemetryShape``: `pool` and `replica` are positions in it. After a reload the loop takes a new
/// one together with the new routes; both share what stays. Requests that span it look their new positions up.
/// - Isolation: written by its loop only; read by the scraper at any time.
package final class LoopMetrics: Sendable {
    package let shape: TelemetryShape
    let pools: [PoolMetrics]
    let replicas: [ReplicaMetrics]
    package let connections: ConnectionMetrics

    init(shape: TelemetryShape, pools: [PoolMetrics], replicas: [ReplicaMetrics], connections: ConnectionMetrics) {
        self.shape = shape
        self.pools = pools
        self.replicas = replicas
        self.connections = connections
    }

    /// What is counted about the pool at `place`.
    ///
    /// - Parameter place: in ``shape``. A request that failed before a pool was chosen has none; one that spans a
    ///   reload may belong to a pool that the new shape does not have: both count to no pool.
    package func pool(_ place: Int?) -> PoolMetrics { pools[min(place ?? .max, shape.noPool)] }

    /// A replica was assigned after waiting for one; zero when there was no wait.
    package func queueWaited(_ interval: Interval, pool: Int) { self.pool(pool).queueWait.record(interval) }
    /// A request moves to another replica before its first content.
    package func retried(pool: Int) { self.pool(pool).retries.add() }
    /// A request left the pool for another model.
    package func fellBack(_ reason: FallbackReason, pool: Int) { self.pool(pool).fallbacks[reason.rawValue].add() }
    /// A stream that broke after its first content was continued, or could not be.
    package func resumed(_ way: ResumeResult, _ outcome: ResumeOutcome, pool: Int) {
        self.pool(pool).resumes[way.rawValue * 4 + outcome.rawValue].add()
    }
    /// One attempt at a replica ended; after a reload it may be at one that the new shape does not have.
    package func attempted(_ result: AttemptResult, replica: Int) {
        guard replica < replicas.count else { return }
        replicas[replica].attempts[Int(result.index)].add()
    }

    package func connectionAccepted() { connections.accepted.add() }
    /// A connection beyond `listen.connectionsMax` was closed unread.
    package func connectionRefused() { connections.refused.add() }
    /// A connection ended before its TLS handshake did.
    package func handshakeFailed() { connections.handshakesFailed.add() }
    package func connectionClosed() { connections.closed.add() }
}
