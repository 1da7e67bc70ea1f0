import Balancing
import GatewayCore
import Reactor

/// Taking requests off a replica that is about to be restarted.
extension LoopUpstreams {
    /// Moves the requests at `replica` that can go on elsewhere without the client seeing a seam: those without content
    /// yet, and streams that another replica continues from token ids or from the text.
    ///
    /// - Returns: how many. The others stay where they are.
    package func moveAway(from replica: Replica, in pool: Pool) -> Int {
        let others = pool.replicas.filter { $0 !== replica && $0.isServing }
        guard !others.isEmpty else { return 0 }
        var moved = 0
        for call in active where call.replica === replica && !call.isToMove {
            if call.firstContentAt != .zero {
                let sent = sentSoFar(call)
                let canMove = others.contains { other in
                    let ways = ResumeRules.ways(
                        for: call.attemptRequest, sent: sent, on: other.settings.kind.abilities)
                    return !ways.isDisjoint(with: [.tokenIDs, .prefill])
                }
                guard canMove else { continue }
            }
            call.isToMove = true
            call.isReplicaDead = true
            call.parking.wake()
            moved += 1
        }
        return moved
    }
}
