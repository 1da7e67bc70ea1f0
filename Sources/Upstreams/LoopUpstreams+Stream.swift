import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// A streamed reply: the relay works by itself, here are its beginning, its clocks and its end.
extension LoopUpstreams {
    @inline(never)
    func beginStream(_ type: MediaType, _ call: UpstreamCall, _ connection: ClientConnection) -> Moment? {
        guard case .eventStream = type else { return broken(.wrongContentType, call, connection) }
        call.sending.phase = .relaying
        if call.asksUsageOnly {
            call.relay.answer.openToCount()
        } else {
            call.relay.answer.open(call.sending.way, ids: call.idTrust)
        }
        if call.isHeadSent { call.forgetRequest() }
        call.relay.start(call, from: connection, now: loop.now)
        return nil
    }

    /// The relay works by itself, whenever one of the sockets is ready; here its end is seen, and its clocks.
    @inline(never)
    func relay(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        let timeouts = pool.settings.timeouts
        let relay = call.relay
        if relay.isClientGone { return endRelay(.clientGone, call, breaking: connection) }
        switch relay.end {
        case .complete: return endRelay(.streamed, call)
        case .diverged: return endRelay(.diverged, call, breaking: connection)
        case .failed(let failure): return endRelay(failed(failure, call), call, breaking: connection)
        case nil: break
        }
        let silence = silenceEnd(of: call, in: pool)
        if loop.now >= silence {
            return timedOut(.declaredDead, call, connection)
        }
        let sentAt = call.sending.sentAt
        var hold = call.isHeadSent ? Moment.never : sentAt + timeouts.headHold
        if call.sending.isLate {
            if loop.now >= call.deadline {
                return timedOut(.totalTimeout, call, connection)
            }
            // Events that came while the task slept have moved it.
            if loop.now >= stallEnd(of: call, timeouts, sentAt) {
                guard call.client.hasUnsent else {
                    return timedOut(relay.hasContent ? .stalled : .firstContentTimeout, call, connection)
                }
                call.client.giveUpStalled()
                return endRelay(.clientGone, call, breaking: connection)
            }
            if loop.now >= hold {
                relay.sendHeadEarly(call)
                hold = .never
            }
        }
        // The first content wakes nobody: until it is here, a stall may begin at any moment.
        let mayStall = relay.hasContent ? Moment.never : loop.now + timeouts.streamStall
        return min(stallEnd(of: call, timeouts, sentAt), hold, call.deadline, mayStall, silence)
    }

    /// An answer that has its finish reason needs nothing more from a replica that says nothing more.
    @inline(never)
    private func timedOut(
        _ failure: UpstreamFailure, _ call: UpstreamCall, _ connection: ClientConnection
    ) -> Moment? {
        call.relay.wasCut(call, failure)
        let isComplete = call.relay.end == .complete
        return endRelay(isComplete ? .streamed : .failed(failure, isStale: false), call, breaking: connection)
    }

    @inline(never)
    private func endRelay(
        _ outcome: SendOutcome, _ call: UpstreamCall, breaking connection: ClientConnection? = nil
    ) -> Moment? {
        connection?.close(reset: true)
        call.relay.stop()
        call.outcome = outcome
        return nil
    }

    /// When the stream counts as stalled, by whom it waits for: a client that takes nothing isn't the replica's fault.
    @inline(never)
    private func stallEnd(of call: UpstreamCall, _ timeouts: UpstreamTimeouts, _ sentAt: Moment) -> Moment {
        if call.client.hasUnsent { return call.client.tookBytesAt + call.client.settings.writeStall }
        if call.relay.hasContent { return call.relay.lastEventAt + timeouts.streamStall }
        return sentAt + timeouts.firstContent(bodyBytes: call.sentBodyBytes)
    }
}
