import Balancing
import GatewayCore
import Testing

/// What traffic alone found, and what confirms or clears it.
@Suite struct SuspicionTests {
    private typealias Around = HealthMachine.Surroundings
    private let amongOthers = Around(now: .zero, isAnyOtherUp: true, random: 0)

    private func upMachine(warmsUp: Bool = false) -> HealthMachine {
        let settings = HealthSettings(
            interval: .seconds(2), jitterPercent: 0, fall: 3, rise: 2, pressingInterval: .milliseconds(250),
            ramp: .seconds(16), warmsUp: warmsUp)
        var machine = HealthMachine(settings: settings, intent: .enabled)
        _ = machine.probeSucceeded(amongOthers)
        return machine
    }

    @Test func `traffic alone makes it suspected, and the first failed probe settles it and is announced, once`() {
        var machine = upMachine()
        _ = machine.trafficFailed(.refused, now: .zero)
        #expect(machine.isSuspected && !machine.snapshot(at: .zero).isDeclaredDead)
        let first = machine.probeFailed(.refused, amongOthers)
        #expect(first == .announce(isServing: false, thenProbeAfter: .milliseconds(500)), "the same reason is news")
        #expect(!machine.isSuspected && machine.snapshot(at: .zero).isDeclaredDead)
        #expect(machine.probeFailed(.refused, amongOthers) == .probe(after: .milliseconds(500)))
        #expect(machine.trafficFailed(.refused, now: .zero) == .none)
        #expect(machine.snapshot(at: .zero).isDeclaredDead, "traffic takes nothing back")
    }

    @Test func `a good probe does not clear a suspicion before it is up, and a failed one behind it settles it`() {
        var machine = upMachine()
        _ = machine.trafficFailed(.timedOut, now: .zero)
        _ = machine.probeSucceeded(amongOthers)
        #expect(machine.isSuspected && !machine.isServing)
        var failing = machine
        let failed = failing.probeFailed(.timedOut, amongOthers)
        #expect(failed == .announce(isServing: false, thenProbeAfter: .milliseconds(500)))
        #expect(failing.snapshot(at: .zero).isDeclaredDead)
        _ = machine.probeSucceeded(amongOthers)
        #expect(!machine.isSuspected && machine.isServing)
    }

    @Test func `what probes take out is declared dead at once, however often traffic agrees`() {
        var machine = upMachine()
        for _ in 0..<3 { _ = machine.probeFailed(.timedOut, amongOthers) }
        #expect(machine.snapshot(at: .zero).isDeclaredDead)
        _ = machine.trafficFailed(.refused, now: .zero)
        #expect(machine.snapshot(at: .zero).isDeclaredDead)
        var warming = upMachine(warmsUp: true)
        _ = warming.trafficFailed(.refused, now: .zero)
        for _ in 0..<2 { _ = warming.probeSucceeded(amongOthers) }
        #expect(warming.health == .warming && !warming.snapshot(at: .zero).isDeclaredDead)
        _ = warming.warmUpFailed(.serverError, amongOthers)
        #expect(warming.snapshot(at: .zero).isDeclaredDead)
    }

    @Test func `a probe that was on its way when the suspicion began tells nothing, however it ends`() {
        func around(probedAt: Int64) -> Around {
            Around(
                now: .zero + .seconds(11), isAnyOtherUp: false, random: 0, probedAt: .zero + .seconds(probedAt))
        }
        var machine = upMachine()
        _ = machine.trafficFailed(.refused, now: .zero + .seconds(10))
        #expect(machine.probeFailed(.timedOut, around(probedAt: 9)) == .none)
        #expect(machine.isSuspected)
        #expect(machine.probeSucceeded(around(probedAt: 9)) == .none)
        #expect(machine.isSuspected && !machine.isServing)
        var failing = machine
        _ = failing.probeFailed(.timedOut, around(probedAt: 10))
        #expect(failing.snapshot(at: .zero).isDeclaredDead)
        _ = machine.probeSucceeded(around(probedAt: 10))
        #expect(!machine.isSuspected && machine.isServing)
        #expect(machine.probeFailed(.timedOut, around(probedAt: 9)) == .none, "it is as old as it was")
        #expect(machine.health == .up(failures: 0))
    }

    @Test(arguments: [HealthMachine.Reason.refused, .serverError, .timedOut])
    func `real answers since the suspicion began contradict a failed probe, but not for ever`(
        reason: HealthMachine.Reason
    ) {
        func around(_ second: Int64, answeredAt: Moment) -> Around {
            Around(
                now: .zero + .seconds(second), isAnyOtherUp: true, random: 0, probedAt: .zero + .seconds(second),
                answeredAt: answeredAt)
        }
        let suspectedAt = Moment.zero + .seconds(10)
        var machine = upMachine()
        _ = machine.probeSucceeded(around(8, answeredAt: .zero))
        _ = machine.trafficFailed(.refused, now: suspectedAt)
        var unexcused = machine
        _ = unexcused.probeFailed(reason, around(10, answeredAt: suspectedAt))
        #expect(unexcused.snapshot(at: .zero).isDeclaredDead, "that answer came before")
        for second in 10..<19 {
            let answered = around(Int64(second), answeredAt: .zero + .seconds(Int64(second)) + .milliseconds(1))
            #expect(machine.probeFailed(reason, answered) == .probe(after: .milliseconds(500)))
            #expect(machine.isSuspected)
        }
        _ = machine.probeFailed(reason, around(19, answeredAt: .zero + .seconds(20)))
        #expect(machine.snapshot(at: .zero).isDeclaredDead)
        for second in 20..<24 {
            _ = machine.probeFailed(reason, around(Int64(second), answeredAt: .zero + .seconds(30)))
            #expect(machine.snapshot(at: .zero).isDeclaredDead, "what was declared dead is not suspected again")
        }
    }

    @Test func `an operator's maintenance forgets a suspicion`() {
        var machine = upMachine()
        _ = machine.trafficFailed(.refused, now: .zero)
        _ = machine.setIntent(.maintenance)
        #expect(!machine.isSuspected)
    }
}
