import Balancing
import GatewayCore
import Reactor
import Telemetry

/// What the configuration says of one replica.
package struct ReplicaSettings: Equatable, Sendable {
    package var name: String
    /// The value of `Host`: the name and the port that it is looked up by.
    package var host: String
    /// For https: the name that its certificate must be valid for.
    package var tlsHost: String?
    /// In front of `/v1/…`, without a slash at its end; usually empty.
    package var pathPrefix: String
    /// The value of `Authorization` that the replica expects.
    package var credential: String?
    package var weight: Int
    package var kind: ReplicaKind
    package var maxInFlight: Int
    package var isBackup: Bool
    /// What its probe asks for; 200 means healthy.
    package var probePath: String
    package var breaker: BreakerSettings

    package init(
        name: String, host: String, tlsHost: String?, pathPrefix: String, credential: String?,
        weight: Int, kind: ReplicaKind, maxInFlight: Int, isBackup: Bool, probePath: String, breaker: BreakerSettings
    ) {
        self.name = name
        self.host = host
        self.tlsHost = tlsHost
        self.pathPrefix = pathPrefix
        self.credential = credential
        self.weight = weight
        self.kind = kind
        self.maxInFlight = maxInFlight
        self.isBackup = isBackup
        self.probePath = probePath
        self.breaker = breaker
    }
}

/// What is the same in every request that goes to one replica: its head, from the method to the name of the field that
/// tells the body's length.
struct RequestHeads: Sendable {
    let chat, completion, embedding: [UInt8]

    init(_ settings: ReplicaSettings) {
        func head(_ path: String) -> [UInt8] {
            var head = "POST \(settings.pathPrefix)\(path) HTTP/1.1\r\n"
            head += "host: \(settings.host)\r\ncontent-type: application/json\r\n"
            if let credential = settings.credential { head += "authorization: \(credential)\r\n" }
            return Array((head + "content-length: ").utf8)
        }
        chat = head("/v1/chat/completions")
        completion = head("/v1/completions")
        embedding = head("/v1/embeddings")
    }
}

/// One replica as one configuration has it: its settings and its place. Replaced on reload.
///
/// What outlives the configuration lies in ``state``: who compares replicas of two configurations compares that.
/// - Isolation: any loop. The hot path reads atomics only; the breaker's lock is taken when an answer ends.
package final class Replica: Sendable {
    package let settings: ReplicaSettings
    /// Its place in its pool.
    package let index: Int
    /// Its place in the metrics, unique over all pools.
    package let metricsIndex: Int
    /// For https: whose certificates are believed.
    package let tls: TLSContext?
    package let state: ReplicaState
    package var name: String { settings.name }
    /// Its name as the access log shows it.
    package let loggedName: LogText
    /// The field of a reply's head that names it, with its line end.
    package let nameField: [UInt8]
    let requestHeads: RequestHeads
    /// What its probe sends.
    let probeRequest: [UInt8]
    /// It runs our own software.
    let isWeir: Bool

    /// - Precondition: a replica with a `tlsHost` has a `tls`: nothing is ever sent to it in the clear.
    package init(_ settings: ReplicaSettings, index: Int, metricsIndex: Int, tls: TLSContext?, state: ReplicaState) {
        precondition((settings.tlsHost == nil) == (tls == nil), "an https replica needs certificates to believe")
        self.settings = settings
        self.index = index
        self.metricsIndex = metricsIndex
        self.tls = tls
        self.state = state
        loggedName = LogText(settings.name)
        nameField = Array("x-weir-replica: \(settings.name)\r\n".utf8)
        requestHeads = RequestHeads(settings)
        var probe = "GET \(settings.pathPrefix)\(settings.probePath) HTTP/1.1\r\n"
        probe += "host: \(settings.host)\r\nuser-agent: weir-probe\r\n"
        if let credential = settings.credential { probe += "authorization: \(credential)\r\n" }
        probeRequest = Array((probe + "\r\n").utf8)
        isWeir = if case .weir = settings.kind { true } else { false }
    }

    /// For a new connection: nil means plain.
    var tlsPeer: (context: TLSContext, host: String)? {
        guard let tls, let host = settings.tlsHost else { return nil }
        return (tls, host)
    }

    /// Whether both are the same replica, perhaps in two configurations.
    package func isSame(as other: Replica?) -> Bool { state === other?.state }

    // MARK: Health

    package var snapshot: HealthSnapshot { state.snapshot }
    package var isServing: Bool { state.isServing }
    package var inFlight: Int { state.inFlight }
    /// See ``ReplicaState/death``.
    var death: UInt32? { state.death }

    // MARK: Choosing it

    func availability(of model: String, now: Moment) -> ReplicaPicker.Availability {
        guard isServing, !state.isCooling(now), state.mayPassActiveBreaker(model, now) else { return .unavailable }
        return inFlight < settings.maxInFlight ? .available : .full
    }

    /// Whether a request more may be sent there, but for its health.
    func hasRoom(now: Moment) -> Bool { !state.isCooling(now) && inFlight < settings.maxInFlight }

    /// All that a choice among bad ones needs; takes the locks that ``availability(of:now:)`` avoids.
    func candidate(for model: String, now: Moment) -> ReplicaPicker.Candidate {
        ReplicaPicker.Candidate(
            health: snapshot, isFull: inFlight >= settings.maxInFlight, coolUntil: state.coolEnd,
            mayPassBreaker: state.mayPass(model, now))
    }

    /// Takes one of its places. - Returns: false when another loop took the last one.
    func take(for model: String, now: Moment) -> Bool { state.take(atMost: settings.maxInFlight, for: model, now: now) }

    // MARK: What it can do

    /// What runs there: what the configuration says, or, where that is generic, what its answers have told.
    var kind: ReplicaKind { settings.kind == .generic && state.isLlamaServer ? .llamaCpp : settings.kind }

    /// What its kind declares, less what it has turned down.
    func abilities(now: Moment) -> ReplicaAbilities {
        var abilities = kind.abilities
        if state.refusesPrefill(now) { abilities.remove(.textPrefill) }
        return abilities
    }
}
