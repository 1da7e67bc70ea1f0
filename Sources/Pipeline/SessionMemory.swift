import GatewayCore
import HTTPConnections
import Reactor
import Stores
import Upstreams
import Wire

/// A session that this request is a turn of. A class for the sake of requests without one: their tasks hold a pointer.
final class OpenSession {
    let id: String
    /// What the replica gets instead of the client's messages.
    let edit: BodyEdits.Messages
    /// The session had expired: this turn starts it anew.
    let startedAnew: Bool
    let turn: OpenedSession
    /// The client's messages, for the history.
    let messages: MessageRun

    init(id: String, edit: BodyEdits.Messages, startedAnew: Bool, turn: OpenedSession, messages: MessageRun) {
        self.id = id
        self.edit = edit
        self.startedAnew = startedAnew
        self.turn = turn
        self.messages = messages
    }
}

/// What the request path knows of session history: from requests to the store's turns and back.
///
/// - Isolation: its loop.
package final class SessionMemory {
    enum Opening {
        case opened(OpenSession)
        /// The turn was answered before: this is the reply that was given.
        case replay([UInt8])
    }

    private let store: RedisSessionStore

    package init(_ store: RedisSessionStore) { self.store = store }

    /// Begins a turn.
    ///
    /// - Throws: what the client is told; `.unavailable` is the caller's to weigh.
    func open(
        _ id: SessionID, owner: String, _ exchange: Exchange, _ request: ChatRequest, waitUntil: Moment
    ) async throws(SessionProblem) -> Opening {
        let connection = exchange.connection
        var run = MessageRun()
        let sign = connection.withRequest { bytes -> TurnSign in
            let body = bytes.extracting(connection.bodyRange)
            for index in 0..<request.messages.count { run.append(body.extracting(request.messages[index].range)) }
            let isRetry = connection.first(.xStainlessRetryCount).map { range in
                !range.isEmpty && !bytes.extracting(range).equals("0")
            }
            return TurnSign(
                idempotencyKey: connection.first(.idempotencyKey).map { bytes.extracting($0).text }, digest: run.digest,
                isRetry: isRetry ?? false)
        }
        switch try await store.open(id, owner: owner, sign: sign, waitUntil: waitUntil) {
        case .replay(let reply, _): return .replay(reply)
        case .opened(let turn):
            return .opened(
                OpenSession(
                    id: id.text, edit: Self.edit(turn, run), startedAnew: turn.startedAnew, turn: turn, messages: run))
        }
    }

    /// The history, then what of the client's messages it does not hold. A client that sent all of it needs no edit.
    private static func edit(_ turn: OpenedSession, _ run: MessageRun) -> BodyEdits.Messages {
        guard !turn.history.isEmpty else { return .keep }
        let known = turn.known(of: run)
        if known.isWholeHistory { return .keep }
        if known.count == 0 { return .prepend(turn.history) }
        let rest = run.json(known.count..<run.count)
        return .replace(rest.isEmpty ? turn.history : turn.history + [UInt8(ascii: ",")] + rest)
    }

    /// Ends a turn that was answered completely. - Returns: whether it is in the history.
    func append(_ answer: [UInt8], reply: [UInt8], to session: OpenSession, deadline: Moment) async -> Bool {
        let outcome = await store.append(
            session.turn, session.messages, answer: answer, reply: reply, deadline: deadline)
        if case .stored = outcome { return true }
        return false
    }

    /// Gives a turn up that was not answered.
    func release(_ session: OpenSession) async { await store.release(session.turn) }
}
