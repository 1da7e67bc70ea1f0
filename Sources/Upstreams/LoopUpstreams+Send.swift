import Balancing
import GatewayCore
import Glibc
import HTTPConnections
import Reactor
import Telemetry
import Wire

/// One send: a connection, the request on it, the reply's head, and then its body or its events. Here
/// are the steps that ``goOn(_:isLate:)`` takes, each of which goes as far as it gets. What they know lies in the call,
/// so that the task of an open stream holds next to nothing.
extension LoopUpstreams {
    /// A reply held whole may have this many bytes.
    private static let wholeReplyBytesMax = 16 << 20
    /// Kept of a reply that only carries an error.
    private static let errorBytesMax = 64 << 10
    /// A body from here on is sent from where it was received, without a copy.
    private static let copiedBodyBytesMax = 16 << 10

    /// Takes an idle connection, or begins to make one. - Returns: nil when the kernel refuses at once.
    func begin(
        _ call: UpstreamCall, to replica: Replica, in route: Route, way: Balancing.ResumeWay?, onNewConnection: Bool
    ) -> ClientConnection? {
        call.sending = Sending(way: way)
        if !replica.isServing { call.sending.panicEnd = panicEnd(of: call, at: replica, in: route.pool) }
        if !onNewConnection, let idle = takeIdle(replica, in: route, handler: call.parking) {
            call.sending.phase = .writing
            return idle
        }
        call.sending.deadline = min(
            loop.now + route.pool.settings.timeouts.connect, call.deadline, call.sending.panicEnd)
        return try? ClientConnection(
            connectingTo: replica.state.address, tls: replica.tlsPeer, handler: call.parking,
            spare: buffers.replies, recent: buffers.recentReplies)
    }

    /// Goes on with a send as far as it gets without waiting.
    ///
    /// - Returns: until when to wait, at most; nil when the send has come to its outcome.
    @inline(never)
    func advance(_ call: UpstreamCall, _ connection: ClientConnection) -> Moment? {
        guard let replica = call.replica, let pool = call.pool else { return nil }
        while call.outcome == nil {
            let wait: Moment?
            switch call.sending.phase {
            case .connecting: wait = connect(call, connection, pool)
            case .writing: wait = writeOut(call, connection, replica, pool)
            case .awaitingHead: wait = readHead(call, connection, pool)
            case .readingWhole: wait = readWhole(call, connection, pool)
            case .readingError: wait = readError(call, connection, pool)
            case .relaying: wait = relay(call, connection, pool)
            }
            if let wait { return wait }
            call.sending.isLate = false
        }
        return nil
    }

    /// The outcome. The connection can carry another request, or is closed, or has a whole reply in it.
    func end(
        _ call: UpstreamCall, _ connection: ClientConnection, _ replica: Replica, _ pool: Pool
    ) -> SendOutcome {
        buffers.requests.takeBack(&call.outgoing)
        let outcome = call.outcome.take() ?? .failed(.reset, isStale: false)
        if case .whole = outcome { return outcome }
        keep(connection, replica, in: pool)
        return outcome
    }

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

    // MARK: The request

    /// Writes the head, and the body unless it is long and unchanged. Everything towards a replica is made anew.
    private func write(_ call: UpstreamCall, for replica: Replica) {
        let way = call.sending.way
        call.sending.tookBytesAt = loop.now
        if call.sentAt == .zero { call.sentAt = loop.now }
        call.idTrust = call.asksUsageOnly ? .none : idTrust(of: replica, for: call)
        let isPlain = way == nil && call.idTrust == .none && replica.settings.kind != .weir && !call.asksUsageOnly
        buffers.requests.lend(to: &call.outgoing)
        call.outgoing.removeAll()
        if isPlain, !call.hasEdits { return writeUnchanged(call, for: replica) }
        let edits = isPlain ? call.edits : edits(for: call, to: replica, way: way)
        call.client.withRequest { bytes in
            let body = bytes.extracting(call.client.bodyRange)
            guard let request = call.request else { return }
            var added = ByteWriter()
            let spliced = edits.splice(body, of: request, added: &added)
            call.sendsClientBody = spliced.isUnchanged && body.count > Self.copiedBodyBytesMax
            writeHead(call, for: replica, bodyBytes: spliced.length)
            if !call.sendsClientBody { spliced.write(body, added: added.bytes, into: &call.outgoing) }
        }
    }

    /// The same for what goes on as it came: most requests.
    private func writeUnchanged(_ call: UpstreamCall, for replica: Replica) {
        let count = call.client.bodyRange.count
        call.sendsClientBody = count > Self.copiedBodyBytesMax
        writeHead(call, for: replica, bodyBytes: count)
        if !call.sendsClientBody { call.client.withBody { call.outgoing.append($0) } }
    }

    private func writeHead(_ call: UpstreamCall, for replica: Replica, bodyBytes: Int) {
        let prefix = replica.settings.pathPrefix
        let fields = call.forwardedFields.count
        call.sentBodyBytes = bodyBytes
        call.outgoing.reserve(128 + fields + prefix.utf8.count + replica.requestHead.count + Self.copiedBodyBytesMax)
        call.outgoing.append(upTo: 128 + fields + prefix.utf8.count + replica.requestHead.count) { head in
            head.put("POST ")
            if !prefix.isEmpty { head.put(prefix) }
            head.put(call.sending.way == .tokenIDs ? "/v1/completions" : call.path)
            head.put(replica.requestHead)
            head.put(decimal: bodyBytes)
            head.put("\r\n")
            call.forwardedFields.withBytes { head.put($0) }
            head.put("\r\n")
        }
    }

    /// Sends the request; stops when the replica answers before it has all of it.
    private func writeOut(
        _ call: UpstreamCall, _ connection: ClientConnection, _ replica: Replica, _ pool: Pool
    ) -> Moment? {
        if call.sending.tookBytesAt == .zero { write(call, for: replica) }
        let total = call.outgoing.count + (call.sendsClientBody ? call.client.bodyRange.count : 0)
        while call.sending.sent < total {
            switch writeSome(call, on: connection.stream, from: call.sending.sent) {
            case .wrote(let count):
                call.sending.sent += count
                call.sending.tookBytesAt = loop.now
                continue
            case .failed:
                // The replica may have said why before it closed.
                guard connection.stream.canRead else { return broken(.reset, call, connection) }
                connection.isSpoiled = true
                return awaitHead(call, pool)
            case .wouldBlock: break
            }
            if connection.stream.canRead {
                connection.isSpoiled = true
                return awaitHead(call, pool)
            }
            if endIfAbandoned(call, connection, pool) { return nil }
            if call.sending.isLate {
                return broken(loop.now >= call.deadline ? .totalTimeout : .stalled, call, connection)
            }
            return min(call.sending.tookBytesAt + call.client.settings.writeStall, call.deadline)
        }
        buffers.requests.takeBack(&call.outgoing)  // A resume writes another one.
        return awaitHead(call, pool)
    }

    private func awaitHead(_ call: UpstreamCall, _ pool: Pool) -> Moment? {
        let limit = pool.settings.timeouts.firstByte(
            bodyBytes: call.sentBodyBytes, isStream: call.isStream)
        call.sending.phase = .awaitingHead
        call.sending.sentAt = loop.now
        call.sending.deadline = min(loop.now + limit, call.deadline)
        return nil
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

    private func readHead(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        while true {
            do throws(HTTPViolation) {
                if try connection.parseHead(limits: pool.settings.replyHead, method: .post) {
                    return beginReply(call, connection, pool)
                }
            } catch {
                return broken(.malformedReply, call, connection)
            }
            switch connection.receive() {
            case .bytes: continue
            case .end, .failed: return broken(connection.hasReplyBytes ? .cut : .reset, call, connection)
            case .wouldBlock: break
            }
            if endIfAbandoned(call, connection, pool) { return nil }
            if call.sending.isLate, loop.now >= call.sending.deadline {
                return broken(loop.now >= call.deadline ? .totalTimeout : .firstByteTimeout, call, connection)
            }
            if loop.now >= call.sending.panicEnd {
                guard call.replica?.isServing == true else { return broken(.declaredDead, call, connection) }
                call.sending.panicEnd = .never  // It came back meanwhile.
            }
            return min(call.sending.deadline, call.sending.panicEnd)
        }
    }

    /// The head is there: what it promises decides how its body is read.
    private func beginReply(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
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
        if let replica = call.replica, replica.settings.kind == .generic, let server = connection.first(.server) {
            connection.withReply { replica.state.answered(by: $0.extracting(server)) }
        }
        if call.isStream {
            guard type == .eventStream else { return broken(.wrongContentType, call, connection) }
            call.sending.phase = .relaying
            if call.asksUsageOnly {
                call.relay.answer.openToCount()
            } else {
                call.relay.answer.open(call.sending.way, ids: call.idTrust)
            }
            if call.isHeadSent { call.forgetRequest() }
            call.relay.start(call, from: connection, now: loop.now)
        } else {
            guard type == .json else { return broken(.wrongContentType, call, connection) }
            call.sending.phase = .readingWhole
        }
        return nil
    }

    /// The connection is of no use any more. A request that dies on a reused one before any byte came may go out again.
    private func broken(_ failure: UpstreamFailure, _ call: UpstreamCall, _ connection: ClientConnection) -> Moment? {
        let isStale = failure == .reset && connection.repliesBefore > 0 && !connection.hasReplyBytes
        connection.close()
        call.outcome = .failed(failure, isStale: isStale)
        return nil
    }

    /// Ends a send whose client left, with a reset that tells the replica to stop generating, or whose replica was
    /// declared dead. - Returns: whether it did.
    private func endIfAbandoned(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Bool {
        if call.client.isClientGone {
            connection.close(reset: true)
            call.outcome = .clientGone
            return true
        }
        guard isGivenUp(call, in: pool) else { return false }
        _ = broken(.declaredDead, call, connection)
        return true
    }

    private func readWhole(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        switch connection.takeBody() ? .whole : gather(connection, pool, max: Self.wholeReplyBytesMax) {
        case .blocked: break
        case .broken(let failure): return broken(failure, call, connection)
        case .whole:
            // A second reply, or the end of a longer one: which of the two framings the replica meant, nobody knows.
            if connection.hasSurplus {
                call.outcome = .failed(.malformedReply, isStale: false)
            } else if let failure = readFacts(of: connection, into: call) {
                call.outcome = failed(failure, call)
            } else {
                call.firstContentAt = loop.now
                call.wholeReply = connection
                call.outcome = .whole
            }
            return nil
        }
        if endIfAbandoned(call, connection, pool) { return nil }
        if call.sending.isLate {
            return broken(loop.now >= call.deadline ? .totalTimeout : .stalled, call, connection)
        }
        return call.sending.deadline
    }

    /// A reply that only carries an error: what has come of it in ten seconds is enough.
    private func readError(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        if case .blocked = gather(connection, pool, max: Self.errorBytesMax), !call.client.isClientGone,
            !isGivenUp(call, in: pool), !call.sending.isLate
        {
            return call.sending.sentAt + .seconds(10)
        }
        call.outcome = .status(
            connection.status, body: connection.body.withUnsafeBytes { Array($0) },
            retryAfter: call.sending.retryAfter)
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

    /// An error inside a 200 is the replica's failure, unless it says that the request is to blame: then it counts as
    /// the status that it should have had.
    private func failed(_ failure: UpstreamFailure, _ call: UpstreamCall) -> SendOutcome {
        let text = call.inBandError
        if failure == .inBandError, call.relay.answer.saysNothingNew,
            let status = UpstreamError.statusOfRefusal(inBand: text.span)
        {
            return .status(status, body: text, retryAfter: nil)
        }
        return .failed(failure, isStale: false)
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

    // MARK: Streams

    /// The relay works by itself, whenever one of the sockets is ready; here its end is seen, and its clocks.
    private func relay(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
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
    private func timedOut(
        _ failure: UpstreamFailure, _ call: UpstreamCall, _ connection: ClientConnection
    ) -> Moment? {
        call.relay.wasCut(call, failure)
        let isComplete = call.relay.end == .complete
        return endRelay(isComplete ? .streamed : .failed(failure, isStale: false), call, breaking: connection)
    }

    private func endRelay(
        _ outcome: SendOutcome, _ call: UpstreamCall, breaking connection: ClientConnection? = nil
    ) -> Moment? {
        connection?.close(reset: true)
        call.relay.stop()
        call.outcome = outcome
        return nil
    }

    /// When the stream counts as stalled, by whom it waits for: a client that takes nothing isn't the replica's fault.
    private func stallEnd(of call: UpstreamCall, _ timeouts: UpstreamTimeouts, _ sentAt: Moment) -> Moment {
        if call.client.hasUnsent { return call.client.tookBytesAt + call.client.settings.writeStall }
        if call.relay.hasContent { return call.relay.lastEventAt + timeouts.streamStall }
        return sentAt + timeouts.firstContent(bodyBytes: call.sentBodyBytes)
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
