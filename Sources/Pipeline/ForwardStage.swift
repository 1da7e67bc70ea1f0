import GatewayCore
import HTTPConnections
import Reactor
import Upstreams
import Wire

/// Sends the request to a replica, and to others while nothing has been answered.
///
/// - In: ``RecalledRequest``. Out: ``Served``: a whole reply that is not sent yet, or a stream that is but for its end.
/// - Throws: what `Attempt` gave up with (429, 502, 503, 504), `.clientGone`.
struct ForwardStage {
    let services: LoopServices

    @inline(__always)
    func run(_ recalled: RecalledRequest) async throws(GatewayError) -> Served {
        let exchange = recalled.exchange
        try prepare(recalled)
        var fallback: ModelFallback?
        // One place where the answer is awaited, whichever model gives it.
        while true {
            let result: Result<ForwardResult, GatewayError>
            do throws(GatewayError) {
                result = .success(try await services.upstreams.forward(exchange.call))
            } catch {
                result = .failure(error)
            }
            if exchange.model?.fallback.isEmpty == false || fallback != nil,
                ModelFallback.turn(exchange, after: result, &fallback)
            {
                continue
            }
            return try served(fallback?.finalResult(exchange, result) ?? result)
        }
    }

    /// What is to be sent, and to whom the answer goes.
    @inline(never)
    private func prepare(_ recalled: RecalledRequest) throws(GatewayError) {
        let exchange = recalled.exchange
        let call = exchange.call
        guard case .inference(let kind) = exchange.endpoint, let request = call.request else { throw .internalError }
        call.path = Endpoint.upstreamPath(kind)
        call.deadline = exchange.arrivedAt + services.settings.totalTimeout
        call.edits.forcesUsage = request.isStream && kind != .embedding
        call.edits.removesSessionID = request.has(.sessionID)
        if let name = exchange.model?.upstreamName { call.edits.model = BodyEdits.quoted(name) }
        if let session = exchange.session {
            call.keepsText = true
            call.holdsEnd = true
            call.edits.messages = session.edit
        }
        appendFields(exchange)
    }

    private func served(_ result: Result<ForwardResult, GatewayError>) throws(GatewayError) -> Served {
        switch try result.get() {
        case .whole(let reply): return .whole(reply)
        case .streamed: return .streamed
        case .refused(let status, let body, let retryAfter):
            return .refused(status: status, body: body, retryAfter: retryAfter)
        }
    }

    /// What of the client's head a replica gets: nothing that is meant for us, for this connection, or secret.
    private func appendFields(_ exchange: Exchange) {
        let connection = exchange.connection
        let call = exchange.call
        connection.withRequest { bytes in
            for index in 0..<connection.fieldCount {
                let field = connection.field(index)
                if !Self.isWithheld(field, bytes) { call.forwardedFields.appendField(field, of: bytes) }
            }
            exchange.requestID.withBytes { id in
                let before = exchange.isPeerTrusted ? connection.first(.xForwardedFor) : nil
                let room = 32 + Int(before?.count ?? 0) + exchange.peerAndRequestID.count + id.count
                call.forwardedFields.append(upTo: room) { line in
                    line.put("x-forwarded-for: ")
                    if let before {
                        line.put(bytes.extracting(before))
                        line.put(", ")
                    }
                    line.put(exchange.peerAndRequestID)
                    line.put(id)
                    line.put("\r\n")
                }
            }
        }
    }

    private static func isWithheld(_ field: HTTPField, _ bytes: Span<UInt8>) -> Bool {
        if field.isNamedByConnection || field.id.isHopByHop { return true }
        switch field.id {
        case .host, .expect, .contentLength, .contentType, .contentEncoding, .acceptEncoding, .authorization, .cookie,
            .origin, .accessControlRequestMethod, .accessControlRequestHeaders, .xForwardedFor, .xForwardedProto,
            .xForwardedHost, .xForwardedPort, .xRealIP, .forwarded, .via, .xRequestID, .xSessionID, .xSessionDegraded,
            .idempotencyKey, .xRateLimit, .xWeir:
            return true
        case .other:
            let name = bytes.extracting(field.name)
            return name.equalsIgnoringCase("x-api-key") || name.equalsIgnoringCase("api-key")
        default: return false
        }
    }
}
