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
        let pool = present(pool)?.pool ?? pool
        guard pool.isAnyServing(but: replica) else { return 0 }
        var moved = 0
        for call in active.lazy.map(\.call) where replica.isSame(as: call.replica) && !call.isToMove {
            guard call.firstContentAt == .zero || canGoOnUnseen(call, pool) else { continue }
            call.isToMove = true
            call.parking.wake()
            moved += 1
        }
        return moved
    }

    /// Whether wherever the stream may go, it is continued from token ids or from the text: asking again could lead to
    /// another text, and then a stream that nothing had broken would end in an error.
    private func canGoOnUnseen(_ call: UpstreamCall, _ pool: Pool) -> Bool {
        guard canGoOnElsewhere(call, pool) else { return false }
        return pool.replicas.allSatisfy { other in
            other.isSame(as: call.replica) || !other.isServing || bestWay(on: other, for: call) != .replay
        }
    }
}
