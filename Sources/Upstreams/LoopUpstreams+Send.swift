import Balancing
import GatewayCore
import Glibc
import HTTPConnections
import Reactor
import Wire

/// One send: a connection, the request on it, the reply's head, and then its body or its events. Here are the steps
/// that ``goOn(_:isLate:)`` takes, each of which goes as far as it gets. What they know lies in the call, so that the
/// task of an open stream holds next to nothing.
extension LoopUpstreams {
    /// Takes an idle connection, or begins to make one. - Returns: false when the kernel refuses at once.
    @inline(__always)
    func openConnection(for call: UpstreamCall, to link: Link, way: Balancing.ResumeWay?, isNew: Bool) -> Bool {
        call.sending = Sending(way: way)
        if !link.replica.isServing { call.sending.panicEnd = panicEnd(of: call, at: link.replica, in: link.pool) }
        guard !isNew, let idle = link.takeIdle(handler: call.parking) else { return connect(call, to: link) }
        call.sending.phase = .writing
        call.journey.connection = idle
        return true
    }

    @inline(never)
    private func connect(_ call: UpstreamCall, to link: Link) -> Bool {
        let replica = link.replica
        call.sending.deadline = min(
            loop.now + link.pool.settings.timeouts.connect, call.deadline, call.sending.panicEnd)
        call.journey.connection = try? ClientConnection(
            connectingTo: replica.state.address, tls: replica.tlsPeer, handler: call.parking,
            spare: buffers.replies, recent: buffers.recentReplies)
        return call.journey.connection != nil
    }

    /// Goes on with a send as far as it gets without waiting.
    ///
    /// - Returns: until when to wait, at most; nil when the send has come to its outcome.
    @inline(__always)
    func advance(_ call: UpstreamCall, _ link: Link, _ connection: ClientConnection) -> Moment? {
        while call.outcome == nil {
            let wait: Moment?
            switch call.sending.phase {
            case .connecting: wait = connect(call, connection, link.pool)
            case .writing: wait = writeOut(call, connection, link)
            case .awaitingHead: wait = readHead(call, connection, link)
            case .readingWhole: wait = readWhole(call, connection, link.pool)
            case .readingError: wait = readError(call, connection, link.pool)
            case .relaying: wait = relay(call, connection, link.pool)
            }
            if let wait { return wait }
            call.sending.isLate = false
        }
        return nil
    }

    @inline(never)
    private func connect(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        do throws(SocketError) {
            guard try connection.stream.isConnected() else {
                if endIfAbandoned(call, connection, pool) { return nil }
                if call.sending.isLate { throw SocketError(ETIMEDOUT, "connect") }
                return call.sending.deadline
            }
            call.sending.phase = .writing
        } catch {
            connection.close()
            let isPatienceOver = loop.now >= call.sending.panicEnd
            let late: UpstreamFailure = isPatienceOver ? .declaredDead : .connectTimeout
            call.outcome = .failed(error.code == ETIMEDOUT ? late : .connectFailed, isStale: false)
        }
        return nil
    }

    // MARK: Ends

    /// The connection is of no use any more. A request that dies on a reused one before any byte came may go out again.
    @inline(never)
    func broken(_ failure: UpstreamFailure, _ call: UpstreamCall, _ connection: ClientConnection) -> Moment? {
        let isStale = failure == .reset && connection.repliesBefore > 0 && !connection.hasReplyBytes
        connection.close()
        call.outcome = .failed(failure, isStale: isStale)
        return nil
    }

    /// Ends a send whose client left, with a reset that tells the replica to stop generating, or whose replica was
    /// declared dead. - Returns: whether it did.
    @inline(__always)
    func endIfAbandoned(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Bool {
        if call.client.isClientGone {
            connection.close(reset: true)
            call.outcome = .clientGone
            return true
        }
        guard isGivenUp(call, in: pool) else { return false }
        _ = broken(.declaredDead, call, connection)
        return true
    }

    /// An error inside a 200 is the replica's failure, unless it says that the request is to blame: then it counts as
    /// the status that it should have had.
    @inline(never)
    func failed(_ failure: UpstreamFailure, _ call: UpstreamCall) -> SendOutcome {
        let text = call.inBandError
        if failure == .inBandError, call.relay.answer.saysNothingNew,
            let status = UpstreamError.statusOfRefusal(inBand: text.span)
        {
            call.journey.refusal = Journey.Refusal(status: status, body: text, retryAfter: nil)
            return .refused
        }
        return .failed(failure, isStale: false)
    }
}
