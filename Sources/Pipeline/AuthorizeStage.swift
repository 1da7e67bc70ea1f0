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
        guard let request = exchange.call.request, let caller = exchange.caller else { throw .internalError }
        let found = try find(request, exchange.connection)
        let model = found.model
        guard caller.mayUse(model: model.name) else {
            throw .modelNotAllowed(model: model.name)
        }
        exchange.model = model
        exchange.call.pool = found.pool
        exchange.call.modelName = model.name
    }

    @inline(__always)
    private func find(
        _ request: ChatRequest, _ connection: ServerConnection
    ) throws(GatewayError) -> RecentModels.Known {
        try connection.withRequest { bytes throws(GatewayError) in
            let body = bytes.extracting(connection.bodyRange)
            let written = body.extracting(request.model.raw)
            if let known = services.recentModels.find(written) { return known }
            let name = request.modelName(in: body)
            guard let found = services.fleet.find(model: name) else {
                throw .modelNotFound(model: String(name.prefix(128)))
            }
            return services.recentModels.remember(written, found)
        }
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
    private static func percentDecoded(_ text: String) -> String {
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
