import GatewayCore
import HTTPConnections
import Reactor
import Telemetry
import Upstreams
import Wire

/// Sends the request to a replica, and to others while nothing has been answered.
///
/// - In: ``RecalledRequest``. Out: the outcome: a whole reply that is not sent yet, or a stream that is, but for its
///   end.
/// - Fails with: what `Attempt` gave up with (429, 502, 503, 504), `.clientGone`.
struct ForwardStage {
    let services: LoopServices

    init(services: LoopServices) { self.services = services }

    @inline(never)
    func prepare(_ exchange: Exchange, _ recalled: RecalledRequest) -> Bool {
        exchange.attempt { () throws(GatewayError) in try describe(exchange) } != nil
    }

    /// - Returns: what to wait for; nil when the outcome is there.
    @inline(__always)
    func goOn(_ exchange: Exchange, isLate: Bool) -> LoopUpstreams.Pause? {
        var isLate = isLate
        repeat {
            if let pause = services.upstreams.goOn(exchange.call, isLate: isLate) { return pause }
            isLate = false
        } while fallsBack(exchange)
        return nil
    }

    /// What is to be sent, and to whom the answer goes.
    private func describe(_ exchange: Exchange) throws(GatewayError) {
        let call = exchange.call
        guard case .inference(let kind) = exchange.endpoint else { throw .internalError }
        call.deadline = exchange.arrivedAt + services.settings.totalTimeout
        if call.isStream, kind != .embedding { call.edits.forcesUsage = true }
        if call.hasSessionMember { call.edits.removesSessionID = true }
        if exchange.named?.isRenamed == true, let name = exchange.named?.model.upstreamName {
            call.edits.model = BodyEdits.quoted(name)
        }
        if let session = exchange.session {
            call.keepsText = true
            call.holdsEnd = true
            call.edits.messages = session.edit
        }
        appendFields(exchange)
    }

    /// Whether another model is to be asked; if not, the outcome is there.
    @inline(never)
    private func fallsBack(_ exchange: Exchange) -> Bool {
        var result = exchange.call.result.take() ?? .failure(.internalError)
        if exchange.named?.hasFallback == true || exchange.fallbacks != nil {
            if ModelFallback.turn(exchange, after: result, &exchange.fallbacks) { return true }
            if let fallbacks = exchange.fallbacks { result = fallbacks.finalResult(exchange, result) }
            exchange.fallbacks = nil
        }
        switch result {
        case .success(.whole(let reply)): exchange.served = .whole(reply)
        case .success(.streamed): exchange.served = .streamed
        case .success(.refused(let status, let body, let retryAfter)):
            exchange.served = .refused(status: status, body: body, retryAfter: retryAfter)
        case .failure(let error): exchange.failure = error
        }
        return false
    }

    /// What of the client's head a replica gets: nothing that is meant for us, for this connection, or secret.
    private func appendFields(_ exchange: Exchange) {
        let connection = exchange.connection
        let call = exchange.call
        connection.withRequest { bytes in
            appendForwarded(connection, bytes, to: &call.forwardedFields)
            exchange.requestID.withBytes { id in
                let before = exchange.isPeerTrusted ? connection.first(.xForwardedFor) : nil
                // The names of both fields, with what surrounds them, have less than 48 bytes.
                let room = 48 + Int(before?.count ?? 0) + exchange.loggedPeer.count + id.count
                call.forwardedFields.append(upTo: room) { line in
                    line.put("x-forwarded-for: ")
                    if let before {
                        line.put(bytes.extracting(before))
                        line.put(", ")
                    }
                    exchange.loggedPeer.withBytes { line.put($0.extracting(1..<$0.count - 1)) }  // Without quotes.
                    line.put("\r\nx-request-id: ")
                    line.put(id)
                    line.put("\r\n")
                }
            }
        }
    }

    /// Fields that follow each other and are spelled as most are, `name: value` and the line end, go in one piece.
    @inline(__always)
    private func appendForwarded(
        _ connection: ServerConnection, _ bytes: Span<UInt8>, to writer: inout ByteWriter
    ) {
        var piece = 0..<0
        for index in 0..<connection.fieldCount {
            let field = connection.field(index)
            if isWithheld(field, bytes) { continue }
            let start = Int(field.name.start)
            let end = field.value.end
            if Int(field.value.start) == field.name.end + 2, bytes[field.name.end + 1] == 0x20, bytes[end] == 0x0D {
                if start == piece.upperBound {
                    piece = piece.lowerBound..<end + 2
                } else {
                    if !piece.isEmpty { writer.append(bytes.extracting(piece)) }
                    piece = start..<end + 2
                }
            } else {
                if !piece.isEmpty { writer.append(bytes.extracting(piece)) }
                piece = 0..<0
                writer.appendField(field, of: bytes)
            }
        }
        if !piece.isEmpty { writer.append(bytes.extracting(piece)) }
    }

    @inline(__always)
    private func isWithheld(_ field: HTTPField, _ bytes: Span<UInt8>) -> Bool {
        if field.isNamedByConnection || withheld >> UInt64(field.id.rawValue) & 1 == 1 { return true }
        guard case .other = field.id, field.name.count == 9 || field.name.count == 7 else { return false }
        let name = bytes.extracting(field.name)
        return name.equalsIgnoringCase("x-api-key") || name.equalsIgnoringCase("api-key")
    }

    /// A bit for each field that no replica gets.
    private let withheld: UInt64 = FieldID.allCases.reduce(0) { set, id in
        ForwardStage.isMeantForUs(id) || id.isHopByHop ? set | 1 << UInt64(id.rawValue) : set
    }

    private static func isMeantForUs(_ id: FieldID) -> Bool {
        switch id {
        case .host, .expect, .contentLength, .contentType, .contentEncoding, .acceptEncoding, .authorization, .cookie,
            .origin, .accessControlRequestMethod, .accessControlRequestHeaders, .xForwardedFor, .xForwardedProto,
            .xForwardedHost, .xForwardedPort, .xRealIP, .forwarded, .via, .xRequestID, .xSessionID, .xSessionDegraded,
            .idempotencyKey, .xRateLimit, .xWeir:
            true
        default: false
        }
    }
}
