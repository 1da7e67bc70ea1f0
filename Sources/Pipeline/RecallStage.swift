import GatewayCore
import HTTPConnections
import Upstreams
import Wire

/// A request that knows what was said before, if it names a session.
package struct RecalledRequest {
    let exchange: Exchange
    let request: ChatRequest

    fileprivate init(exchange: Exchange, request: ChatRequest) {
        self.exchange = exchange
        self.request = request
    }
}

/// A session that this request is a turn of.
struct OpenSession {
    let id: String
    /// Messages of the turns before, as JSON with commas between them.
    let history: [UInt8]
    /// Messages at the beginning of the request that are in the history already.
    let known: Int
    /// The session had expired: this turn starts it anew.
    let startedAnew: Bool
    /// What the store wants to see again when the turn ends.
    let turn: SessionMemory.Turn

    /// What the replica gets instead of the client's messages. A client that sent the history itself needs no edit.
    var edit: BodyEdits.Messages { known == 0 ? .prepend(history) : .keep }
}

/// Reads the history of the session that the request names. Without a name there is no session and no Redis call.
///
/// - In: ``AdmittedRequest``. Out: ``RecalledRequest``; the session is in the exchange.
/// - Throws: `.invalidRequest` (400) for a bad id, `.sessionNotFound` (404) for another owner's, `.sessionBusy` (409),
///   `.sessionsUnavailable` (503) where the configuration asks for that; otherwise the answer is marked as degraded.
/// - Cost: one round trip to Redis.
struct RecallStage {
    let services: LoopServices

    func run(_ admitted: AdmittedRequest) async throws(GatewayError) -> RecalledRequest {
        let exchange = admitted.exchange
        let recalled = RecalledRequest(exchange: exchange, request: admitted.request)
        guard admitted.request.kind == .chat, let id = try sessionID(exchange, admitted.request) else { return recalled }
        guard let memory = services.sessions, let settings = services.settings.sessions else {
            exchange.sessionDegraded = "no-store"
            return recalled
        }
        do throws(SessionMemory.Problem) {
            exchange.session = try await memory.open(
                id, owner: admitted.principal.id, exchange: exchange, request: admitted.request)
        } catch {
            switch error {
            case .notFound: throw .sessionNotFound
            case .busy: throw .sessionBusy
            case .unavailable:
                if settings.refusesWhenUnavailable { throw .sessionsUnavailable }
                exchange.sessionDegraded = "unavailable"
            }
        }
        return recalled
    }

    /// From `X-Session-ID` or the body's `session_id`; both must agree.
    private func sessionID(_ exchange: Exchange, _ request: ChatRequest) throws(GatewayError) -> String? {
        let connection = exchange.connection
        let fromHead = connection.head.first(.xSessionID).map { range in
            connection.withRequest { $0.extracting(range).text }
        }
        let fromBody = request.sessionID.map { text in
            connection.withRequest { text.text(in: $0.extracting(connection.bodyRange)) }
        }
        guard let id = fromHead ?? fromBody else { return nil }
        if let fromHead, let fromBody, fromHead != fromBody {
            throw .invalidRequest(message: "X-Session-ID and session_id differ.", param: "session_id")
        }
        guard (1...128).contains(id.utf8.count), id.utf8.allSatisfy(Exchange.isIDByte) else {
            throw .invalidRequest(
                message: "A session id has 1 to 128 letters, digits, dots, underscores or hyphens.",
                param: "session_id")
        }
        return id
    }
}
