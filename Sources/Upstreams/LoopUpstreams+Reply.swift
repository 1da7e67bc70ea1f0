import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// The reply's head, and its body where that is no stream.
extension LoopUpstreams {
    /// A reply held whole may have this many bytes.
    private static let wholeReplyBytesMax = 16 << 20
    /// Kept of a reply that only carries an error.
    private static let errorBytesMax = 64 << 10

    @inline(__always)
    func readHead(_ call: UpstreamCall, _ connection: ClientConnection, _ link: Link) -> Moment? {
        lookForHead(call, connection, link) ? nil : waitForHead(call, connection, link)
    }

    /// Begins the reply if its head is there, and ends the send if none can come. - Returns: false where neither is so.
    @inline(__always)
    func lookForHead(_ call: UpstreamCall, _ connection: ClientConnection, _ link: Link) -> Bool {
        while true {
            do throws(HTTPViolation) {
                if try connection.parseHead(limits: link.pool.settings.replyHead, method: .post) {
                    _ = beginReply(call, connection, link.replica)
                    return true
                }
            } catch {
                _ = broken(.malformedReply, call, connection)
                return true
            }
            switch connection.receive() {
            case .bytes: continue
            case .end, .failed:
                _ = broken(connection.hasReplyBytes ? .cut : .reset, call, connection)
                return true
            case .wouldBlock: return false
            }
        }
    }

    @inline(__always)
    private func waitForHead(_ call: UpstreamCall, _ connection: ClientConnection, _ link: Link) -> Moment? {
        if endIfAbandoned(call, connection, link.pool) { return nil }
        if call.sending.isLate, loop.now >= call.sending.deadline {
            return broken(loop.now >= call.deadline ? .totalTimeout : .firstByteTimeout, call, connection)
        }
        if loop.now >= call.sending.panicEnd {
            guard link.replica.isServing else { return broken(.declaredDead, call, connection) }
            call.sending.panicEnd = .never  // It came back meanwhile.
        }
        return min(call.sending.deadline, call.sending.panicEnd)
    }

    /// The head is there: what it promises decides how its body is read.
    @inline(__always)
    private func beginReply(_ call: UpstreamCall, _ connection: ClientConnection, _ replica: Replica) -> Moment? {
        guard connection.status == 200 else {
            call.sending.retryAfter = connection.withReply { Self.retryAfter(connection, $0) }
            call.sending.phase = .readingError
            return nil
        }
        let type = connection.withReply { Self.contentType(connection.first(.contentType), $0) }
        if let encoding = connection.first(.contentEncoding),
            !connection.withReply({ $0.extracting(encoding).equalsIgnoringCase("identity") })
        {
            return broken(.encodedReply, call, connection)
        }
        if connection.repliesBefore == 0, case .generic = replica.settings.kind { learnServer(replica, connection) }
        if call.isStream { return beginStream(type, call, connection) }
        guard case .json = type else { return broken(.wrongContentType, call, connection) }
        call.sending.phase = .readingWhole
        return nil
    }

    /// Once for each connection: another server would need another one.
    @inline(never)
    private func learnServer(_ replica: Replica, _ connection: ClientConnection) {
        guard let server = connection.first(.server) else { return }
        connection.withReply { replica.state.answered(by: $0.extracting(server)) }
    }

    @inline(__always)
    func readWhole(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        // Nearly always it has come with its head.
        guard connection.takeBody() else { return gatherWhole(call, connection, pool) }
        takeWhole(call, connection)
        return nil
    }

    @inline(never)
    private func gatherWhole(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        switch gather(connection, pool, max: Self.wholeReplyBytesMax) {
        case .blocked: break
        case .broken(let failure): return broken(failure, call, connection)
        case .whole:
            takeWhole(call, connection)
            return nil
        }
        if endIfAbandoned(call, connection, pool) { return nil }
        if call.sending.isLate {
            return broken(loop.now >= call.deadline ? .totalTimeout : .stalled, call, connection)
        }
        return call.sending.deadline
    }

    private func takeWhole(_ call: UpstreamCall, _ connection: ClientConnection) {
        // A second reply, or the end of a longer one: which of the two framings the replica meant, nobody knows.
        if connection.hasSurplus {
            call.outcome = .failed(.malformedReply, isStale: false)
        } else if let failure = readFacts(of: connection, into: call) {
            call.outcome = failed(failure, call)
        } else {
            call.firstContentAt = loop.now
            call.outcome = .whole
        }
    }

    /// A reply that only carries an error: what has come of it in ten seconds, or before it broke off, is enough. One
    /// that is framed wrongly says nothing.
    @inline(never)
    func readError(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        switch gather(connection, pool, max: Self.errorBytesMax) {
        case .blocked where !call.client.isClientGone && !isGivenUp(call, in: pool) && !call.sending.isLate:
            return call.sending.sentAt + .seconds(10)
        case .broken(.malformedReply): return broken(.malformedReply, call, connection)
        case .whole where connection.hasSurplus: return broken(.malformedReply, call, connection)
        case .whole, .blocked, .broken: break
        }
        call.journey.refusal = Journey.Refusal(
            status: connection.status, body: connection.body.withUnsafeBytes { Array($0) },
            retryAfter: call.sending.retryAfter)
        call.outcome = .refused
        return nil
    }

    /// What the reply says, into the call. - Returns: why it is no answer; nil when it is one.
    private func readFacts(of connection: ClientConnection, into call: UpstreamCall) -> UpstreamFailure? {
        connection.withBody { body in
            do throws(JSONProblem) {
                var reply = ChatChunk()
                try reply.fill(from: body)
                if reply.isError {
                    call.keep(inBandError: body)
                    return .inBandError
                }
                if reply.isAborted { return .aborted }
                if !reply.isCompleteReply { return .missingEnd }
                call.usage = reply.usage
                if call.renamesModel || call.keepsText { call.reply = ReadReply(reply) }
                return nil
            } catch {
                return body.isEmpty ? .emptyAnswer : .malformedReply
            }
        }
    }

    private enum Gathered { case whole, blocked, broken(UpstreamFailure) }

    /// Reads what is there of the body.
    private func gather(_ connection: ClientConnection, _ pool: Pool, max: Int) -> Gathered {
        while true {
            do throws(HTTPViolation) {
                switch try connection.readBody(into: &connection.body, limits: pool.settings.replyChunks) {
                case .ended: return .whole
                case .cut: return .broken(.cut)
                case .bytes: if connection.body.count > max { return .broken(.oversizedEvent) }
                case .wouldBlock: return .blocked
                }
            } catch {
                return .broken(.malformedReply)
            }
        }
    }

    // MARK: Fields

    private static func contentType(_ value: ByteRange?, _ bytes: Span<UInt8>) -> MediaType {
        value.map { MediaType(bytes.extracting($0)) } ?? .other
    }

    /// `retry-after-ms`, or `Retry-After` in seconds. A date is not worth a clock's difference: it counts as absent.
    private static func retryAfter(_ connection: ClientConnection, _ bytes: Span<UInt8>) -> Interval? {
        func number(_ range: ByteRange?) -> Int64? {
            guard let range, range.count > 0, range.count < 10 else { return nil }
            var value: Int64 = 0
            for index in range.range {
                guard bytes[index] &- 0x30 < 10 else { return nil }
                value = value * 10 + Int64(bytes[index] - 0x30)
            }
            return value
        }
        if let milliseconds = number(connection.first(.retryAfterMs)) { return .milliseconds(milliseconds) }
        return number(connection.first(.retryAfter)).map { .seconds($0) }
    }
}
