import GatewayCore
import Wire

/// What the request path knows of session history.
package final class SessionMemory {
    enum Problem: Error { case notFound, busy, unavailable }
    struct Turn {}

    func open(_ id: String, owner: String, exchange: Exchange, request: ChatRequest) async throws(Problem) -> OpenSession {
        throw .unavailable
    }
    func append(_ answer: [UInt8], to session: OpenSession, exchange: Exchange) async -> Bool { false }
    func release(_ session: OpenSession, exchange: Exchange) async {}
}
