import Balancing
import GatewayCore
import HTTPConnections
import Reactor

/// Streams on a replica that its probe declared dead.
extension LoopUpstreams {
    /// When such a stream is given up: before its first content at once, after it when it has been silent for as long
    /// as a probe may take.
    ///
    /// A process that hangs answers neither its probe nor its streams; one that is only busy, or that accepts nothing
    /// any more and ends what runs, still speaks. `.never` while the replica serves, and where nobody could go on with
    /// the stream: it may yet be finished where it is.
    func silenceEnd(of call: UpstreamCall, in pool: Pool) -> Moment {
        if call.isToMove { return loop.now }
        guard call.relay.hasContent else { return isGivenUp(call, in: pool) ? loop.now : .never }
        guard hasLostReplica(call), !call.client.hasUnsent, canGoOnElsewhere(call, pool) else { return .never }
        return call.relay.lastEventAt + pool.settings.probeTimeout
    }

    func canGoOnElsewhere(_ call: UpstreamCall, _ pool: Pool) -> Bool {
        guard call.sends < pool.settings.attempt.sendsMax else { return false }
        call.journey.attempt.sent = sentSoFar(call)
        let replicas = (present(pool)?.pool ?? pool).replicas
        return replicas.contains { !$0.isSame(as: call.replica) && $0.isServing && bestWay(on: $0, for: call) != nil }
    }

    /// How long the reply's first byte is waited for at a replica that is down and gives no sign of life: everybody is
    /// down, and the client should hear so. One time for all such replicas together.
    func panicEnd(of call: UpstreamCall, at replica: Replica, in pool: Pool) -> Moment {
        let health = pool.settings.health
        let isSilent = Panic.isSilent(
            replica.snapshot, sinceAnswer: loop.now - replica.state.answeredAt,
            window: health.interval * Int64(health.fall))
        guard isSilent else { return .never }
        if call.panicEnd == .never { call.panicEnd = loop.now + Panic.patience }
        return call.panicEnd
    }
}
