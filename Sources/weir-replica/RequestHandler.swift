#if Engine
import Engine
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// Answers the requests of one connection, one after the other.
struct RequestHandler {
    let server: ReplicaServer
    let connection: ServerConnection
    let doorbell: Doorbell

    func run() async {
        do throws(GatewayError) {
            while try await connection.receiveHead() {
                do throws(APIError) {
                    try await answer()
                } catch {
                    sendError(error)
                }
                try await connection.flush()
                guard connection.canContinue else { return }
            }
        } catch {
            guard error != .clientGone else { return }
            sendError(APIError(error))
            try? await connection.flush()
        }
    }

    /// - Throws: ``APIError`` while nothing of the reply is sent.
    private func answer() async throws(APIError) {
        if server.isDraining { connection.closesAfterReply = true }
        let path = connection.withRequest { $0.extracting(connection.head.path).text }
        switch path {
        case "/health", "/v1/health":
            try allow([.get, .head])
            _ = try server.model()
            sendJSON { $0.append(#"{"status":"ok"}"#) }
        case "/v1/models":
            try allow([.get, .head])
            let model = try server.model()
            sendJSON { writer in
                writer.append(#"{"object":"list","data":["#)
                model.write(into: &writer)
                writer.append("]}")
            }
        case "/v1/chat/completions": try await generate(.chat)
        case "/v1/completions": try await generate(.completion)
        default:
            guard path.hasPrefix("/v1/models/") else { throw .notFound(path) }
            try allow([.get, .head])
            let name = String(path.dropFirst("/v1/models/".count))
            let model = try server.model()
            guard name == model.name else { throw .modelNotFound(name) }
            sendJSON { model.write(into: &$0) }
        }
    }

    private func allow(_ methods: [HTTPMethod]) throws(APIError) {
        guard !methods.contains(connection.head.method) else { return }
        throw .methodNotAllowed(methods.map { "\($0.text)" }.joined(separator: ", "))
    }

    private func generate(_ kind: APIRequest.Kind) async throws(APIError) {
        try allow([.post])
        do throws(GatewayError) {
            try await connection.receiveBody()
        } catch {
            connection.closesAfterReply = true
            throw APIError(error)
        }
        let model = try server.model()
        let request = try connection.withRequest { bytes throws(APIError) in
            try APIRequest.read(bytes.extracting(connection.bodyRange), kind: kind)
        }
        guard request.model == model.name else { throw .modelNotFound(request.model) }
        let reply = APIReply(
            request, randomness: .random(in: .min ... .max), created: server.loop.wallNow.secondsSinceEpoch)
        var run = AnswerRun(handler: self, reply: reply)
        try await run.perform()
    }
}

// Replies.
extension RequestHandler {
    func sendError(_ error: APIError) {
        sendJSON(error: error) { error.write(into: &$0) }
    }

    func sendJSON(error: APIError? = nil, _ write: (inout ByteWriter) -> Void) {
        var body = ByteWriter()
        write(&body)
        var reply = ByteWriter(capacity: 256 + body.count)
        reply.appendStatusLine(error?.status ?? 200)
        server.appendDate(to: &reply)
        reply.appendField("content-type", "application/json")
        reply.appendContentLength(body.count)
        if let seconds = error?.retryAfterSeconds { reply.appendField("retry-after", decimal: seconds) }
        if let allowed = error?.allowed { reply.appendField("allow", allowed) }
        appendConnection(&reply)
        reply.appendHeadEnd()
        if !connection.head.method.isHead { reply.append(body.bytes) }
        send(reply)
    }

    /// The head of an event stream. - Out: whether its body is chunked; HTTP/1.0 knows no chunks.
    func sendStreamHead() -> Bool {
        let isChunked = connection.head.minorVersion >= 1
        if !isChunked { connection.closesAfterReply = true }
        var reply = ByteWriter(capacity: 256)
        reply.appendStatusLine(200)
        server.appendDate(to: &reply)
        reply.appendField("content-type", "text/event-stream; charset=utf-8")
        reply.appendField("cache-control", "no-cache")
        if isChunked { reply.appendField("transfer-encoding", "chunked") }
        appendConnection(&reply)
        reply.appendHeadEnd()
        send(reply)
        return isChunked
    }

    private func appendConnection(_ reply: inout ByteWriter) {
        if connection.announcesClose {
            reply.appendField("connection", "close")
        } else if connection.head.minorVersion == 0 {
            reply.appendField("connection", "keep-alive")
        }
    }

    func send(_ writer: borrowing ByteWriter) {
        writer.withUnsafeBytes { connection.send($0) }
    }
}
#endif
