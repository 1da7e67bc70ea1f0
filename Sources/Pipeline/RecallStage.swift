import GatewayCore
import HTTPConnections
import Reactor
import Stores
import Upstreams
import Wire

/// A request that knows what was said before, if it names a session.
package struct RecalledRequest {
    fileprivate init() {}
}

/// Reads the history of the session that the request names. Without a name there is no session and no Redis call.
///
/// - In: ``AdmittedRequest``. Out: ``RecalledRequest``; the session is in the exchange. Nothing when it failed, or when
///   the client repeats a turn that is finished: then what was answered is the outcome.
/// - Fails with: `.invalidRequest` (400) for a bad id, `.sessionNotFound` (404) for another owner's,
///   `.sessionBusy` (409), `.sessionsUnavailable` (503) where the configuration asks for that; otherwise the answer is
///   marked as degraded.
/// - Cost: one round trip to Redis.
struct RecallStage {
    let services: LoopServices

    /// Finds the session's name. - Returns: whether ``open(_:)`` is to come first.
    @inline(__always)
    func mustWait(_ exchange: Exchange, _ admitted: AdmittedRequest) -> Bool {
        exchange.attempt { () throws(GatewayError) in try findSession(exchange) }
        return exchange.sessionID != nil
    }

    @inline(__always)
    func run(_ exchange: Exchange, _ admitted: AdmittedRequest) -> RecalledRequest? {
        !exchange.isDecided ? RecalledRequest() : nil
    }

    func open(_ exchange: Exchange) async {
        do throws(GatewayError) {
            try await openSession(exchange)
        } catch {
            exchange.failure = error
        }
    }

    private func openSession(_ exchange: Exchange) async throws(GatewayError) {
        guard let id = exchange.sessionID.flatMap(SessionID.init), let request = exchange.call.request,
            let principal = exchange.principal
        else { throw .internalError }
        guard let memory = services.sessions, let settings = services.settings.sessions else {
            exchange.sessionDegraded = "no-store"
            return
        }
        do throws(SessionProblem) {
            let waitUntil = services.loop.now + settings.lockWait
            switch try await memory.open(
                id, owner: principal.id, exchange, request, waitUntil: waitUntil)
            {
            case .opened(let session): exchange.session = session
            case .replay(let reply): exchange.served = .replayed(reply)
            }
        } catch {
            switch error {
            case .notFound: throw .sessionNotFound
            case .busy: throw .sessionBusy
            case .unavailable:
                if settings.refusesWhenUnavailable { throw .sessionsUnavailable }
                exchange.sessionDegraded = "unavailable"
            }
        }
    }

    /// From `X-Session-ID` or the body's `session_id`; both must agree.
    @inline(never)
    private func findSession(_ exchange: Exchange) throws(GatewayError) {
        let connection = exchange.connection
        guard exchange.call.hasSessionMember || connection.first(.xSessionID) != nil else { return }
        guard let request = exchange.call.request, case .chat = request.kind else { return }
        let fromHead = connection.first(.xSessionID).map { range in
            connection.withRequest { $0.extracting(range).text }
        }
        let fromBody = request.sessionID.map { text in
            connection.withRequest { text.text(in: $0.extracting(connection.bodyRange)) }
        }
        guard let id = fromHead ?? fromBody else { return }
        if let fromHead, let fromBody, fromHead != fromBody {
            throw .invalidRequest(message: "X-Session-ID and session_id differ.", param: "session_id")
        }
        guard let id = SessionID(id) else {
            throw .invalidRequest(
                message: "A session id has 1 to 128 letters, digits, dots, underscores or hyphens.",
                param: "session_id")
        }
        exchange.sessionID = id.text
    }
}
