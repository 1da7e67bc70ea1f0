import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// The request on its way to the replica.
extension LoopUpstreams {
    /// Writes the head, and the body unless it goes on as it came. Everything towards a replica is made anew.
    @inline(__always)
    private func write(_ call: UpstreamCall, for replica: Replica) {
        call.sending.tookBytesAt = loop.now
        if call.sentAt == .zero { call.sentAt = loop.now }
        buffers.requests.lend(to: &call.outgoing)
        call.outgoing.removeAll()
        // Most requests go on as they came.
        if !call.isStream, !call.hasEdits, !replica.isWeir {
            call.idTrust = .none
            writeHead(call, for: replica, bodyBytes: call.client.bodyRange.count, isBodyUnchanged: true)
        } else {
            writeEdited(call, for: replica)
        }
    }

    @inline(never)
    private func writeEdited(_ call: UpstreamCall, for replica: Replica) {
        let way = call.sending.way
        call.idTrust = call.asksUsageOnly ? .none : idTrust(of: replica, for: call)
        let isPlain = way == nil && call.idTrust == .none && !replica.isWeir && !call.asksUsageOnly
        let edits = isPlain ? call.edits : edits(for: call, to: replica, way: way)
        call.client.withRequest { bytes in
            let body = bytes.extracting(call.client.bodyRange)
            guard let request = call.requestAgain else { return }
            var added = ByteWriter()
            let spliced = edits.splice(body, of: request, added: &added)
            writeHead(call, for: replica, bodyBytes: spliced.length, isBodyUnchanged: spliced.isUnchanged)
            if !spliced.isUnchanged { spliced.write(body, added: added.bytes, into: &call.outgoing) }
        }
    }

    /// Writes the head. An unchanged body is sent from where it was received.
    private func writeHead(_ call: UpstreamCall, for replica: Replica, bodyBytes: Int, isBodyUnchanged: Bool) {
        call.sentBodyBytes = bodyBytes
        call.sendsClientBody = isBodyUnchanged
        let heads = replica.requestHeads
        // What differs between the three is shorter than 64 bytes; a length has at most 20 digits.
        let room = heads.chat.count + 88 + call.forwardedFields.count
        call.outgoing.append(upTo: room) { head in
            switch call.sending.way == .tokenIDs ? .completion : call.kind {
            case .completion: head.put(heads.completion)
            case .embedding: head.put(heads.embedding)
            case .chat, nil: head.put(heads.chat)
            }
            head.put(decimal: bodyBytes)
            head.put("\r\n")
            call.forwardedFields.withBytes { head.put($0) }
            head.put("\r\n")
        }
    }

    /// Sends the request; stops when the replica answers before it has all of it. An interim reply is no answer, nor is
    /// what TLS has to say for itself.
    @inline(__always)
    func writeOut(_ call: UpstreamCall, _ connection: ClientConnection, _ link: Link) -> Moment? {
        if call.sending.tookBytesAt == .zero { write(call, for: link.replica) }
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
                return awaitHead(call, link.pool)
            case .wouldBlock: break
            }
            if connection.stream.canRead, takeEarlyAnswer(call, connection, link) { return nil }
            return waitToWrite(call, connection, link.pool)
        }
        buffers.requests.takeBack(&call.outgoing)  // A resume writes another one.
        return awaitHead(call, link.pool)
    }

    /// Looks at what came before the request is sent whole. - Returns: whether it is an answer, or the end.
    @inline(never)
    private func takeEarlyAnswer(_ call: UpstreamCall, _ connection: ClientConnection, _ link: Link) -> Bool {
        // An answer's clocks count from here.
        _ = awaitHead(call, link.pool)
        guard lookForHead(call, connection, link) else {
            call.sending.phase = .writing
            return false
        }
        connection.isSpoiled = true
        return true
    }

    @inline(never)
    private func waitToWrite(_ call: UpstreamCall, _ connection: ClientConnection, _ pool: Pool) -> Moment? {
        if endIfAbandoned(call, connection, pool) { return nil }
        if call.sending.isLate {
            return broken(loop.now >= call.deadline ? .totalTimeout : .stalled, call, connection)
        }
        return min(call.sending.tookBytesAt + call.client.settings.writeStall, call.deadline)
    }

    @inline(__always)
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
}
