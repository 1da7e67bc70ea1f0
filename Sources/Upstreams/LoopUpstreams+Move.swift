import GatewayCore
import Reactor

/// Taking requests off a replica that is about to be restarted.
extension LoopUpstreams {
    /// Moves the requests at `replica` that can go on elsewhere without the client seeing a seam: those without content
    /// yet, and streams that another replica can continue.
    ///
    /// - Returns: how many. The others stay where they are.
    package func moveAway(from replica: Replica, in pool: Pool) -> Int {
        guard pool.replicas.contains(where: { $0 !== replica && $0.isServing }) else { return 0 }
        var moved = 0
        for call in active where call.replica === replica && !call.isToMove {
            guard call.firstContentAt == .zero || canGoOnElsewhere(call, pool) else { continue }
            call.isToMove = true
            call.isReplicaDead = true
            call.parking.wake()
            moved += 1
        }
        return moved
    }
}
