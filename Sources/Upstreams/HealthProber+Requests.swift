import Balancing
import GatewayCore
import Glibc
import HTTPConnections
import Reactor
import Wire

/// The prober's own requests. They pass no limit, are charged to nobody and counted nowhere.
extension HealthProber {
    /// Asks the replica for its health page: on the connection of the probe before, if there is one.
    ///
    /// - Returns: why the probe failed; nil when it was answered with 200 in time.
    func requestPage(of watch: Watch) async -> ProbeFailure? {
        let parking = watch.takeParking()
        defer { watch.give(back: parking) }
        let deadline = loop.now + pool.settings.probeTimeout
        if let kept = watch.takeConnection(parking) {
            let failure = await requestPage(of: watch, on: kept, parking, until: deadline)
            // Closed while it was idle, or just before: that says nothing, a new one does.
            guard let failure, failure.reason == .refused, !kept.hasReplyBytes, !isStopped else { return failure }
        }
        do throws(ProbeFailure) {
            let connection = try await open(to: watch.replica, parking, until: deadline)
            return await requestPage(of: watch, on: connection, parking, until: deadline)
        } catch {
            return error
        }
    }

    private func requestPage(
        of watch: Watch, on connection: ClientConnection, _ parking: Parking, until deadline: Moment
    ) async -> ProbeFailure? {
        do throws(ProbeFailure) {
            try await send(watch.replica.probeRequest, .get, on: connection, parking, until: deadline)
            let status = connection.head.status
            guard status == 200 else {
                throw ProbeFailure(reason: .serverError, text: "its probe was answered with \(status)")
            }
        } catch {
            connection.close()
            return error
        }
        // The rest of a page that is not here at once is not worth waiting for.
        if connection.takeBody() { watch.keep(connection) } else { connection.close() }
        return nil
    }

    /// Has the model generate one token.
    ///
    /// - Returns: why that failed; nil for a complete answer, and for a refusal of these words by a replica that works.
    func generate(at watch: Watch, model name: String) async -> HealthMachine.Reason? {
        let replica = watch.replica
        let model = pool.settings.models.first { $0.name == name }.map { $0.upstreamName ?? $0.name } ?? name
        var body = ByteWriter()
        body.append("{\"model\":")
        body.append(jsonString: model)
        body.append(",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":1,\"stream\":false}")
        var request = ByteWriter()
        request.append(replica.requestHeads.chat)
        request.append(decimal: body.count)
        request.append("\r\nuser-agent: weir-probe\r\nconnection: close\r\n\r\n")
        request.append(body.bytes)
        let parking = Parking(on: loop)
        defer { parking.close() }
        do throws(ProbeFailure) {
            let reply = try await generate(request, replica, parking, until: loop.now + pool.settings.deepTimeout)
            watch.problem = "it generates nothing: status \(reply.status)"
            switch reply.status {
            case 200:
                let answer = try? ChatChunk.read(reply.body.span)
                return answer?.isCompleteReply == true ? nil : .serverError
            // Busy with others is alive. Our own credential refused is as good as down.
            case 401, 403: return .serverError
            case 400..<500: return nil
            default: return .serverError
            }
        } catch {
            return error.reason
        }
    }

    /// Sends the request on a connection of its own and reads the reply whole.
    private func generate(
        _ request: borrowing ByteWriter, _ replica: Replica, _ parking: Parking, until deadline: Moment
    ) async throws(ProbeFailure) -> (status: Int, body: [UInt8]) {
        let connection = try await open(to: replica, parking, until: deadline)
        defer { connection.close() }
        try await send(request.withUnsafeBytes { Array($0) }, .post, on: connection, parking, until: deadline)
        while true {
            guard let read = try? connection.readBody(into: &connection.body, limits: pool.settings.replyChunks),
                connection.body.count <= Self.replyBytesMax
            else { throw ProbeFailure(reason: .serverError) }
            switch read {
            case .ended: return (connection.head.status, connection.body.withUnsafeBytes { Array($0) })
            case .cut: throw ProbeFailure(reason: .refused)
            case .bytes: continue
            case .wouldBlock: try await wait(parking, until: deadline)
            }
        }
    }

    // MARK: Sending

    struct ProbeFailure: Error {
        var reason: HealthMachine.Reason
        /// Where it was the kernel or TLS, what they said, or the status that came.
        var text: String?

        /// In words, for the log.
        var problem: String { text ?? reason.text }
    }

    /// Bytes that the answer to a deep probe may have.
    private static let replyBytesMax = 64 << 10
    /// While nobody serves, a connection that is not made soon is tried anew rather than waited for.
    private static let pressingConnect = Interval.milliseconds(500)

    private func open(
        to replica: Replica, _ parking: Parking, until deadline: Moment
    ) async throws(ProbeFailure) -> ClientConnection {
        do throws(SocketError) {
            let connection = try await ClientConnection.open(
                to: replica.state.address, tls: replica.tlsPeer, parking: parking,
                deadline: pool.isAnyServing ? deadline : min(deadline, loop.now + Self.pressingConnect))
            connection.stream.handler = parking
            return connection
        } catch {
            throw ProbeFailure(reason: error.code == ETIMEDOUT ? .timedOut : .refused, text: error.description)
        }
    }

    /// Sends a request and reads the reply's head.
    private func send(
        _ request: [UInt8], _ method: HTTPMethod, on connection: ClientConnection, _ parking: Parking,
        until deadline: Moment
    ) async throws(ProbeFailure) {
        var sent = 0
        while sent < request.count {
            let result = request.withUnsafeBytes {
                connection.stream.write(UnsafeRawBufferPointer(rebasing: $0[sent...]))
            }
            switch result {
            case .wrote(let count): sent += count
            case .failed: throw ProbeFailure(reason: .refused)
            case .wouldBlock: try await wait(parking, until: deadline)
            }
        }
        while true {
            guard let isThere = try? connection.parseHead(limits: pool.settings.replyHead, method: method) else {
                throw ProbeFailure(reason: .serverError)
            }
            if isThere { return }
            switch connection.receive() {
            case .bytes: continue
            case .end, .failed: throw ProbeFailure(reason: .refused)
            case .wouldBlock: try await wait(parking, until: deadline)
            }
        }
    }

    private func wait(_ parking: Parking, until deadline: Moment) async throws(ProbeFailure) {
        if await parking.park(until: deadline) == .deadline { throw ProbeFailure(reason: .timedOut) }
    }
}
