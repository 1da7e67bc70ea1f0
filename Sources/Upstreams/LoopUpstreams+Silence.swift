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
        guard call.isReplicaDead else { return .never }
        guard call.relay.hasContent else { return loop.now }
        guard let replica = call.replica, !replica.isServing, !call.client.hasUnsent else { return .never }
        guard canGoOnElsewhere(call, pool) else { return .never }
        return call.relay.lastEventAt + pool.settings.probeTimeout
    }

    private func canGoOnElsewhere(_ call: UpstreamCall, _ pool: Pool) -> Bool {
        guard let journey = call.journey, call.sends < pool.settings.attempt.sendsMax else { return false }
        journey.attempt.sent = sentSoFar(call)
        return pool.replicas.contains { $0 !== call.replica && $0.isServing && bestWay(on: $0, journey) != nil }
    }
}
