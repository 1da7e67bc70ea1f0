import Balancing
import GatewayCore
import Reactor
import Synchronization
import Telemetry
import Wire

/// What the configuration says of one replica.
package struct ReplicaSettings: Equatable, Sendable {
    package var name: String
    package var address: SocketAddress
    /// The value of `Host`.
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

    package init(
        name: String, address: SocketAddress, host: String, tlsHost: String?, pathPrefix: String, credential: String?,
        weight: Int, kind: ReplicaKind, maxInFlight: Int, isBackup: Bool, probePath: String
    ) {
        self.name = name
        self.address = address
        self.host = host
        self.tlsHost = tlsHost
        self.pathPrefix = pathPrefix
        self.credential = credential
        self.weight = weight
        self.kind = kind
        self.maxInFlight = maxInFlight
        self.isBackup = isBackup
        self.probePath = probePath
    }
}

/// One replica, as all loops share it: its settings, what its prober publishes, and how many requests it has.
///
/// - Isolation: any loop. The hot path reads atomics only; the breaker's lock is taken when an answer ends.
package final class Replica: Sendable {
    package let settings: ReplicaSettings
    /// Its place in its pool.
    package let index: Int
    /// Its place in the metrics, unique over all pools.
    package let metricsIndex: Int
    /// For https: whose certificates are believed.
    package let tls: TLSContext?
    package var name: String { settings.name }
    /// Its name as the access log shows it.
    package let loggedName: LogText
    /// The field of a reply's head that names it, with its line end.
    package let nameField: [UInt8]

    private let inFlightCount = Atomic<Int>(0)
    /// Serving, by health and intent.
    private let isServingFlag = Atomic<Bool>(false)
    /// How often its probes declared it dead and took that back, together: odd while it is dead.
    private let deathCount = Atomic<UInt32>(0)
    /// A breaker has seen a failure or a busy answer lately: ask it and tell it. False on a healthy replica's path.
    private let isBreakerActive = Atomic<Bool>(false)
    /// Monotonic nanoseconds of the last sign that it really works: a good answer, or an event of a stream.
    private let answeredAtCount = Atomic<Int64>(0)
    /// Monotonic nanoseconds until which the replica asked to be left alone.
    private let coolUntil = Atomic<Int64>(0)
    /// Monotonic nanoseconds until which no prefill is asked of it: it turned one down.
    private let prefillRefusedUntil = Atomic<Int64>(0)
    /// Its answers say that they come from llama.cpp's server.
    private let isLlamaServer = Atomic<Bool>(false)
    private let snapshotLock: Mutex<HealthSnapshot>
    /// By public name of the model; those that have seen no failure lately are not kept.
    private let breakers = Mutex<[String: Breaker]>([:])
    private let breakerSettings: BreakerSettings

    /// - Precondition: a replica with a `tlsHost` has a `tls`: nothing is ever sent to it in the clear.
    package init(
        _ settings: ReplicaSettings, index: Int, metricsIndex: Int, tls: TLSContext?, breaker: BreakerSettings
    ) {
        precondition((settings.tlsHost == nil) == (tls == nil), "an https replica needs certificates to believe")
        self.settings = settings
        self.index = index
        self.metricsIndex = metricsIndex
        self.tls = tls
        loggedName = LogText(settings.name)
        nameField = Array("x-weir-replica: \(settings.name)\r\n".utf8)
        snapshotLock = Mutex(HealthSnapshot(intent: .enabled, health: .unknown, share: HealthMachine.fullShare))
        breakerSettings = breaker
    }

    /// For a new connection: nil means plain.
    var tlsPeer: (context: TLSContext, host: String)? {
        guard let tls, let host = settings.tlsHost else { return nil }
        return (tls, host)
    }

    // MARK: Health

    package var snapshot: HealthSnapshot { snapshotLock.withLock { $0 } }
    package var isServing: Bool { isServingFlag.load(ordering: .relaxed) }

    /// Which of its deaths it lies in; nil while no probe says that it is dead.
    package var death: UInt32? {
        let count = deathCount.load(ordering: .acquiring)
        return count & 1 == 1 ? count : nil
    }

    /// What its prober found, or its operator wants. Called on the prober's loop only.
    package func publish(_ snapshot: HealthSnapshot) {
        snapshotLock.withLock { $0 = snapshot }
        if snapshot.isDeclaredDead != (death != nil) { deathCount.wrappingAdd(1, ordering: .releasing) }
        isServingFlag.store(snapshot.isServing, ordering: .releasing)
    }

    // MARK: Requests in flight

    package var inFlight: Int { inFlightCount.load(ordering: .sequentiallyConsistent) }

    func availability(of model: String, now: Moment) -> ReplicaPicker.Availability {
        guard isServing, coolUntil.load(ordering: .relaxed) <= now.nanoseconds else { return .unavailable }
        if isBreakerActive.load(ordering: .relaxed), !mayPass(model, now) { return .unavailable }
        return inFlight < settings.maxInFlight ? .available : .full
    }

    /// Whether a request more may be sent there, but for its health.
    func hasRoom(now: Moment) -> Bool {
        coolUntil.load(ordering: .relaxed) <= now.nanoseconds && inFlight < settings.maxInFlight
    }

    /// All that a choice among bad ones needs; takes the locks that ``availability(of:now:)`` avoids.
    func candidate(for model: String, now: Moment) -> ReplicaPicker.Candidate {
        ReplicaPicker.Candidate(
            health: snapshot, isFull: inFlight >= settings.maxInFlight,
            coolUntil: Moment(nanoseconds: coolUntil.load(ordering: .relaxed)),
            mayPassBreaker: mayPass(model, now))
    }

    private func mayPass(_ model: String, _ now: Moment) -> Bool {
        breakers.withLock { $0[model]?.mayPass(now) ?? true }
    }

    /// Takes one of its places. - Returns: false when another loop took the last one.
    func take(for model: String, now: Moment) -> Bool {
        guard inFlightCount.wrappingAdd(1, ordering: .relaxed).oldValue < settings.maxInFlight else {
            inFlightCount.wrappingSubtract(1, ordering: .relaxed)
            return false
        }
        if isBreakerActive.load(ordering: .relaxed) { breakers.withLock { $0[model]?.sent(now) } }
        return true
    }

    func release() { inFlightCount.wrappingSubtract(1, ordering: .sequentiallyConsistent) }

    // MARK: What it can do

    /// How long a replica that turned a prefill down is not asked for another.
    private static let refusalLasts = Interval.seconds(300)

    /// What runs there: what the configuration says, or, where that is generic, what its answers have told.
    var kind: ReplicaKind {
        settings.kind == .generic && isLlamaServer.load(ordering: .relaxed) ? .llamaCpp : settings.kind
    }

    /// An answer named the server that gave it.
    func answered(by server: Span<UInt8>) {
        if server.equalsIgnoringCase("llama.cpp") { isLlamaServer.store(true, ordering: .relaxed) }
    }

    /// What its kind declares, less what it has turned down.
    func abilities(now: Moment) -> ReplicaAbilities {
        var abilities = kind.abilities
        if prefillRefusedUntil.load(ordering: .relaxed) > now.nanoseconds { abilities.remove(.textPrefill) }
        return abilities
    }

    /// It does not continue messages, whatever its kind declares.
    func refusedPrefill(now: Moment) {
        prefillRefusedUntil.store((now + Self.refusalLasts).nanoseconds, ordering: .relaxed)
    }

    // MARK: What traffic shows

    /// Leaves it alone until `moment`, as it asked by `Retry-After`.
    func coolDown(until moment: Moment) { coolUntil.store(moment.nanoseconds, ordering: .relaxed) }

    func answerSucceeded(_ model: String, now: Moment) {
        sawAnswer(at: now)
        guard isBreakerActive.load(ordering: .relaxed) else { return }
        tell(model) { $0.succeeded() }
    }

    /// The request told nothing of the replica: see ``Breaker/endedWithoutVerdict(_:)``.
    func endedWithoutVerdict(_ model: String, now: Moment) {
        guard isBreakerActive.load(ordering: .relaxed) else { return }
        tell(model) { $0.endedWithoutVerdict(now) }
    }

    /// The answer was 429 or 503 and named no time: others are asked first for a moment.
    func answeredBusy(_ model: String, now: Moment) {
        breakers.withLock { breakers in
            breakers[model, default: Breaker(settings: breakerSettings)].wasBusy(now)
            isBreakerActive.store(true, ordering: .relaxed)
        }
    }

    func answerFailed(_ failure: UpstreamFailure, _ model: String, now: Moment) {
        guard failure.countsForBreaker else { return endedWithoutVerdict(model, now: now) }
        breakers.withLock { breakers in
            _ = breakers[model, default: Breaker(settings: breakerSettings)].failed(now)
            isBreakerActive.store(true, ordering: .relaxed)
        }
    }

    private func tell(_ model: String, _ change: (inout Breaker) -> Void) {
        breakers.withLock { breakers in
            guard var breaker = breakers[model] else { return }
            change(&breaker)
            breakers[model] = breaker.isIdle ? nil : breaker
            isBreakerActive.store(!breakers.isEmpty, ordering: .relaxed)
        }
    }

    /// When a real answer, or an event of one, last came from it.
    var answeredAt: Moment { Moment(nanoseconds: answeredAtCount.load(ordering: .relaxed)) }

    /// Loops that differ by microseconds may overwrite each other.
    func sawAnswer(at moment: Moment) {
        if moment > answeredAt { answeredAtCount.store(moment.nanoseconds, ordering: .relaxed) }
    }

    // MARK: What deep probes show

    /// Models that the breaker keeps off this replica now.
    package var stoppedModels: Int {
        guard isBreakerActive.load(ordering: .relaxed) else { return 0 }
        return breakers.withLock { $0.values.count { !$0.isPassing } }
    }

    /// A model that was stopped here for long enough to try whether it works again.
    func modelAwaitingProof(_ now: Moment) -> String? {
        guard isBreakerActive.load(ordering: .relaxed) else { return nil }
        return breakers.withLock { $0.first { $0.value.awaitsProof(now) }?.key }
    }

    func deepProbeEnded(of model: String, well: Bool, now: Moment) {
        tell(model) { breaker in
            if well { breaker.proved() } else { breaker.proofFailed(now) }
        }
    }
}
