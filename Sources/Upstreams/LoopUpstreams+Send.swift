import Balancing
import GatewayCore
import Glibc
import HTTPConnections
import Reactor
import Telemetry
import Wire

/// One send: a connection, the request on it, the reply's head, and then its body or its events.
extension LoopUpstreams {
    /// A reply held whole may have this many bytes.
    private static let wholeReplyBytesMax = 16 << 20
    /// Kept of a reply that only carries an error.
    private static let errorBytesMax = 64 << 10
    /// A body from here on is sent from where it was received, without a copy.
    private static let copiedBodyBytesMax = 16 << 10

    func send(
        _ call: UpstreamCall, to replica: Replica, in route: Route, way: Balancing.ResumeWay?, onNewConnection: Bool
    ) async -> SendOutcome {
        let connection: ClientConnection
        let panicEnd = panicEnd(of: call, at: replica, in: route.pool)
        if !onNewConnection, let idle = takeIdle(replica, in: route, handler: call.parking) {
            connection = idle
        } else {
            do throws(SocketError) {
                connection = try await ClientConnection.open(
                    to: replica.settings.address, tls: replica.tlsPeer, parking: call.parking,
                    deadline: min(loop.now + route.pool.settings.timeouts.connect, call.deadline, panicEnd))
            } catch {
                guard error.code == ETIMEDOUT else { return .failed(.connectFailed, isStale: false) }
                return .failed(loop.now >= panicEnd ? .declaredDead : .connectTimeout, isStale: false)
            }
        }
        write(call, for: replica, way: way)
        let outcome = await exchange(call, on: connection, with: replica, in: route.pool, isContinuation: way != nil)
        call.outgoing.release()
        if case .whole = outcome { return outcome }
        keep(connection, replica, in: route.pool)
        return outcome
    }

    // MARK: The request

    /// Writes the head, and the body unless it is long and unchanged. Everything towards a replica is made anew.
    private func write(_ call: UpstreamCall, for replica: Replica, way: Balancing.ResumeWay?) {
        let settings = replica.settings
        call.outgoing.removeAll()
        if way == .prefill {
            call.edits.continuation = call.relay.text.withUnsafeBytes { Array($0) }
            if let most = call.request?.maxTokensInForce { call.edits.maxTokens = max(1, most - call.relay.deltas) }
        }
        defer {
            if way == .prefill {
                call.edits.continuation = nil
                call.edits.maxTokens = nil
            }
        }
        call.client.withRequest { bytes in
            let body = bytes.extracting(call.client.bodyRange)
            guard let request = call.request else { return }
            var added = ByteWriter()
            let spliced = call.edits.splice(body, of: request, added: &added)
            call.sentBodyBytes = spliced.length
            call.outgoing.reserve(512 + call.forwardedFields.count + min(spliced.length, Self.copiedBodyBytesMax))
            call.outgoing.append("POST ")
            call.outgoing.append(settings.pathPrefix)
            call.outgoing.append(call.path)
            call.outgoing.append(" HTTP/1.1\r\nhost: ")
            call.outgoing.append(settings.host)
            call.outgoing.append("\r\ncontent-type: application/json\r\ncontent-length: ")
            call.outgoing.append(decimal: spliced.length)
            if let credential = settings.credential {
                call.outgoing.append("\r\nauthorization: ")
                call.outgoing.append(credential)
            }
            call.outgoing.appendLineEnd()
            call.forwardedFields.withBytes { call.outgoing.append($0) }
            call.outgoing.appendHeadEnd()
            call.sendsClientBody = spliced.isUnchanged && body.count > Self.copiedBodyBytesMax
            if !call.sendsClientBody { spliced.write(body, added: added.bytes, into: &call.outgoing) }
        }
    }

    private enum Written { case whole, early, broken, clientGone, stalled }

    /// Sends the request; stops when the replica answers before it has all of it.
    private func writeOut(_ call: UpstreamCall, on connection: ClientConnection) async -> Written {
        var sent = 0
        var tookBytesAt = loop.now
        let bodyCount = call.sendsClientBody ? call.client.bodyRange.count : 0
        let total = call.outgoing.count + bodyCount
        let stall = call.client.settings.writeStall
        while sent < total {
            let result = writeSome(call, on: connection.stream, from: sent)
            switch result {
            case .wrote(let count):
                sent += count
                tookBytesAt = loop.now
                continue
            case .failed: return .broken
            case .wouldBlock: break
            }
            if connection.stream.canRead { return .early }
            if call.client.isClientGone { return .clientGone }
            if call.isReplicaDead { return .broken }
            if await call.parking.park(until: min(tookBytesAt + stall, call.deadline)) == .deadline { return .stalled }
        }
        return .whole
    }

    private func writeSome(_ call: UpstreamCall, on stream: Stream, from sent: Int) -> Stream.WriteResult {
        guard call.sendsClientBody else {
            return call.outgoing.withUnsafeBytes { stream.write(UnsafeRawBufferPointer(rebasing: $0[sent...])) }
        }
        return call.client.withBody { body in
            call.outgoing.withUnsafeBytes { head in
                if sent >= head.count {
                    return stream.write(UnsafeRawBufferPointer(rebasing: body[(sent - head.count)...]))
                }
                return stream.write(UnsafeRawBufferPointer(rebasing: head[sent...]), body)
            }
        }
    }

    // MARK: The reply

    private func exchange(
        _ call: UpstreamCall, on connection: ClientConnection, with replica: Replica, in pool: Pool,
        isContinuation: Bool
    ) async -> SendOutcome {
        let isReused = connection.repliesBefore > 0
        func broken(_ failure: UpstreamFailure) -> SendOutcome {
            connection.close()
            return .failed(failure, isStale: isReused && !connection.hasReplyBytes && failure == .reset)
        }
        if call.sentAt == .zero { call.sentAt = loop.now }
        switch await writeOut(call, on: connection) {
        case .whole: call.outgoing.release()  // A resume writes another one.
        case .early: connection.isSpoiled = true
        case .broken:
            if call.isReplicaDead { return broken(.declaredDead) }
            // The replica may have said why before it closed.
            guard connection.stream.canRead else { return broken(.reset) }
            connection.isSpoiled = true
        case .clientGone:
            connection.close(reset: true)
            return .clientGone
        case .stalled: return broken(loop.now >= call.deadline ? .totalTimeout : .stalled)
        }
        let sentAt = loop.now
        let deadline = min(sentAt + firstByteLimit(of: call, in: pool), call.deadline)
        var panicEnd = panicEnd(of: call, at: replica, in: pool)
        while true {
            do throws(HTTPViolation) {
                if try connection.parseHead(limits: pool.settings.replyHead, method: .post) { break }
            } catch {
                return broken(.malformedReply)
            }
            switch connection.receive() {
            case .bytes: continue
            case .end, .failed: return broken(connection.hasReplyBytes ? .cut : .reset)
            case .wouldBlock: break
            }
            if call.client.isClientGone {
                connection.close(reset: true)
                return .clientGone
            }
            if call.isReplicaDead { return broken(.declaredDead) }
            if await call.parking.park(until: min(deadline, panicEnd)) == .deadline {
                if loop.now < deadline {
                    guard replica.isServing else { return broken(.declaredDead) }
                    panicEnd = .never  // It came back meanwhile.
                    continue
                }
                return broken(loop.now >= call.deadline ? .totalTimeout : .firstByteTimeout)
            }
        }
        return await readReply(call, on: connection, with: replica, in: pool, sentAt: sentAt, isContinuation)
    }

    /// How long the reply's first byte is waited for at a replica that is down and gives no sign of life: everybody is
    /// down, and the client should hear so. One time for all such replicas together.
    private func panicEnd(of call: UpstreamCall, at replica: Replica, in pool: Pool) -> Moment {
        if replica.isServing { return .never }
        let health = pool.settings.health
        let isSilent = Panic.isSilent(
            replica.snapshot, sinceAnswer: loop.now - replica.answeredAt, window: health.interval * Int64(health.fall))
        guard isSilent else { return .never }
        if call.panicEnd == .never { call.panicEnd = loop.now + Panic.patience }
        return call.panicEnd
    }

    private func firstByteLimit(of call: UpstreamCall, in pool: Pool) -> Interval {
        pool.settings.timeouts.firstByte(
            bodyBytes: call.sentBodyBytes, isStream: call.request?.isStream ?? false)
    }

    private func readReply(
        _ call: UpstreamCall, on connection: ClientConnection, with replica: Replica, in pool: Pool, sentAt: Moment,
        _ isContinuation: Bool
    ) async -> SendOutcome {
        guard connection.head.status == 200 else {
            let retryAfter = connection.withReply { Self.retryAfter(connection.head, $0) }
            _ = await gather(call, on: connection, in: pool, max: Self.errorBytesMax, deadline: sentAt + .seconds(10))
            let body = connection.body.withUnsafeBytes { Array($0) }
            return .status(connection.head.status, body: body, retryAfter: retryAfter)
        }
        let type = connection.withReply { Self.contentType(connection.head, $0) }
        func refuse(_ failure: UpstreamFailure) -> SendOutcome {
            connection.close()
            return .failed(failure, isStale: false)
        }
        if let encoding = connection.head.first(.contentEncoding),
            !connection.withReply({ $0.extracting(encoding).equalsIgnoringCase("identity") })
        {
            return refuse(.encodedReply)
        }
        if call.request?.isStream == true {
            guard type == .eventStream else { return refuse(.wrongContentType) }
            return await relay(call, on: connection, in: pool, sentAt: sentAt, isContinuation: isContinuation)
        }
        guard type == .json else { return refuse(.wrongContentType) }
        return await readWhole(call, on: connection, with: replica, in: pool, sentAt: sentAt)
    }

    private func readWhole(
        _ call: UpstreamCall, on connection: ClientConnection, with replica: Replica, in pool: Pool, sentAt: Moment
    ) async -> SendOutcome {
        let deadline = min(sentAt + firstByteLimit(of: call, in: pool), call.deadline)
        if let outcome = await gather(
            call, on: connection, in: pool, max: Self.wholeReplyBytesMax, deadline: deadline)
        {
            connection.close(reset: outcome.isClientGone)
            return outcome
        }
        // A second reply, or the end of a longer one: which of the two framings the replica meant, nobody knows.
        if connection.hasSurplus { return .failed(.malformedReply, isStale: false) }
        if let failure = readFacts(of: connection, into: call) { return failed(failure, call) }
        call.firstContentAt = loop.now
        return .whole(WholeReply(connection: connection, replica: replica))
    }

    /// What the reply says, into the call. - Returns: why it is no answer; nil when it is one.
    private func readFacts(of connection: ClientConnection, into call: UpstreamCall) -> UpstreamFailure? {
        do throws(JSONProblem) {
            let reply = try connection.withBody { body throws(JSONProblem) in try ChatReply.read(body) }
            if reply.isError {
                connection.withBody { call.keep(inBandError: $0) }
                return .inBandError
            }
            if reply.chunk.isAborted { return .aborted }
            if !reply.isComplete { return .missingEnd }
            call.usage = reply.usage
            call.reply = reply.chunk
            return nil
        } catch {
            return connection.body.isEmpty ? .emptyAnswer : .malformedReply
        }
    }

    /// An error inside a 200 is the replica's failure, unless it says that the request is to blame: then it counts as
    /// the status that it should have had.
    private func failed(_ failure: UpstreamFailure, _ call: UpstreamCall) -> SendOutcome {
        if failure == .inBandError, !call.relay.hasContent,
            let status = UpstreamError.statusOfRefusal(inBand: call.inBandError.span)
        {
            return .status(status, body: call.inBandError, retryAfter: nil)
        }
        return .failed(failure, isStale: false)
    }

    /// Reads the whole body. - Returns: nil when it is there.
    private func gather(
        _ call: UpstreamCall, on connection: ClientConnection, in pool: Pool, max: Int, deadline: Moment
    ) async -> SendOutcome? {
        while true {
            do throws(HTTPViolation) {
                switch try connection.readBody(into: &connection.body, limits: pool.settings.replyChunks) {
                case .ended: return nil
                case .cut: return .failed(.cut, isStale: false)
                case .bytes:
                    if connection.body.count > max { return .failed(.oversizedEvent, isStale: false) }
                    continue
                case .wouldBlock: break
                }
            } catch {
                return .failed(.malformedReply, isStale: false)
            }
            if call.client.isClientGone { return .clientGone }
            if call.isReplicaDead { return .failed(.declaredDead, isStale: false) }
            if await call.parking.park(until: deadline) == .deadline {
                return .failed(loop.now >= call.deadline ? .totalTimeout : .stalled, isStale: false)
            }
        }
    }

    // MARK: Streams

    private func relay(
        _ call: UpstreamCall, on connection: ClientConnection, in pool: Pool, sentAt: Moment, isContinuation: Bool
    ) async -> SendOutcome {
        let relay = call.relay
        let timeouts = pool.settings.timeouts
        relay.start(call, from: connection, isContinuation: isContinuation, now: loop.now)
        defer { relay.stop() }
        while true {
            switch relay.end {
            case .complete: return .streamed
            case .clientGone:
                connection.close(reset: true)
                return .clientGone
            case .failed(let failure):
                connection.close(reset: true)
                return failed(failure, call)
            case nil: break
            }
            let silence = silenceEnd(of: call, in: pool)
            if loop.now >= silence { return timedOut(.declaredDead, connection) }
            let hold = call.isHeadSent ? Moment.never : sentAt + timeouts.headHold
            // The first content wakes nobody: until it is here, a stall may begin at any moment.
            let mayStall = relay.hasContent ? Moment.never : loop.now + timeouts.streamStall
            let next = min(stallEnd(of: call, timeouts, sentAt), hold, call.deadline, mayStall, silence)
            guard await call.parking.park(until: next) == .deadline else { continue }
            if loop.now >= call.deadline { return timedOut(.totalTimeout, connection) }
            // Events that came while the task slept have moved it.
            if loop.now >= stallEnd(of: call, timeouts, sentAt) {
                guard call.client.hasUnsent else {
                    return timedOut(relay.hasContent ? .stalled : .firstContentTimeout, connection)
                }
                connection.close(reset: true)
                return .clientGone
            }
            if loop.now >= hold { relay.sendHeadEarly(call) }
        }
    }

    /// When the stream counts as stalled, by whom it waits for: a client that takes nothing isn't the replica's fault.
    private func stallEnd(of call: UpstreamCall, _ timeouts: UpstreamTimeouts, _ sentAt: Moment) -> Moment {
        if call.client.hasUnsent { return call.client.tookBytesAt + call.client.settings.writeStall }
        if call.relay.hasContent { return call.relay.lastEventAt + timeouts.streamStall }
        return sentAt + timeouts.firstContent(bodyBytes: call.sentBodyBytes)
    }

    private func timedOut(_ failure: UpstreamFailure, _ connection: ClientConnection) -> SendOutcome {
        connection.close(reset: true)
        return .failed(failure, isStale: false)
    }

    // MARK: Fields

    private enum ContentType { case json, eventStream, other }

    private static func contentType(_ head: ReplyHead, _ bytes: Span<UInt8>) -> ContentType {
        guard let value = head.first(.contentType) else { return .other }
        let text = bytes.extracting(value)
        var end = 0
        while end < text.count, text[end] != UInt8(ascii: ";"), text[end] != UInt8(ascii: " ") { end += 1 }
        let type = text.extracting(0..<end)
        if type.equalsIgnoringCase("application/json") { return .json }
        if type.equalsIgnoringCase("text/event-stream") { return .eventStream }
        return .other
    }

    /// `retry-after-ms`, or `Retry-After` in seconds. A date is not worth a clock's difference: it counts as absent.
    private static func retryAfter(_ head: ReplyHead, _ bytes: Span<UInt8>) -> Interval? {
        func number(_ range: ByteRange?) -> Int64? {
            guard let range, range.count > 0, range.count < 10 else { return nil }
            var value: Int64 = 0
            for index in range.range {
                guard bytes[index] &- 0x30 < 10 else { return nil }
                value = value * 10 + Int64(bytes[index] - 0x30)
            }
            return value
        }
        if let milliseconds = number(head.first(.retryAfterMs)) { return .milliseconds(milliseconds) }
        return number(head.first(.retryAfter)).map { .seconds($0) }
    }
}

extension LoopUpstreams.SendOutcome {
    var isClientGone: Bool { if case .clientGone = self { true } else { false } }
}
