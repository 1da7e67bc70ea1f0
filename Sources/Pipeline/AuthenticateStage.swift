import GatewayCore
import HTTPConnections
import Identity
import Reactor
import Telemetry
import Wire

/// A request whose caller is known.
package struct AuthenticatedRequest {
    fileprivate init() {}

    /// The request, if it asks for inference.
    func inference(_ exchange: Exchange) -> AuthenticatedInference? {
        guard case .inference = exchange.endpoint else { return nil }
        return AuthenticatedInference()
    }
}

/// A request for inference whose caller is known; its body is not read yet.
package struct AuthenticatedInference {
    fileprivate init() {}
}

/// Finds out who is asking, before the body is read.
///
/// - In: ``IncomingRequest``. Out: ``AuthenticatedRequest``.
/// - Throws: `.invalidAPIKey` (401) for every reason alike; `.keysUnavailable` (503) while keys can't be known.
/// - Cost: a table access for a credential seen lately, which leads to the caller's limits as well; otherwise what its
///   signature costs (docs/identity.md).
struct AuthenticateStage {
    let services: LoopServices

    @inline(__always)
    func run(_ exchange: Exchange, _ request: IncomingRequest) throws(GatewayError) -> AuthenticatedRequest {
        try identify(exchange)
        return AuthenticatedRequest()
    }

    @inline(never)
    private func identify(_ exchange: Exchange) throws(GatewayError) {
        let field = exchange.connection.first(.authorization)
        guard let field else {
            if services.settings.requiresCredential { throw .invalidAPIKey(.missing) }
            let name = LogText(Self.anonymous.id)
            exchange.caller = Caller(
                .init(Self.anonymous, attachment: slot(of: Self.anonymous), note: name.json.bytes))
            return
        }
        let generation = services.authenticator.generation
        let now = exchange.arrivedWall
        exchange.caller = try exchange.connection.withRequest { bytes throws(GatewayError) in
            let value = bytes.extracting(field)
            if let known = services.tokens.lookup(value, now: now, generation: generation) {
                services.counters.tokenCacheHit()
                return Caller(known)
            }
            services.counters.tokenCacheMissed()
            let principal = try services.authenticator.authenticate(value, now: now)
            let name = LogText(principal.id)
            return Caller(
                services.tokens.insert(
                    value, principal: principal, attachment: slot(of: principal), note: name.json.bytes, now: now,
                    generation: generation))
        }
    }

    private func slot(of principal: Principal) -> LimiterSlot {
        services.shared.limiter.slot(for: principal, now: services.loop.now)
    }

    /// Everybody without a credential, where none is required.
    private static let anonymous = Principal(kind: .anonymous, id: "anonymous")
}
