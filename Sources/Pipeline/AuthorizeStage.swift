import GatewayCore
import HTTPConnections
import Upstreams
import Wire

/// A request for a model that exists and that its caller may use.
package struct AuthorizedRequest {
    fileprivate init() {}
}

/// Finds the model's pool and whether the caller may use it.
///
/// - In: ``ReadRequest``. Out: ``AuthorizedRequest``; the pool is in the call.
/// - Throws: `.modelNotFound` (404), `.modelNotAllowed` (403).
struct AuthorizeStage {
    let services: LoopServices

    @inline(__always)
    func run(_ exchange: Exchange, _ read: ReadRequest) throws(GatewayError) -> AuthorizedRequest {
        try findPool(exchange)
        return AuthorizedRequest()
    }

    @inline(never)
    private func findPool(_ exchange: Exchange) throws(GatewayError) {
        let named = try find(exchange)
        guard let caller = exchange.caller else { throw .internalError }
        guard caller.mayUse(model: named.model.name) else {
            throw .modelNotAllowed(model: named.model.name)
        }
        if !exchange.call.stays(in: ObjectIdentifier(named.pool)) { exchange.call.pool = named.pool }
        exchange.call.modelName = named.model.name
        exchange.named = named
    }

    @inline(__always)
    private func find(_ exchange: Exchange) throws(GatewayError) -> NamedModel {
        guard case .inference(let kind) = exchange.endpoint else { throw .internalError }
        let connection = exchange.connection
        return try connection.withRequest { bytes throws(GatewayError) in
            let body = bytes.extracting(connection.bodyRange)
            let written = body.extracting(exchange.call.modelRange)
            // Moved from the request before to this one, without counting references.
            if let familiar = exchange.familiar.take(), familiar.isFor(kind, written) { return familiar }
            if let known = services.recentModels.find(kind, written) { return known }
            return try look(for: written, kind, exchange.call.request?.modelName(in: body) ?? "")
        }
    }

    /// - Parameter name: what is written, without JSON's escapes.
    @inline(never)
    private func look(
        for written: Span<UInt8>, _ kind: ChatRequest.Kind, _ name: String
    ) throws(GatewayError) -> NamedModel {
        guard let found = services.fleet.find(model: name) else {
            throw .modelNotFound(model: String(name.prefix(128)))
        }
        let named = NamedModel(written.withUnsafeBufferPointer { Array($0) }, kind, found, services)
        services.recentModels.remember(named)
        return named
    }

    /// `/v1/models` and `/v1/models/{id}`: what the caller may use.
    func models(_ exchange: Exchange, _ request: AuthenticatedRequest) throws(GatewayError) -> LocalAnswer {
        guard let principal = exchange.principal else { throw .internalError }
        let visible = services.fleet.models.filter { principal.mayUse(model: $0.name) }
        guard case .model(let range) = exchange.endpoint else { return .models(visible.map(listed)) }
        let name = exchange.connection.withRequest { $0.extracting(range).text }
        let plain = Self.percentDecoded(name)
        guard let model = visible.first(where: { $0.name == plain }) else {
            throw .modelNotFound(model: String(plain.prefix(128)))
        }
        return .model(listed(model))
    }

    private func listed(_ model: ServedModel) -> ListedModel {
        ListedModel(id: model.name, created: services.shared.started, owner: "weir")
    }

    /// Clients escape the slash of names such as `Qwen/Qwen3-0.6B`, or don't.
    static func percentDecoded(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return text }
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), let high = hex(rest.first), let low = hex(rest.dropFirst().first) {
                bytes.append(high << 4 | low)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func hex(_ digit: UInt8?) -> UInt8? {
        guard let digit else { return nil }
        if digit &- 0x30 < 10 { return digit - 0x30 }
        let lower = digit | 0x20
        return lower &- 0x61 < 6 ? lower - 0x57 : nil
    }
}
