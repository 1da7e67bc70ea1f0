import Balancing
import GatewayCore
import HTTPConnections
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

    /// One replica that is probed, whichever configuration names it.
    final class Watch: IdleKeeper {
        /// As the configuration in force has it, or the last one that had it.
        fileprivate(set) var replica: Replica
        fileprivate var machine: HealthMachine
        /// `.never` while one is on its way.
        fileprivate var nextProbe = Moment.never
        /// Probes sent so far: one that a later one has overtaken tells nothing.
        fileprivate var probesSent = 0
        fileprivate let parking: Parking
        /// Of the probe before, for the next one: nil while one is on its way.
        private var spareParking: Parking?
        /// What the last probe was answered on.
        private var connection: ClientConnection?
        private var isClosed = false
        /// Why the last probe failed, in words; nil when it did not.
        var problem: String?
        /// That it went down was told, and it has not been up since.
        fileprivate var isDownTold = false
        /// A deep probe is on the way to it.
        fileprivate var isDeepProbed = false
        /// No configuration has it any more: it is drained, and watched until its last request has ended.
        fileprivate var isLeaving = false

        fileprivate init(_ replica: Replica, _ machine: HealthMachine, on loop: EventLoop) {
            self.replica = replica
            self.machine = machine
            parking = Parking(on: loop)
        }

        /// What a probe waits with.
        func takeParking() -> Parking { spareParking.take() ?? Parking(on: parking.loop) }

        func give(back parking: Parking) {
            if spareParking == nil, !isClosed { spareParking = parking } else { parking.close() }
        }

        /// The connection of the probe before. Only for a replica that is up and not suspected: of any other one, a new
        /// connection is to tell whether it takes them.
        func takeConnection(_ parking: Parking) -> ClientConnection? {
            guard let connection = connection.take() else { return nil }
            if machine.isUp, !machine.isSuspected, connection.take(handler: parking) { return connection }
            connection.close()
            return nil
        }

        /// A probe was answered on it: the next one may go there too.
        func keep(_ connection: ClientConnection) {
            guard self.connection == nil, !isClosed, connection.isReusable else { return connection.close() }
            connection.becomeIdle(keptBy: self)
            self.connection = connection
        }

        /// Something else may be there from now on.
        func forgetConnection() { connection.take()?.close() }

        func idleEnded(_ connection: ClientConnection) { forgetConnection() }

        fileprivate func close() {
            isClosed = true
            forgetConnection()
            spareParking?.close()
            parking.close()
        }
    }

    private(set) package var pool: Pool
    let loop: EventLoop
    private let onChange: (Pool, Replica, Change) -> Void
    private let survey: (Replica, Parking) async -> Void
    /// Of the pool's replicas, in their order.
    private var watches: [Watch] = []
    private var leaving: [Watch] = []
    /// Other numbers in each gateway.
    private var jitter = QuickRandom(seed: .random(in: .min ... .max))
    private(set) var isStopped = false
    /// Told how each probe ended: why it failed, or nil.
    package var onProbe: (Pool, Replica, String?) -> Void = { _, _, _ in }
    /// Told when a probe could not reach the replica.
    package var onUnreachable: (Replica) -> Void = { _ in }

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
        watches = pool.replicas.map { watch($0, intents) }
    }

    /// Starts probing: every replica at once.
    package func start() {
        for watch in watches { start(watch) }
    }

    package func stop() {
        isStopped = true
        for watch in watches + leaving { watch.parking.wake() }
    }

    private func start(_ watch: Watch) {
        loop.spawn { [self] in await run(watch) }
    }

    private func watch(_ replica: Replica, _ intents: [String: HealthMachine.Intent]) -> Watch {
        let intent = intents[replica.name] ?? .enabled
        return Watch(replica, HealthMachine(settings: settings(replica), intent: intent), on: loop)
    }

    private func settings(_ replica: Replica) -> HealthSettings {
        var settings = pool.settings.health
        if !replica.settings.kind.abilities.contains(.tinyProbe) {
            settings.warmsUp = false
            settings.deepInterval = .zero
        }
        return settings
    }

    // MARK: Reloads

    /// The pool has new settings or other replicas. Those that stay keep all that is known of them, and a probe that is
    /// on the way; those that are gone are drained.
    ///
    /// - Parameter intents: for those that are new, by name.
    package func change(to pool: Pool, intents: [String: HealthMachine.Intent]) {
        self.pool = pool
        var known = Dictionary(
            uniqueKeysWithValues: (watches + leaving).map { (ObjectIdentifier($0.replica.state), $0) })
        let models = Set(pool.settings.models.map(\.name))
        var new: [Watch] = []
        watches = pool.replicas.map { replica in
            guard let watch = known.removeValue(forKey: ObjectIdentifier(replica.state)) else {
                new.append(self.watch(replica, intents))
                return new[new.count - 1]
            }
            watch.replica = replica
            watch.forgetConnection()
            replica.state.reconfigure(breaker: replica.settings.breaker, models: models)
            watch.machine.change(to: settings(replica))
            // None is scheduled while one is on its way, and in maintenance.
            if watch.nextProbe < .never {
                watch.nextProbe = min(watch.nextProbe, loop.now + pool.settings.health.interval)
            }
            if watch.isLeaving { wish(intents[replica.name] ?? .enabled, watch) }
            watch.isLeaving = false
            replica.state.publish(watch.machine.snapshot(at: loop.now))
            watch.parking.wake()
            return watch
        }
        leaving = Array(known.values)
        for watch in leaving where !watch.isLeaving { leave(watch) }
        for watch in new { start(watch) }
    }

    /// The pool is gone: all its replicas are drained.
    package func retire() {
        leaving += watches
        watches = []
        for watch in leaving where !watch.isLeaving { leave(watch) }
    }

    private func leave(_ watch: Watch) {
        watch.isLeaving = true
        wish(.draining, watch)
    }

    /// Whether it has nothing to watch any more.
    package var isDone: Bool { watches.isEmpty && leaving.isEmpty }

    // MARK: Events from elsewhere

    /// A request could not connect to the replica, or its connection was reset.
    package func trafficFailed(_ replica: Replica, _ reason: HealthMachine.Reason) {
        if let watch = find(replica) { suspect(watch, reason, because: "requests to it failed") }
    }

    private func suspect(_ watch: Watch, _ reason: HealthMachine.Reason, because problem: String) {
        let action = watch.machine.trafficFailed(reason, now: loop.now)
        guard action != .none else { return }
        watch.problem = problem
        perform(action, watch, startedAt: loop.now)
        watch.parking.wake()
    }

    private func find(_ replica: Replica) -> Watch? {
        if replica.index < watches.count, watches[replica.index].replica.isSame(as: replica) {
            return watches[replica.index]
        }
        return (watches + leaving).first { $0.replica.isSame(as: replica) }
    }

    /// Its address changed: whether it is there is found out at once.
    package func moved(_ replica: Replica) {
        guard let watch = find(replica) else { return }
        watch.forgetConnection()
        guard watch.nextProbe < .never else { return }
        watch.nextProbe = loop.now
        watch.parking.wake()
    }

    /// - Returns: false for a replica that this pool does not have.
    package func setIntent(_ intent: HealthMachine.Intent, of name: String) -> Bool {
        guard let watch = watches.first(where: { $0.replica.name == name }) else { return false }
        wish(intent, watch)
        return true
    }

    private func wish(_ intent: HealthMachine.Intent, _ watch: Watch) {
        let action = watch.machine.setIntent(intent)
        watch.replica.state.publish(watch.machine.snapshot(at: loop.now))
        perform(action, watch, startedAt: loop.now)
        watch.parking.wake()
    }

    /// Another process runs in its place: what was known of it is forgotten, and its probes begin anew.
    package func wasRestarted(_ name: String) {
        guard let watch = watches.first(where: { $0.replica.name == name }) else { return }
        suspect(watch, .refused, because: "it was restarted")
    }

    // MARK: One replica

    /// How often it is looked whether a replica that leaves has requests yet.
    private static let leavingInterval = Interval.milliseconds(250)

    private func run(_ watch: Watch) async {
        defer { watch.close() }
        perform(watch.machine.start(), watch, startedAt: loop.now)
        while !isStopped {
            if watch.isLeaving, watch.replica.inFlight == 0 {
                leaving.removeAll { $0 === watch }
                return
            }
            let share = watch.machine.nextShareChange(after: loop.now) ?? .never
            if loop.now >= watch.nextProbe {
                watch.nextProbe = .never
                // A task of its own: when the replica is suspected meanwhile, another one is sent at once.
                loop.spawn { [self] in await probe(watch) }
            }
            let look = watch.isLeaving ? loop.now + Self.leavingInterval : .never
            let isLate = await watch.parking.park(until: min(watch.nextProbe, share, look)) == .deadline
            if isLate, loop.now >= share {
                watch.replica.state.publish(watch.machine.snapshot(at: loop.now))
                onChange(pool, watch.replica, .shareChanged)
            }
        }
    }

    private func probe(_ watch: Watch) async {
        let startedAt = loop.now
        watch.probesSent += 1
        let number = watch.probesSent
        let failure = await requestPage(of: watch)
        // Streams are only asked where it matters: their events leave no trace elsewhere.
        if failure != nil, watch.machine.isUp || watch.machine.isSuspected { await surveyStreams(at: watch.replica) }
        guard !isStopped, number == watch.probesSent else { return }
        watch.problem = failure?.problem
        let around = surroundings(of: watch, probedAt: startedAt)
        let action =
            if let failure { watch.machine.probeFailed(failure.reason, around) } else {
                watch.machine.probeSucceeded(around)
            }
        perform(action, watch, startedAt: startedAt)
        watch.parking.wake()
        guard !watch.isLeaving else { return }
        if let failure, failure.reason >= .timedOut { onUnreachable(watch.replica) }
        onProbe(pool, watch.replica, failure?.problem)
        if failure == nil { startDeepProbe(of: watch, around) }
    }

    private func surveyStreams(at replica: Replica) async {
        let parking = Parking(on: loop)
        defer { parking.close() }
        await survey(replica, parking)
    }

    private func perform(_ action: HealthMachine.Action, _ watch: Watch, startedAt: Moment) {
        switch action {
        case .none: break
        case .probe(let after): watch.nextProbe = startedAt + after
        case .announce(let isServing, let after):
            if let after { watch.nextProbe = startedAt + after }
            announce(watch, isServing: isServing)
        case .warmUp(let after):
            watch.nextProbe = startedAt + after
            watch.replica.state.publish(watch.machine.snapshot(at: loop.now))
            loop.spawn { [self] in await warmUp(watch) }
        case .rest:
            watch.nextProbe = .never
            announce(watch, isServing: false)
        }
    }

    private func announce(_ watch: Watch, isServing: Bool) {
        let replica = watch.replica
        let snapshot = watch.machine.snapshot(at: loop.now)
        replica.state.publish(snapshot)
        guard case .down = snapshot.health else {
            watch.isDownTold = false
            return onChange(pool, replica, isServing ? .served : .shareChanged)
        }
        let news = watch.isDownTold ? nil : watch.problem ?? "its probe failed"
        watch.isDownTold = true
        onChange(pool, replica, snapshot.isSuspected ? .suspected(news: news) : .died(news: news))
        guard !pool.isAnyServing else { return }
        // A probe that is on its way already will tell.
        for other in watches where other !== watch && other.nextProbe < .never {
            perform(other.machine.othersWentDown(), other, startedAt: loop.now)
            other.parking.wake()
        }
    }

    private func surroundings(of watch: Watch, probedAt: Moment) -> HealthMachine.Surroundings {
        HealthMachine.Surroundings(
            now: loop.now, isAnyOtherUp: pool.replicas.contains { !$0.isSame(as: watch.replica) && $0.isServing },
            random: jitter.next(), probedAt: probedAt, answeredAt: watch.replica.state.answeredAt)
    }

    // MARK: Generating

    /// One token from a replica that comes back, so that no client is the first to wait for it.
    private func warmUp(_ watch: Watch) async {
        let startedAt = loop.now
        let reason = await generate(at: watch, model: pool.settings.models.first?.name ?? "")
        if isStopped { return }
        let around = surroundings(of: watch, probedAt: startedAt)
        let action =
            if let reason { watch.machine.warmUpFailed(reason, around) } else {
                watch.machine.warmUpSucceeded(around)
            }
        perform(action, watch, startedAt: loop.now)
        watch.parking.wake()
    }

    /// Where a model was stopped by its breaker, or where nobody has asked for long: does generating work?
    private func startDeepProbe(of watch: Watch, _ around: HealthMachine.Surroundings) {
        guard watch.machine.isServing, !watch.isDeepProbed else { return }
        let stopped = watch.replica.state.modelAwaitingProof(loop.now)
        guard stopped != nil || watch.machine.isDeepProbeDue(around, inFlight: watch.replica.inFlight) else { return }
        watch.isDeepProbed = true
        loop.spawn { [self] in
            let model = stopped ?? pool.settings.models.first?.name ?? ""
            await deepProbe(watch, model: model, wasStopped: stopped != nil)
            watch.isDeepProbed = false
        }
    }

    private func deepProbe(_ watch: Watch, model: String, wasStopped: Bool) async {
        let startedAt = loop.now
        let reason = await generate(at: watch, model: model)
        if isStopped { return }
        // Only the model's breaker hears of a probe that was sent for its sake: others may be fine.
        if wasStopped { return watch.replica.state.deepProbeEnded(of: model, well: reason == nil, now: loop.now) }
        let around = surroundings(of: watch, probedAt: startedAt)
        guard let reason else { return watch.machine.deepProbeSucceeded(around) }
        perform(watch.machine.deepProbeFailed(reason, around), watch, startedAt: loop.now)
        watch.parking.wake()
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
