import Balancing
import GatewayCore
import TestSupport

/// A pool of modelled replicas, the gateway's deciders, and clients, on a clock that only events move.
///
/// Everything random comes from one seed, so a run repeats exactly. What must never happen is collected in
/// `violations`, with the story of the request it happened to.
struct Simulation {
    enum Event {
        case arrival
        case clientLeaves(Int)
        case upstream(request: Int, round: Int, Attempt.Event)
        /// A request that found all replicas full looks again.
        case look(request: Int, round: Int)
        case waited(request: Int, round: Int)
        case waitedLongEnough(request: Int, round: Int)
        case probe(replica: Int, round: Int)
        case probed(replica: Int, round: Int, HealthMachine.Reason?, began: Moment)
        case warmedUp(replica: Int, HealthMachine.Reason?)
        case weather(replica: Int, Condition)
        case intent(replica: Int, HealthMachine.Intent)
    }

    struct Settings {
        var seed: UInt64 = 1
        var weights = [1, 1, 1]
        var policy = ReplicaPicker.Policy.smoothRoundRobin
        var maxInFlight = 200
        var requestsPerSecond = 50
        var lasts = Interval.seconds(30)
        /// The longest answer, in tokens.
        var lengthMax = 80
        var isEverythingStreamed = false
        var leavePercent = 5
        var retryPercent = 20
        var retriesPerSecond = 10
        /// Requests that may wait while all replicas are full.
        var queueLength = 50
        /// Keep each request's story: a third of the time, so only where something went wrong.
        var tells = false
    }

    static let firstByteTimeout = Interval.seconds(3)
    static let probeTimeout = Interval.seconds(1)
    static let deadline = Interval.seconds(30)
    static let queueTimeout = Interval.seconds(5)
    /// Whoever waits looks as often as this, called or not.
    static let lookInterval = Interval.seconds(1)
    /// After trouble a replica is back within this time: two quick probes after one that hung, and its warm-up.
    static let recovery = Interval.seconds(8)

    var settings: Settings
    var generator: SplitMix64
    var now = Moment.zero
    var queue = EventQueue<Event>()
    var replicas: [ModelReplica]
    var picker: ReplicaPicker
    var budget: RetryBudget
    var waiters: FairQueue<Int>
    var requests: [ModelRequest] = []
    var retries: [Moment] = []
    var violations: [String] = []

    init(_ settings: Settings) {
        self.settings = settings
        generator = SplitMix64(seed: settings.seed)
        let health = HealthSettings(
            interval: .seconds(2), jitterPercent: 10, fall: 3, rise: 2, pressingInterval: .milliseconds(250),
            ramp: .seconds(10), warmsUp: true)
        let breaker = BreakerSettings(
            failuresInARow: 5, failuresOf32: 16, shortest: .seconds(5), longest: .seconds(60))
        replicas = settings.weights.map {
            ModelReplica(weight: $0, maxInFlight: settings.maxInFlight, health: health, breaker: breaker)
        }
        picker = ReplicaPicker(
            settings.weights.map { .init(weight: $0 * HealthMachine.fullShare, tier: .primary) },
            policy: settings.policy)
        waiters = FairQueue(lengthMax: settings.queueLength)
        budget = RetryBudget(percent: settings.retryPercent, perSecond: settings.retriesPerSecond)
        for index in replicas.indices { perform(replicas[index].machine.start(), replica: index, began: now) }
        queue.add(.arrival, at: .zero + .milliseconds(100))
    }

    /// Runs until every request has ended; later than a minute after the last one began is a violation.
    mutating func run() {
        let end = Moment.zero + settings.lasts
        while let (at, event) = queue.popFirst() {
            now = at
            handle(event)
            noteUsable()
            if now > end, requests.allSatisfy({ $0.outcome != nil }) { break }
            if now > end + .seconds(60) {
                violations.append("requests are still running a minute after the last one began")
                break
            }
        }
        check()
    }

    mutating func chance(_ percent: Int) -> Bool { generator.next() % 100 < UInt64(percent) }

    mutating func between(_ low: Interval, _ high: Interval) -> Interval {
        .nanoseconds(low.nanoseconds + Int64(generator.next() % UInt64(high.nanoseconds - low.nanoseconds + 1)))
    }

    private mutating func handle(_ event: Event) {
        switch event {
        case .arrival: arrive()
        case .clientLeaves(let index): leave(index)
        case .upstream(let index, let round, let event):
            if requests[index].round == round, requests[index].outcome == nil { happened(event, to: index) }
        case .look(let index, let round): look(index, round: round)
        case .waitedLongEnough(let index, let round): waitedLongEnough(index, round: round)
        case .waited(let index, let round):
            if requests[index].round == round, requests[index].outcome == nil { tell(.waited, request: index) }
        case .probe(let index, let round): probe(index, round: round)
        case .probed(let index, let round, let reason, let began):
            if replicas[index].probeRound == round { probed(index, reason, began: began) }
        case .warmedUp(let index, let reason): warmedUp(index, reason)
        case .weather(let index, let condition): turn(index, condition)
        case .intent(let index, let intent): set(index, intent)
        }
    }

    private mutating func arrive() {
        let length = Int(generator.next() % UInt64(settings.lengthMax)) + 1
        let isStream = settings.isEverythingStreamed || chance(70)
        let facts = AttemptRequest(
            isStream: isStream, choices: 1, traits: [], maxTokens: chance(50) ? length : nil)
        let attempt = Attempt(
            facts, settings: AttemptSettings(sendsMax: 3, waitMax: .seconds(10)), deadline: now + Self.deadline)
        let caller = Int(generator.next() % 4)
        requests.append(
            ModelRequest(began: now, length: length, isStream: isStream, caller: caller, attempt: attempt))
        let index = requests.count - 1
        budget.requestStarted(now)
        if chance(settings.leavePercent) {
            queue.add(.clientLeaves(index), at: now + between(.milliseconds(1), .seconds(4)))
        }
        perform(requests[index].attempt.start(now: now), request: index)
        let gap = 2_000_000_000 / Int64(settings.requestsPerSecond)
        let next = now + .nanoseconds(Int64(generator.next() % UInt64(gap)) + 1)
        if next < .zero + settings.lasts { queue.add(.arrival, at: next) }
    }
}
