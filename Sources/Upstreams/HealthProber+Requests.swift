import Balancing
import GatewayCore
import Glibc
import HTTPConnections
import Reactor
import Wire

/// The prober's own requests. They pass no limit, are charged to nobody and counted nowhere.
extension HealthProber {
    /// - Returns: why the probe failed; nil when it was answered with 200 in time.
    func probe(_ replica: Replica) async -> ProbeFailure? {
        var request = ByteWriter()
        Self.append("GET", replica.settings.probePath, replica, to: &request)
        request.append("\r\n")
        let parking = Parking(on: loop)
        defer { parking.close() }
        let deadline = loop.now + pool.settings.probeTimeout
        switch await exchange(request, replica, method: .get, parking: parking, deadline: deadline) {
        case .success(let reply):
            guard reply.status != 200 else { return nil }
            return ProbeFailure(reason: .serverError, text: "its probe was answered with \(reply.status)")
        case .failure(let failure): return failure
        }
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
        Self.append("POST", "/v1/chat/completions", replica, to: &request)
        request.append("content-type: application/json\r\n")
        request.appendContentLength(body.count)
        request.appendHeadEnd()
        request.append(body.bytes)
        let parking = Parking(on: loop)
        defer { parking.close() }
        let deadline = loop.now + pool.settings.deepTimeout
        switch await exchange(request, replica, method: .post, parking: parking, deadline: deadline) {
        case .failure(let failure): return failure.reason
        case .success(let reply):
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
        }
    }

    private static func append(
        _ method: StaticString, _ path: String, _ replica: Replica, to request: inout ByteWriter
    ) {
        request.append(method)
        request.append(" ")
        request.append(replica.settings.pathPrefix)
        request.append(path)
        request.append(" HTTP/1.1\r\n")
        request.appendField("host", replica.settings.host)
        request.appendField("user-agent", "weir-probe")
        request.appendField("connection", "close")
        if let credential = replica.settings.credential { request.appendField("authorization", credential) }
    }

    struct ProbeFailure: Error {
        var reason: HealthMachine.Reason
        /// Where it was the kernel or TLS, what they said, or the status that came.
        var text: String?

        /// In words, for the log.
        var problem: String { text ?? reason.text }
    }

    private struct ProbeReply {
        var status: Int
        /// Only of a POST's reply.
        var body: [UInt8] = []
    }

    /// Bytes that the answer to a deep probe may have.
    private static let replyBytesMax = 64 << 10
    /// While nobody serves, a connection that is not made soon is tried anew rather than waited for.
    private static let pressingConnect = Interval.milliseconds(500)

    /// Sends a request on a connection of its own and reads the reply.
    private func exchange(
        _ request: borrowing ByteWriter, _ replica: Replica, method: HTTPMethod, parking: Parking, deadline: Moment
    ) async -> Result<ProbeReply, ProbeFailure> {
        let connection: ClientConnection
        do throws(SocketError) {
            connection = try await ClientConnection.open(
                to: replica.state.address, tls: replica.tlsPeer, parking: parking,
                deadline: pool.isAnyServing ? deadline : min(deadline, loop.now + Self.pressingConnect))
        } catch {
            return .failure(
                ProbeFailure(reason: error.code == ETIMEDOUT ? .timedOut : .refused, text: error.description))
        }
        connection.stream.handler = parking
        defer { connection.close() }
        var sent = 0
        while sent < request.count {
            let result = request.withUnsafeBytes {
                connection.stream.write(UnsafeRawBufferPointer(rebasing: $0[sent...]))
            }
            switch result {
            case .wrote(let count): sent += count
            case .failed: return .failure(ProbeFailure(reason: .refused))
            case .wouldBlock:
                if await parking.park(until: deadline) == .deadline { return .failure(ProbeFailure(reason: .timedOut)) }
            }
        }
        while true {
            do throws(HTTPViolation) {
                if try connection.parseHead(limits: pool.settings.replyHead, method: method) {
                    break
                }
            } catch {
                return .failure(ProbeFailure(reason: .serverError))
            }
            switch connection.receive() {
            case .bytes: continue
            case .end, .failed: return .failure(ProbeFailure(reason: .refused))
            case .wouldBlock:
                if await parking.park(until: deadline) == .deadline { return .failure(ProbeFailure(reason: .timedOut)) }
            }
        }
        if method == .get { return .success(ProbeReply(status: connection.head.status)) }
        while true {
            do throws(HTTPViolation) {
                switch try connection.readBody(into: &connection.body, limits: pool.settings.replyChunks) {
                case .ended:
                    let body = connection.body.withUnsafeBytes { Array($0) }
                    return .success(ProbeReply(status: connection.head.status, body: body))
                case .cut: return .failure(ProbeFailure(reason: .refused))
                case .bytes where connection.body.count > Self.replyBytesMax:
                    return .failure(ProbeFailure(reason: .serverError))
                case .bytes: continue
                case .wouldBlock: break
                }
            } catch {
                return .failure(ProbeFailure(reason: .serverError))
            }
            if await parking.park(until: deadline) == .deadline { return .failure(ProbeFailure(reason: .timedOut)) }
        }
    }
}
