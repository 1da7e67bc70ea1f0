import GatewayCore
import HTTPConnections
import Identity
import Limiting
import Reactor
import Telemetry
import Upstreams
import Wire

/// One request and what becomes of it: what the stages hand to each other, and what `settle` needs at the end.
///
/// One for each client connection, used again for every request on it, and for those of the next client that has it.
/// - Isolation: its loop.
package final class Exchange {
    /// The next thing to be done for the current request, with what the stage before it made.
    enum Step {
        case receive
        case body(AuthenticatedInference)
        case read(AuthenticatedInference)
        case recall(AdmittedRequest)
        case prepare(AdmittedRequest)
        case forward
        // Settling.
        case remember
        case answer
        case close
    }

    /// What has to be waited for before the next step.
    enum Wait {
        /// A change on one of the request's sockets, at most until then.
        case change(until: Moment)
        case body
        case session
        /// A place at a replica.
        case place
        /// The end of the session's turn: it is stored or given up.
        case turnEnd
        /// The client takes what it is sent.
        case sending
        /// Nothing: the connection is over.
        case end
    }

    package let connection: ServerConnection
    package let services: LoopServices
    private let path: RequestPath
    let call: UpstreamCall
    var step = Step.receive
    var wait = Wait.end
    /// The peer's address, but for its port.
    private var peer: SocketAddress.Kind?
    /// Whether what the peer says of those before it is believed.
    private(set) var isPeerTrusted = false
    /// The peer's address, as the access log shows it, as JSON. No text that is counted: every request shows it twice.
    private(set) var loggedPeer = ByteWriter()

    // The current request.
    var endpoint = Endpoint.unknown
    /// 32 hexadecimal digits, or what the client chose.
    var requestID = ByteWriter(capacity: 64)
    /// Half of a request id is the loop's, half is counted.
    private static let idPrefixBytes = 16
    /// It begins with our own prefix, so that the next one has it already.
    private var isRequestIDOurs = false
    var arrivedAt = Moment.zero
    var arrivedWall = WallTime(secondsSinceEpoch: 0)
    /// The client that a trusted peer names, as the access log shows it.
    var forwardedClient: LogText?
    var caller: Caller?
    /// Tokens that the request may cost, by its body.
    var estimate = 0
    var reservation: KeyBudget.Reservation?
    /// Where the caller stands with their limits: nothing until they were asked.
    var standing = KeyBudget.Standing.none
    /// The model and its pool; after a fallback those that were asked last.
    var named: NamedModel?
    /// What the request before named, in the fleet in force: the next one mostly names it too.
    var familiar: NamedModel?
    /// A reload came while the request ran.
    private(set) var isFleetOld = false
    /// The model that was asked instead of the one that the client named.
    var loggedFallback: LogText?
    var session: OpenSession?
    /// The other models that may be asked, once one was.
    var fallbacks: ModelFallback?
    /// The session that the request names, whether it could be opened or not.
    var sessionID: String?
    /// A word for the `X-Session-Degraded` header: history was not read, or the turn was not stored.
    var sessionDegraded: StaticString?
    /// A stream ended with an error event.
    var didBreakStream = false
    /// What `settle` has to answer: the one or the other.
    var served: Served?
    var failure: GatewayError?
    /// How that ended.
    var ending = Outcome.ok
    /// What was sent: 0 until then.
    var status = 0

    package init(_ connection: ServerConnection, path: RequestPath) {
        self.connection = connection
        self.path = path
        services = path.services
        call = UpstreamCall(client: connection, buffers: services.upstreams.buffers)
        call.delegate = self
    }

    /// Somebody has the connection now: who it is.
    func clientCame() {
        step = .receive
        let address = connection.stream.peer
        isPeerTrusted = address.map { peer in services.settings.trustedPeers.contains { $0.contains(peer) } } ?? false
        // Mostly it is the one that had it before, as a proxy.
        guard address?.kind != peer || loggedPeer.isEmpty else { return }
        peer = address?.kind
        loggedPeer.removeAll()
        loggedPeer.append(quoted: address?.host ?? "unknown")
    }

    /// Who asked, as the access log shows it: the peer, or whom it names if it is believed.
    func withLoggedClient(_ read: (Span<UInt8>) -> Void) {
        if let forwardedClient { read(forwardedClient.json.bytes) } else { loggedPeer.withBytes(nil, read) }
    }

    /// Nobody has the connection any more: nothing is kept of the last request.
    func clientLeft() { clear() }

    /// Ready for the request whose head the connection has just received.
    func begin() {
        clear()
        endpoint = connection.withRequest { Endpoint(path: connection.path, in: $0) }
        chooseRequestID()
        if isPeerTrusted { forwardedClient = namedClient().map { LogText($0) } }
    }

    /// Another fleet is in force. One that waits for a request lets go of the fleet before at once, since the next one
    /// may be long in coming; a request that runs goes on in it until it ends.
    func fleetChanged() {
        familiar = nil
        if case .receive = step { forgetFleet() } else { isFleetOld = true }
    }

    /// Lets go of what the request found in a fleet that is not in force any more.
    func forgetFleet() {
        isFleetOld = false
        named = nil
        call.forgetFleet()
    }

    /// Ready for bytes that never became a request.
    func beginMalformed() {
        clear()
        generateRequestID()
    }

    /// The path is over: there is something to answer.
    var isDecided: Bool { served != nil || failure != nil }

    /// Does a step of the path. One that fails leaves its failure as the outcome, and one that returns nothing has left
    /// another outcome, or was not to be done any more.
    @discardableResult
    @inline(__always)
    func attempt<Found>(_ step: () throws(GatewayError) -> Found?) -> Found? {
        do throws(GatewayError) {
            return try step()
        } catch {
            failure = error
            return nil
        }
    }

    var principal: Principal? { caller?.principal }

    /// Our own part of the time before a replica was asked: neither its answer nor the wait for a place.
    var overhead: Interval? {
        call.sentAt == .zero ? nil : call.sentAt - arrivedAt - call.queueWait
    }

    /// Forgets the request before. Most of it went with its access line, and what few requests have is looked at
    /// first: asking costs less than letting go of nothing.
    private func clear() {
        call.reset()
        endpoint = .unknown
        arrivedAt = services.loop.now
        arrivedWall = services.loop.wallNow
        if caller != nil { caller = nil }
        reservation = nil
        standing = .none
        if named != nil { named = nil }
        if forwardedClient != nil { forwardedClient = nil }
        if loggedFallback != nil { loggedFallback = nil }
        if session != nil { session = nil }
        if sessionID != nil { sessionID = nil }
        sessionDegraded = nil
        status = 0
        didBreakStream = false
    }

    private func chooseRequestID() {
        if let chosen = connection.first(.xRequestID), chosen.count <= 128 {
            let isSane = connection.withRequest { bytes -> Bool in
                let text = bytes.extracting(chosen)
                for index in 0..<text.count where !Self.isIDByte(text[index]) { return false }
                guard text.count > 0 else { return false }
                requestID.removeAll()
                requestID.append(text)
                isRequestIDOurs = false
                return true
            }
            if isSane { return }
        }
        generateRequestID()
    }

    private func generateRequestID() {
        if isRequestIDOurs {
            requestID.truncate(to: Self.idPrefixBytes)
        } else {
            requestID.removeAll()
            requestID.append(services.idPrefix)
            isRequestIDOurs = true
        }
        requestID.append(upTo: 16) { $0.put(hex: services.nextID()) }
    }

    /// Letters, digits and `._-`: what a request id or a session id may have.
    static func isIDByte(_ byte: UInt8) -> Bool {
        byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 26 || byte == 0x2D || byte == 0x2E || byte == 0x5F
    }

    /// The client that a trusted peer names: the last address in `X-Forwarded-For` that is not trusted itself.
    private func namedClient() -> String? {
        guard let field = connection.first(.xForwardedFor) else { return nil }
        let text = connection.withRequest { $0.extracting(field).text }
        for part in text.split(separator: ",").reversed() {
            let literal = part.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" }
            guard let address = SocketAddress(literal: String(literal)) else { return nil }
            if !services.settings.trustedPeers.contains(where: { $0.contains(address) }) { return String(literal) }
        }
        return nil
    }
}

/// Takes the steps of the path while the connection's task sleeps.
extension Exchange: Deputy {
    package func goOn(_ wake: Parking.Wake) -> Moment? {
        wait = path.goOn(self, wake)
        if case .change(let until) = wait { return until }
        return nil
    }
}
