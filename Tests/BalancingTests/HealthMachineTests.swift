import Balancing
import GatewayCore
import TestSupport
import Testing

@Suite struct HealthMachineTests {
    private typealias Around = HealthMachine.Surroundings
    private let settings = HealthSettings(
        interval: .seconds(2), jitterPercent: 0, fall: 3, rise: 2, pressingInterval: .milliseconds(250),
        ramp: .seconds(16), warmsUp: false)
    private let amongOthers = Around(now: .zero, isAnyOtherUp: true, random: 0)
    private let alone = Around(now: .zero, isAnyOtherUp: false, random: 0)

    private func machine(warmsUp: Bool = false, intent: HealthMachine.Intent = .enabled) -> HealthMachine {
        var settings = settings
        settings.warmsUp = warmsUp
        return HealthMachine(settings: settings, intent: intent)
    }

    private func upMachine(warmsUp: Bool = false) -> HealthMachine {
        var machine = machine(warmsUp: warmsUp)
        _ = machine.probeSucceeded(amongOthers)
        return machine
    }

    @Test func `a new replica is probed at once and serves after its first success`() {
        var machine = machine()
        #expect(machine.start() == .probe(after: .zero))
        #expect(!machine.isServing)
        #expect(machine.probeSucceeded(amongOthers) == .announce(isServing: true, thenProbeAfter: .seconds(2)))
        #expect(machine.isServing)
        #expect(machine.share(at: .zero) == HealthMachine.fullShare)
    }

    @Test func `new settings keep what is known and wanted, and count from the next event on`() {
        var machine = upMachine()
        _ = machine.setIntent(.draining)
        _ = machine.probeFailed(.timedOut, amongOthers)
        var strict = settings
        (strict.fall, strict.interval) = (2, .seconds(8))
        machine.change(to: strict)
        #expect(machine.intent == .draining && machine.health == .up(failures: 1))
        let action = machine.probeFailed(.timedOut, amongOthers)
        #expect(action == .announce(isServing: false, thenProbeAfter: .seconds(2)))
        #expect(machine.health == .down(successes: 0, .timedOut))
    }

    @Test func `a new replica whose first probe fails is down`() {
        var machine = machine()
        let action = machine.probeFailed(.serverError, amongOthers)
        #expect(action == .announce(isServing: false, thenProbeAfter: .milliseconds(500)))
        #expect(machine.health == .down(successes: 0, .serverError))
    }

    @Test func `it takes three failures to go and two successes to return`() {
        var machine = upMachine()
        #expect(machine.probeFailed(.timedOut, amongOthers) == .probe(after: .milliseconds(500)))
        #expect(machine.probeFailed(.timedOut, amongOthers) == .probe(after: .milliseconds(500)))
        #expect(machine.isServing)
        let third = machine.probeFailed(.timedOut, amongOthers)
        #expect(third == .announce(isServing: false, thenProbeAfter: .milliseconds(500)))
        #expect(machine.probeSucceeded(amongOthers) == .probe(after: .milliseconds(500)))
        #expect(!machine.isServing)
        #expect(machine.probeSucceeded(amongOthers) == .announce(isServing: true, thenProbeAfter: .seconds(2)))
        #expect(machine.isServing)
    }

    @Test func `one success between failures starts the count again, on both sides`() {
        var machine = upMachine()
        for _ in 0..<10 {
            _ = machine.probeFailed(.timedOut, amongOthers)
            _ = machine.probeFailed(.timedOut, amongOthers)
            #expect(machine.probeSucceeded(amongOthers) == .probe(after: .seconds(2)))
        }
        #expect(machine.isServing)
        for _ in 0..<3 { _ = machine.probeFailed(.timedOut, amongOthers) }
        for _ in 0..<10 {
            _ = machine.probeSucceeded(amongOthers)
            #expect(machine.probeFailed(.timedOut, amongOthers) == .probe(after: .milliseconds(500)))
        }
        #expect(!machine.isServing)
    }

    @Test func `with no other replica up it is probed every 250 ms and one success readmits it with its full weight`() {
        var machine = upMachine(warmsUp: true)
        _ = machine.probeFailed(.refused, alone)
        _ = machine.probeFailed(.refused, alone)
        #expect(machine.probeFailed(.refused, alone) == .announce(isServing: false, thenProbeAfter: .milliseconds(250)))
        #expect(machine.probeFailed(.refused, alone) == .probe(after: .milliseconds(250)))
        #expect(machine.probeSucceeded(alone) == .announce(isServing: true, thenProbeAfter: .seconds(2)))
        #expect(machine.share(at: .zero) == HealthMachine.fullShare)
    }

    @Test func `a connect failure or reset on traffic takes it out at once and probes it at once, but only once`() {
        var machine = upMachine()
        #expect(machine.trafficFailed(.refused, now: .zero) == .announce(isServing: false, thenProbeAfter: .zero))
        #expect(!machine.isServing)
        for _ in 0..<100 { #expect(machine.trafficFailed(.refused, now: .zero) == .none) }
        _ = machine.probeSucceeded(amongOthers)
        #expect(machine.trafficFailed(.refused, now: .zero) == .none)
        _ = machine.probeSucceeded(amongOthers)
        #expect(machine.isServing)
    }

    @Test func `a replica that returns answers a warm-up request before it serves`() {
        var machine = upMachine(warmsUp: true)
        _ = machine.trafficFailed(.refused, now: .zero)
        _ = machine.probeSucceeded(amongOthers)
        #expect(machine.probeSucceeded(amongOthers) == .warmUp(thenProbeAfter: .seconds(2)))
        #expect(!machine.isServing)
        #expect(machine.probeSucceeded(amongOthers) == .probe(after: .seconds(2)))
        var failing = machine
        let failed = failing.warmUpFailed(.serverError, amongOthers)
        #expect(failed == .announce(isServing: false, thenProbeAfter: .milliseconds(500)))
        #expect(machine.warmUpSucceeded(amongOthers) == .announce(isServing: true, thenProbeAfter: nil))
        #expect(machine.isServing)
        #expect(machine.warmUpSucceeded(amongOthers) == .none)
    }

    @Test func `a warming replica serves at once when the others go down`() {
        var machine = upMachine(warmsUp: true)
        _ = machine.trafficFailed(.refused, now: .zero)
        _ = machine.probeSucceeded(amongOthers)
        _ = machine.probeSucceeded(amongOthers)
        #expect(machine.othersWentDown() == .probe(after: .milliseconds(250)))
        #expect(machine.probeSucceeded(alone) == .announce(isServing: true, thenProbeAfter: .seconds(2)))
        #expect(machine.warmUpFailed(.serverError, alone) == .none)
    }

    /// A real answer came half a second after the probe was sent.
    private let contradicted = Around(
        now: .zero + .seconds(1), isAnyOtherUp: true, random: 0, probedAt: .zero,
        answeredAt: .zero + .milliseconds(500))

    @Test func `failed probes that real answers contradict don't count, but not for ever`() {
        var machine = upMachine()
        for _ in 0..<9 {
            #expect(machine.probeFailed(.timedOut, contradicted) == .probe(after: .milliseconds(500)))
        }
        #expect(machine.isServing)
        for _ in 0..<2 { _ = machine.probeFailed(.timedOut, contradicted) }
        #expect(machine.isServing)
        let last = machine.probeFailed(.timedOut, contradicted)
        #expect(last == .announce(isServing: false, thenProbeAfter: .milliseconds(500)))
    }

    @Test func `a good probe gives the excuses back, and a frozen replica has none`() {
        var machine = upMachine()
        for _ in 0..<9 { _ = machine.probeFailed(.timedOut, contradicted) }
        _ = machine.probeSucceeded(amongOthers)
        for _ in 0..<9 { _ = machine.probeFailed(.timedOut, contradicted) }
        #expect(machine.isServing)
        // From now on nothing comes any more: the last answer is older than each probe.
        let frozen = Around(
            now: .zero + .seconds(9), isAnyOtherUp: true, random: 0, probedAt: .zero + .seconds(8),
            answeredAt: .zero + .seconds(8))
        for _ in 0..<2 { _ = machine.probeFailed(.timedOut, frozen) }
        #expect(machine.isServing)
        _ = machine.probeFailed(.timedOut, frozen)
        #expect(!machine.isServing)
    }

    @Test func `a page that says no at once is contradicted by whatever came since the probe before`() {
        var machine = upMachine()
        func around(_ probedAt: Int64, answeredAt: Int64) -> Around {
            Around(
                now: .zero + .seconds(probedAt), isAnyOtherUp: true, random: 0, probedAt: .zero + .seconds(probedAt),
                answeredAt: .zero + .seconds(answeredAt))
        }
        _ = machine.probeSucceeded(around(10, answeredAt: 0))
        for second in 12...20 { _ = machine.probeFailed(.serverError, around(Int64(second), answeredAt: 19)) }
        #expect(machine.isServing)
        for second in 21...23 { _ = machine.probeFailed(.serverError, around(Int64(second), answeredAt: 19)) }
        #expect(!machine.isServing)
    }

    private func deepMachine() -> HealthMachine {
        var settings = settings
        settings.deepInterval = .seconds(60)
        settings.warmsUp = false
        var machine = HealthMachine(settings: settings, intent: .enabled)
        _ = machine.probeSucceeded(amongOthers)
        return machine
    }

    @Test func `a deep probe is due only where nothing runs and nothing was answered for long`() {
        var machine = deepMachine()
        func around(_ seconds: Int64, answeredAt: Int64 = 0) -> Around {
            Around(
                now: .zero + .seconds(seconds), isAnyOtherUp: true, random: 0, answeredAt: .zero + .seconds(answeredAt))
        }
        #expect(!machine.isDeepProbeDue(around(59), inFlight: 0))
        #expect(machine.isDeepProbeDue(around(60), inFlight: 0))
        #expect(!machine.isDeepProbeDue(around(60), inFlight: 1))
        #expect(!machine.isDeepProbeDue(around(60, answeredAt: 1), inFlight: 0))
        machine.deepProbeSucceeded(around(60))
        #expect(!machine.isDeepProbeDue(around(119), inFlight: 0))
        #expect(machine.isDeepProbeDue(around(120), inFlight: 0))
        _ = machine.setIntent(.draining)
        #expect(!machine.isDeepProbeDue(around(1_000), inFlight: 0))
        #expect(!upMachine().isDeepProbeDue(around(1_000), inFlight: 0), "it is off")
    }

    @Test(arguments: [true, false])
    func `what can't generate is out, and its health page alone does not bring it back`(isAnyOtherUp: Bool) {
        var machine = deepMachine()
        let around = Around(now: .zero + .seconds(70), isAnyOtherUp: isAnyOtherUp, random: 0)
        let failed = machine.deepProbeFailed(.serverError, around)
        #expect(failed == .announce(isServing: false, thenProbeAfter: .milliseconds(500)))
        for _ in 0..<3 {
            if isAnyOtherUp { #expect(machine.probeSucceeded(around) == .probe(after: .milliseconds(500))) }
            #expect(machine.probeSucceeded(around) == .warmUp(thenProbeAfter: .seconds(2)))
            for _ in 0..<5 { _ = machine.probeSucceeded(around) }
            #expect(!machine.isServing)
            _ = machine.warmUpFailed(.serverError, around)
        }
        if isAnyOtherUp { _ = machine.probeSucceeded(around) }
        _ = machine.probeSucceeded(around)
        #expect(machine.warmUpSucceeded(around) == .announce(isServing: true, thenProbeAfter: nil))
        #expect(machine.isServing)
    }

    @Test func `a real answer is as good a proof, and a deep probe that one contradicts decides nothing`() {
        var machine = deepMachine()
        #expect(machine.deepProbeFailed(.timedOut, contradicted) == .none)
        _ = machine.deepProbeFailed(.timedOut, Around(now: .zero + .seconds(70), isAnyOtherUp: false, random: 0))
        let answered = Around(
            now: .zero + .seconds(72), isAnyOtherUp: false, random: 0, answeredAt: .zero + .seconds(71))
        #expect(machine.probeSucceeded(answered) == .announce(isServing: true, thenProbeAfter: .seconds(2)))
    }

    @Test func `the weight of a replica that returned rises in sixteen steps`() {
        var machine = upMachine()
        _ = machine.trafficFailed(.refused, now: .zero)
        _ = machine.probeSucceeded(amongOthers)
        _ = machine.probeSucceeded(Around(now: .zero + .seconds(100), isAnyOtherUp: true, random: 0))
        var now = Moment.zero + .seconds(100)
        for step in 1..<16 {
            #expect(machine.share(at: now) == step)
            #expect(machine.nextShareChange(after: now) == now + .seconds(1))
            #expect(machine.share(at: now + .seconds(1) - .nanoseconds(1)) == step)
            now = now + .seconds(1)
        }
        #expect(machine.share(at: now) == 16)
        #expect(machine.nextShareChange(after: now) == nil)
        #expect(machine.snapshot(at: now + .seconds(1_000)).share == 16)
    }

    @Test func `a probe never undoes a drain, and a drained replica keeps its health`() {
        var machine = upMachine()
        #expect(machine.setIntent(.draining) == .announce(isServing: false, thenProbeAfter: nil))
        for _ in 0..<5 { _ = machine.probeSucceeded(amongOthers) }
        #expect(!machine.isServing && machine.isUp)
        #expect(machine.setIntent(.draining) == .none)
        #expect(machine.setIntent(.enabled) == .announce(isServing: true, thenProbeAfter: nil))
    }

    @Test func `maintenance stops probes, ignores late ones and begins anew`() {
        var machine = upMachine()
        #expect(machine.setIntent(.maintenance) == .rest)
        #expect(machine.probeSucceeded(amongOthers) == .none)
        #expect(machine.probeFailed(.refused, amongOthers) == .none)
        #expect(machine.trafficFailed(.refused, now: .zero) == .none)
        #expect(machine.othersWentDown() == .none)
        #expect(machine.setIntent(.enabled) == .announce(isServing: false, thenProbeAfter: .zero))
        #expect(machine.health == .unknown)
        #expect(self.machine(intent: .maintenance).start() == .rest)
    }

    @Test func `jitter moves the interval by at most half of its percentage to either side`() {
        var settings = settings
        settings.jitterPercent = 10
        var generator = SplitMix64(seed: 1)
        var machine = HealthMachine(settings: settings, intent: .enabled)
        _ = machine.probeSucceeded(amongOthers)
        var seen: [Interval] = []
        for _ in 0..<1_000 {
            let around = Around(now: .zero, isAnyOtherUp: true, random: generator.next())
            if case .probe(let after) = machine.probeSucceeded(around) { seen.append(after) }
        }
        #expect(seen.count == 1_000)
        #expect(seen.allSatisfy { $0 >= .milliseconds(1_900) && $0 <= .milliseconds(2_100) })
        #expect((seen.max() ?? .zero) - (seen.min() ?? .zero) > .milliseconds(150))
    }

    /// Random events against the rule told as a history of probe results.
    @Test(arguments: 1...20)
    func `it changes sides exactly when the last results say so`(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var machine = machine()
        var isUp = false
        var history: [Bool] = []
        for step in 0..<2_000 {
            let isAnyOtherUp = generator.next() % 3 > 0
            let around = Around(now: .zero, isAnyOtherUp: isAnyOtherUp, random: generator.next())
            let action: HealthMachine.Action
            if generator.next() % 40 == 0 {
                action = machine.trafficFailed(.refused, now: .zero)
                if isUp || step == 0 { history = [] }
                isUp = false
            } else {
                let isGood = generator.next() % 5 > 1
                action = isGood ? machine.probeSucceeded(around) : machine.probeFailed(.timedOut, around)
                history.append(isGood)
                let wasUp = isUp
                if isUp {
                    isUp = history.suffix(3) != [false, false, false]
                } else {
                    isUp = isGood && (!isAnyOtherUp || history.suffix(2) == [true, true] || step == 0)
                }
                if isUp != wasUp { history = [] }
            }
            #expect(machine.isServing == isUp, "step \(step)")
            if case .announce(let isServing, _) = action { #expect(isServing == isUp) }
        }
    }
}

@Suite struct PanicTests {
    private func snapshot(_ health: HealthMachine.Health, _ intent: HealthMachine.Intent = .enabled) -> HealthSnapshot {
        HealthSnapshot(intent: intent, health: health, share: 16)
    }

    private func choose(
        among snapshots: [HealthSnapshot], rotation: Int = 0, isEligible: (Int) -> Bool = { _ in true }
    ) -> Int? {
        let pick = Panic.choose(count: snapshots.count, rotation: rotation, snapshot: { snapshots[$0] }) {
            isEligible($0) ? .available : .unavailable
        }
        return if case .replica(let index) = pick { index } else { nil }
    }

    @Test func `the least bad replica goes first`() {
        var snapshots = [
            snapshot(.down(successes: 0, .refused)), snapshot(.down(successes: 0, .timedOut)),
            snapshot(.down(successes: 1, .serverError)), snapshot(.down(successes: 0, .slow)), snapshot(.unknown),
            snapshot(.warming),
        ]
        for expected in (0..<6).reversed() {
            #expect(choose(among: snapshots, rotation: 3) == expected)
            snapshots[expected].intent = .maintenance
        }
        #expect(choose(among: snapshots) == nil)
    }

    @Test func `no panic while any enabled replica is up, even a full one`() {
        let snapshots = [snapshot(.down(successes: 0, .slow)), snapshot(.up(failures: 2))]
        #expect(choose(among: snapshots, isEligible: { $0 == 0 }) == nil)
    }

    @Test func `while somebody is up only a suspected replica is a choice, the least bad of them`() {
        var snapshots = [
            snapshot(.down(successes: 0, .refused)), snapshot(.down(successes: 0, .timedOut)),
            snapshot(.down(successes: 0, .slow)), snapshot(.warming), snapshot(.up(failures: 0)),
        ]
        (snapshots[0].isSuspected, snapshots[1].isSuspected) = (true, true)
        for rotation in 0..<5 {
            #expect(choose(among: snapshots, rotation: rotation) == 1)
            #expect(choose(among: snapshots, rotation: rotation, isEligible: { $0 != 1 }) == 0)
            #expect(choose(among: snapshots, rotation: rotation, isEligible: { $0 > 1 }) == nil)
        }
        snapshots[4].intent = .draining
        for rotation in 0..<5 { #expect(choose(among: snapshots, rotation: rotation) == 3) }
    }

    @Test func `a draining replica is never chosen, however healthy`() {
        let snapshots = [snapshot(.up(failures: 0), .draining), snapshot(.down(successes: 0, .refused))]
        #expect(choose(among: snapshots) == 1)
        #expect(choose(among: snapshots, isEligible: { $0 == 0 }) == nil)
    }

    @Test func `only a replica that is down without a word, and has answered nobody lately, is silent`() {
        func isSilent(_ health: HealthMachine.Health, _ sinceAnswer: Int64 = 100) -> Bool {
            Panic.isSilent(snapshot(health), sinceAnswer: .seconds(sinceAnswer), window: .seconds(6))
        }
        #expect(isSilent(.down(successes: 0, .refused)) && isSilent(.down(successes: 1, .timedOut)))
        #expect(!isSilent(.down(successes: 0, .timedOut), 6))
        #expect(!isSilent(.down(successes: 0, .serverError)) && !isSilent(.down(successes: 0, .slow)))
        #expect(!isSilent(.unknown) && !isSilent(.warming) && !isSilent(.up(failures: 2)))
    }

    @Test func `equals take turns and excluded ones are passed over`() {
        let snapshots = Array(repeating: snapshot(.down(successes: 0, .refused)), count: 3)
        let picks = (0..<3).map { choose(among: snapshots, rotation: $0) }
        #expect(Set(picks) == [0, 1, 2])
        #expect(choose(among: snapshots, isEligible: { $0 != 0 }) == 1)
        #expect(choose(among: [], rotation: 5) == nil)
    }
}
