import Balancing
import GatewayCore
import Reactor

/// Probes the replicas of one pool, and performs what their ``HealthMachine``s decide.
///
/// All machines of a pool live on one loop; what they find is published in each ``Replica`` for all loops.
/// - Isolation: its loop. ``trafficFailed(_:_:)`` and ``setIntent(_:of:)`` must be called there.
/// - Owns: a task for each replica, until ``stop()``.
package final class HealthProber {
    /// What the assembly is told, on the prober's loop.
    package enum Change {
        /// Requests to the replica failed: it takes no new ones until its probe has told more.
        ///
        /// `news`: why, in words; nil when it was down before.
        case suspected(news: String?)
        /// Its probe declared it dead: requests that wait there without content move.
        case died(news: String?)
        case served, shareChanged
    }

    let pool: Pool
    let loop: EventLoop
    private let onChange: (Pool, Replica, Change) -> Void
    private let survey: (Replica, Parking) async -> Void
    private var machines: [HealthMachine]
    private var nextProbe: [Moment]
    private var parkings: [Parking]
    /// Why each replica's last probe failed, in words; nil when it did not.
    var problems: [String?]
    /// Replicas whose going down was told, and that have not been up since.
    private var isDownTold: [Bool]
    /// Replicas that a deep probe is on the way to.
    private var isDeepProbed: [Bool]
    private var random = SystemRandomNumberGenerator()
    private var isStopped = false
    /// Told how each probe ended: why it failed, or nil.
    package var onProbe: (Replica, String?) -> Void = { _, _ in }

    /// - Parameter intents: what operators asked for before, by replica name.
    /// - Parameter survey: has all loops look when streams that run at the replica last had an event
    ///   (``LoopUpstreams/surveyStreams(at:)``), and waits for them.
    package init(
        _ pool: Pool, on loop: EventLoop, intents: [String: HealthMachine.Intent],
        survey: @escaping (Replica, Parking) async -> Void,
        onChange: @escaping (Pool, Replica, Change) -> Void
    ) {
        self.pool = pool
        self.loop = loop
        self.onChange = onChange
        self.survey = survey
        machines = pool.replicas.map { replica in
            var settings = pool.settings.health
            if !replica.settings.kind.abilities.contains(.tinyProbe) {
                settings.warmsUp = false
                settings.deepInterval = .zero
            }
            return HealthMachine(settings: settings, intent: intents[replica.name] ?? .enabled)
        }
        nextProbe = pool.replicas.map { _ in Moment.never }
        problems = pool.replicas.map { _ in nil }
        isDownTold = pool.replicas.map { _ in false }
        isDeepProbed = pool.replicas.map { _ in false }
        parkings = pool.replicas.map { _ in Parking(on: loop) }
    }

    /// Starts probing: every replica at once.
    package func start() {
        for replica in pool.replicas {
            loop.spawn { [self] in await run(replica) }
        }
    }

    package func stop() {
        isStopped = true
        for parking in parkings { parking.wake() }
    }

    // MARK: Events from elsewhere

    /// A request could not connect to the replica, or its connection was reset.
    package func trafficFailed(_ replica: Replica, _ reason: HealthMachine.Reason) {
        suspect(replica, reason, because: "requests to it failed")
    }

    /// - Returns: false for a replica that this pool does not have.
    package func setIntent(_ intent: HealthMachine.Intent, of name: String) -> Bool {
        guard let replica = pool.replicas.first(where: { $0.name == name }) else { return false }
        let action = machines[replica.index].setIntent(intent)
        replica.publish(machines[replica.index].snapshot(at: loop.now))
        perform(action, replica, startedAt: loop.now)
        parkings[replica.index].wake()
        return true
    }

    /// Another process runs in its place: what was known of it is forgotten, and its probes begin anew.
    package func wasRestarted(_ name: String) {
        guard let replica = pool.replicas.first(where: { $0.name == name }) else { return }
        suspect(replica, .refused, because: "it was restarted")
    }

    private func suspect(_ replica: Replica, _ reason: HealthMachine.Reason, because problem: String) {
        let action = machines[replica.index].trafficFailed(reason)
        guard action != .none else { return }
        problems[replica.index] = problem
        perform(action, replica, startedAt: loop.now)
        parkings[replica.index].wake()
    }

    // MARK: One replica

    private func run(_ replica: Replica) async {
        let index = replica.index
        perform(machines[index].start(), replica, startedAt: loop.now)
        while !isStopped {
            let share = machines[index].nextShareChange(after: loop.now) ?? .never
            if loop.now >= nextProbe[index] {
                let startedAt = loop.now
                nextProbe[index] = .never
                let reason = await probe(replica, path: replica.settings.probePath)
                // Streams are only asked where it matters: their events leave no trace elsewhere.
                if reason != nil, machines[index].isUp { await survey(replica, parkings[index]) }
                if isStopped { break }
                let around = surroundings(of: replica, probedAt: startedAt)
                let action =
                    if let reason { machines[index].probeFailed(reason, around) } else {
                        machines[index].probeSucceeded(around)
                    }
                perform(action, replica, startedAt: startedAt)
                onProbe(replica, reason == nil ? nil : problems[index] ?? "its probe failed")
                if reason == nil { startDeepProbe(of: replica, around) }
                continue
            }
            if await parkings[index].park(until: min(nextProbe[index], share)) == .deadline, loop.now >= share {
                replica.publish(machines[index].snapshot(at: loop.now))
                onChange(pool, replica, .shareChanged)
            }
        }
        parkings[index].close()
    }

    private func perform(_ action: HealthMachine.Action, _ replica: Replica, startedAt: Moment) {
        switch action {
        case .none: break
        case .probe(let after): nextProbe[replica.index] = startedAt + after
        case .announce(let isServing, let after):
            if let after { nextProbe[replica.index] = startedAt + after }
            announce(replica, isServing: isServing)
        case .warmUp(let after):
            nextProbe[replica.index] = startedAt + after
            replica.publish(machines[replica.index].snapshot(at: loop.now))
            loop.spawn { [self] in await warmUp(replica) }
        case .rest:
            nextProbe[replica.index] = .never
            announce(replica, isServing: false)
        }
    }

    private func announce(_ replica: Replica, isServing: Bool) {
        let index = replica.index
        let snapshot = machines[index].snapshot(at: loop.now)
        replica.publish(snapshot)
        guard case .down = snapshot.health else {
            isDownTold[index] = false
            return onChange(pool, replica, isServing ? .served : .shareChanged)
        }
        let news = isDownTold[index] ? nil : problems[index] ?? "its probe failed"
        isDownTold[index] = true
        onChange(pool, replica, snapshot.isSuspected ? .suspected(news: news) : .died(news: news))
        guard !pool.isAnyServing else { return }
        for other in pool.replicas where other !== replica {
            perform(machines[other.index].othersWentDown(), other, startedAt: loop.now)
            parkings[other.index].wake()
        }
    }

    private func surroundings(of replica: Replica, probedAt: Moment) -> HealthMachine.Surroundings {
        HealthMachine.Surroundings(
            now: loop.now, isAnyOtherUp: pool.replicas.contains { $0 !== replica && $0.isServing },
            random: random.next(), probedAt: probedAt, answeredAt: replica.answeredAt)
    }

    // MARK: Generating

    /// One token from a replica that comes back, so that no client is the first to wait for it.
    private func warmUp(_ replica: Replica) async {
        let startedAt = loop.now
        let reason = await generate(at: replica, model: pool.settings.models.first?.name ?? "")
        if isStopped { return }
        let around = surroundings(of: replica, probedAt: startedAt)
        let action =
            if let reason { machines[replica.index].warmUpFailed(reason, around) } else {
                machines[replica.index].warmUpSucceeded(around)
            }
        perform(action, replica, startedAt: loop.now)
        parkings[replica.index].wake()
    }

    /// Where a model was stopped by its breaker, or where nobody has asked for long: does generating work?
    private func startDeepProbe(of replica: Replica, _ around: HealthMachine.Surroundings) {
        let index = replica.index
        guard machines[index].isServing, !isDeepProbed[index] else { return }
        let stopped = replica.modelAwaitingProof(loop.now)
        guard stopped != nil || machines[index].isDeepProbeDue(around, inFlight: replica.inFlight) else { return }
        isDeepProbed[index] = true
        loop.spawn { [self] in
            let model = stopped ?? pool.settings.models.first?.name ?? ""
            await deepProbe(replica, model: model, wasStopped: stopped != nil)
            isDeepProbed[index] = false
        }
    }

    private func deepProbe(_ replica: Replica, model: String, wasStopped: Bool) async {
        let startedAt = loop.now
        let reason = await generate(at: replica, model: model)
        if isStopped { return }
        // Only the model's breaker hears of a probe that was sent for its sake: others may be fine.
        if wasStopped { return replica.deepProbeEnded(of: model, well: reason == nil, now: loop.now) }
        let around = surroundings(of: replica, probedAt: startedAt)
        guard let reason else { return machines[replica.index].deepProbeSucceeded(around) }
        perform(machines[replica.index].deepProbeFailed(reason, around), replica, startedAt: loop.now)
        parkings[replica.index].wake()
    }
}

extension HealthMachine.Reason {
    /// In words, for the log.
    var text: String {
        switch self {
        case .slow: "its probe was answered too late"
        case .serverError: "its probe's answer was not valid"
        case .timedOut: "its probe was not answered in time"
        case .refused: "its connection ended before the probe was answered"
        }
    }
}
