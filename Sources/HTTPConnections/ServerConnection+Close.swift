import GatewayCore
import Reactor

extension ServerConnection {
    /// Bytes of an unread body that are read and thrown away, so that the client can read the answer.
    private static let drainedBytesMax = 16 << 20
    /// So many of them in one turn of the loop.
    private static let drainedBytesPerTurn = 256 << 10

    /// Closes. If the client may still be sending, its bytes are read and thrown away first, for a bounded time, so
    /// that a reset does not destroy the answer on its way.
    package func close(reset: Bool = false) async {
        while !isBroken, !reset, !stream.sendAll(), !stream.peerHungUp {
            if await parking.park(until: tookBytesAt + settings.writeStall) == .deadline { break }
        }
        if !isBroken, !reset, !isBodyRead || closesAfterReply {
            stream.shutdownWrite()
            let deadline = loop.now + .seconds(2)
            var left = Self.drainedBytesMax
            var turnEnd = left - Self.drainedBytesPerTurn
            draining: while left > 0, loop.now < deadline {
                switch stream.read(into: loop.scratch) {
                case .bytes(let count):
                    left -= count
                    if left > turnEnd { continue }
                    turnEnd = left - Self.drainedBytesPerTurn
                    loop.revisit(stream)
                    _ = await parking.park(until: deadline)
                case .end, .failed: break draining
                case .wouldBlock: if await parking.park(until: deadline) == .deadline { break draining }
                }
            }
        }
        isSecured = !stream.isHandshaking
        stream.close(reset: reset)
        parking.close()
        forgetAll()
    }
}
