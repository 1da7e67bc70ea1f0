/// Which pools and replicas there are: what the dense indices of ``LoopMetrics`` mean.
///
/// Comes from the configuration, so its size is the operator's, never a client's. Immutable; a reload makes a new one.
package struct TelemetryShape: Equatable, Sendable {
    /// A replica and the pool it serves, by position in ``TelemetryShape/pools``.
    package struct Replica: Hashable, Sendable {
        package let name: String
        package let pool: Int

        package init(_ name: String, pool: Int) {
            self.name = name
            self.pool = pool
        }
    }

    /// The pools' names. Each once.
    package let pools: [String]
    package let replicas: [Replica]

    /// - Precondition: no pool's name comes twice or is empty, no replica's name comes twice in a pool, and every
    ///   replica's pool exists; the configuration is validated before, so a violation is a bug of ours.
    package init(pools: [String] = [], replicas: [Replica] = []) {
        precondition(Set(pools).count == pools.count && !pools.contains(""))
        precondition(Set(replicas).count == replicas.count)
        precondition(replicas.allSatisfy { pools.indices.contains($0.pool) })
        self.pools = pools
        self.replicas = replicas
    }

    /// The slot of requests that failed before a pool was chosen; its label is empty.
    var noPool: Int { pools.count }
    func poolLabel(_ index: Int) -> String { index == noPool ? "" : pools[index] }
}
