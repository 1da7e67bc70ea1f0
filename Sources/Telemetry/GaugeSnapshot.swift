/// What is true at the moment of a scrape: put together by the server from the parts that know it.
///
/// `nil` leaves a family out: the part is not configured.
package struct GaugeSnapshot: Equatable, Sendable {
    /// One replica, at its position in ``TelemetryShape/replicas``.
    package struct Replica: Equatable, Sendable {
        /// Observed health: probes and traffic say that it answers.
        package var isUp: Bool
        /// What the operator asked for: no new requests.
        package var isDraining: Bool
        package var inFlight: Int
        /// Models that its breaker keeps off it.
        package var stoppedModels: Int

        package init(isUp: Bool, isDraining: Bool = false, inFlight: Int, stoppedModels: Int = 0) {
            self.isUp = isUp
            self.isDraining = isDraining
            self.inFlight = inFlight
            self.stoppedModels = stoppedModels
        }
    }

    package var replicas: [Replica] = []
    /// Requests waiting for a replica, at the pool's position in ``TelemetryShape/pools``.
    package var queueLengths: [Int] = []
    /// Keys that the limiter keeps counts for.
    package var limiterKeys: Int?
    /// Bytes of request bodies held now, and how many there may be.
    package var bodyMemoryBytes: Int?
    package var bodyMemoryLimitBytes: Int?
    /// Whether Redis answers; `nil` without Redis.
    package var redisIsUp: Bool?
    /// Turns answered without being remembered, since the start.
    package var sessionsDegraded: Int?
    /// Whether `/readyz` says yes.
    package var isReady: Bool?

    package init() {}
}
