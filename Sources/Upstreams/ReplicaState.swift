import Balancing
import GatewayCore
import Reactor
import Synchronization
import Wire

/// What is known of one replica, whatever the configuration says of it: where it is, what its prober publishes, how
/// many requests it has, and what they showed.
///
/// Lives as long as its pool, its name and its configured address stay, and then until its last request has ended: a
/// reload forgets nothing and miscounts nothing.
/// - Isolation: any loop.
package final class ReplicaState: Sendable {
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
    private let isLlamaServerFlag = Atomic<Bool>(false)
    private let snapshotLock = Mutex(
        HealthSnapshot(intent: .enabled, health: .unknown, share: HealthMachine.fullShare))
    private let addressLock: Mutex<SocketAddress>
    /// The name, or the address in figures, that it is configured with.
    package let host: String

    private struct Breakers {
        var settings: BreakerSettings
        /// By public name of the model; those that have seen no failure lately are not kept.
        var byModel: [String: Breaker] = [:]
    }
    private let breakers: Mutex<Breakers>

    package init(host: String, address: SocketAddress, breaker: BreakerSettings) {
        self.host = host
        addressLock = Mutex(address)
        breakers = Mutex(Breakers(settings: breaker))
    }

    /// A new configuration keeps the replica.
    ///
    /// - Parameter models: what its pool serves now; what breakers know of others is forgotten.
    package func reconfigure(breaker: BreakerSettings, models: Set<String>) {
        breakers.withLock { breakers in
            if breakers.settings != breaker { breakers.byModel = [:] }
            breakers.settings = breaker
            breakers.byModel = breakers.byModel.filter { models.contains($0.key) }
            isBreakerActive.store(!breakers.byModel.isEmpty, ordering: .relaxed)
        }
    }

    /// Where new connections go.
    package var address: SocketAddress { addressLock.withLock { $0 } }
    func move(to address: SocketAddress) { addressLock.withLock { $0 = address } }

    // MARK: Health

    package var snapshot: HealthSnapshot { snapshotLock.withLock { $0 } }
    package var isServing: Bool { isServingFlag.load(ordering: .relaxed) }

    /// Which of its deaths it lies in (``DeathNotice``); nil while no probe says that it is dead.
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

    /// Takes a place for a request. - Returns: false when there are `most` already.
    func take(atMost most: Int, for model: String, now: Moment) -> Bool {
        guard inFlightCount.wrappingAdd(1, ordering: .relaxed).oldValue < most else {
            inFlightCount.wrappingSubtract(1, ordering: .relaxed)
            return false
        }
        if isBreakerActive.load(ordering: .relaxed) { breakers.withLock { $0.byModel[model]?.sent(now) } }
        return true
    }

    /// The same where nothing speaks against it at all: it serves, asked for no rest, and no breaker watches it.
    func takeIfAllIsWell(atMost most: Int, now: Moment) -> Bool {
        guard isServing, !isCooling(now), !isBreakerActive.load(ordering: .relaxed) else { return false }
        if inFlightCount.wrappingAdd(1, ordering: .relaxed).oldValue < most { return true }
        inFlightCount.wrappingSubtract(1, ordering: .relaxed)
        return false
    }

    func release() { inFlightCount.wrappingSubtract(1, ordering: .sequentiallyConsistent) }

    // MARK: What it can do

    /// How long a replica that turned a prefill down is not asked for another.
    private static let refusalLasts = Interval.seconds(300)

    var isLlamaServer: Bool { isLlamaServerFlag.load(ordering: .relaxed) }

    /// An answer named the server that gave it.
    func answered(by server: Span<UInt8>) {
        if server.equalsIgnoringCase("llama.cpp") { isLlamaServerFlag.store(true, ordering: .relaxed) }
    }

    func refusesPrefill(_ now: Moment) -> Bool { prefillRefusedUntil.load(ordering: .relaxed) > now.nanoseconds }

    /// It does not continue messages, whatever its kind declares.
    func refusedPrefill(now: Moment) {
        prefillRefusedUntil.store((now + Self.refusalLasts).nanoseconds, ordering: .relaxed)
    }

    // MARK: What traffic shows

    func isCooling(_ now: Moment) -> Bool { coolUntil.load(ordering: .relaxed) > now.nanoseconds }
    var coolEnd: Moment { Moment(nanoseconds: coolUntil.load(ordering: .relaxed)) }

    /// Leaves it alone until `moment`, as it asked by `Retry-After`.
    func coolDown(until moment: Moment) { coolUntil.store(moment.nanoseconds, ordering: .relaxed) }

    func mayPassActiveBreaker(_ model: String, _ now: Moment) -> Bool {
        !isBreakerActive.load(ordering: .relaxed) || mayPass(model, now)
    }

    func mayPass(_ model: String, _ now: Moment) -> Bool {
        breakers.withLock { $0.byModel[model]?.mayPass(now) ?? true }
    }

    /// Whether breakers want to hear of good answers.
    var isBreakerWatching: Bool { isBreakerActive.load(ordering: .relaxed) }

    /// An answer was good. ``sawAnswer(at:)`` is to be told as well.
    @inline(never)
    func answerSucceeded(_ model: String) { tell(model) { $0.succeeded() } }

    /// The request told nothing of the replica: see ``Breaker/endedWithoutVerdict(_:)``.
    func endedWithoutVerdict(_ model: String, now: Moment) {
        guard isBreakerActive.load(ordering: .relaxed) else { return }
        tell(model) { $0.endedWithoutVerdict(now) }
    }

    /// The answer was 429 or 503 and named no time: others are asked first for a moment.
    func answeredBusy(_ model: String, now: Moment) {
        breakers.withLock { breakers in
            breakers.byModel[model, default: Breaker(settings: breakers.settings)].wasBusy(now)
            isBreakerActive.store(true, ordering: .relaxed)
        }
    }

    func answerFailed(_ failure: UpstreamFailure, _ model: String, now: Moment) {
        guard failure.countsForBreaker else { return endedWithoutVerdict(model, now: now) }
        breakers.withLock { breakers in
            _ = breakers.byModel[model, default: Breaker(settings: breakers.settings)].failed(now)
            isBreakerActive.store(true, ordering: .relaxed)
        }
    }

    private func tell(_ model: String, _ change: (inout Breaker) -> Void) {
        breakers.withLock { breakers in
            guard var breaker = breakers.byModel[model] else { return }
            change(&breaker)
            breakers.byModel[model] = breaker.isIdle ? nil : breaker
            isBreakerActive.store(!breakers.byModel.isEmpty, ordering: .relaxed)
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
        return breakers.withLock { $0.byModel.values.count { !$0.isPassing } }
    }

    /// A model that was stopped here for long enough to try whether it works again.
    func modelAwaitingProof(_ now: Moment) -> String? {
        guard isBreakerActive.load(ordering: .relaxed) else { return nil }
        return breakers.withLock { $0.byModel.first { $0.value.awaitsProof(now) }?.key }
    }

    func deepProbeEnded(of model: String, well: Bool, now: Moment) {
        tell(model) { breaker in
            if well { breaker.proved() } else { breaker.proofFailed(now) }
        }
    }
}
