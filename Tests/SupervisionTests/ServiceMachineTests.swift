import Balancing
import GatewayCore
import TestSupport
import Testing

@testable import Supervision

@Suite struct ServiceMachineTests {
    private let restart = RestartSettings(
        firstDelay: .seconds(1), longestDelay: .seconds(8), restartsMax: 3, window: .seconds(60),
        coolDown: .seconds(30), stableAfter: .seconds(20))

    private func machine() -> ServiceMachine {
        ServiceMachine(startLimit: .seconds(10), patience: .seconds(5), restart: restart)
    }

    private func at(_ seconds: Int64) -> Moment { .zero + .seconds(seconds) }

    @Test func `a service starts, becomes ready, ends, rests and starts again`() {
        var machine = machine()
        #expect(machine.start(at(1)) == .spawn)
        #expect(machine.state == .starting)
        #expect(machine.nextDeadline == at(11))
        machine.becameReady()
        #expect(machine.state == .ready)
        #expect(machine.nextDeadline == .never)
        #expect(machine.exited(at(2)) == nil)
        #expect(machine.state == .resting(until: at(3)))
        #expect(machine.nextDeadline == at(3))
        #expect(machine.tick(at(3) - .nanoseconds(1)) == nil)
        #expect(machine.tick(at(3)) == .spawn)
        #expect(machine.restarts == 1)
    }

    @Test func `one that ends too often cools down and is then tried again`() {
        var machine = machine()
        _ = machine.start(at(1))
        var now = at(1)
        for _ in 0..<3 {
            _ = machine.exited(now)
            guard case .resting(let until) = machine.state else { Issue.record("not resting"); return }
            now = until
            #expect(machine.tick(now) == .spawn)
        }
        _ = machine.exited(now)
        #expect(machine.state == .coolingDown(until: now + .seconds(30)))
        #expect(machine.tick(now + .seconds(29)) == nil)
        #expect(machine.tick(now + .seconds(30)) == .spawn)
        #expect(!machine.hasBeenReady)
    }

    @Test func `one that is not ready in time is killed once`() {
        var machine = machine()
        _ = machine.start(at(1))
        #expect(machine.tick(at(10)) == nil)
        #expect(machine.tick(at(11)) == .kill)
        #expect(machine.tick(at(12)) == nil)
        #expect(machine.nextDeadline == .never)
        _ = machine.exited(at(12))
        #expect(machine.state == .resting(until: at(13)))
    }

    @Test func `a stop is SIGTERM, patience, SIGKILL once, and no new start`() {
        var machine = machine()
        _ = machine.start(at(1))
        machine.becameReady()
        #expect(machine.requestStop(at(2)) == .terminate)
        #expect(machine.requestStop(at(3)) == nil)
        #expect(machine.nextDeadline == at(7))
        #expect(machine.tick(at(6)) == nil)
        #expect(machine.tick(at(7)) == .kill)
        #expect(machine.tick(at(8)) == nil)
        #expect(machine.exited(at(8)) == nil)
        #expect(machine.state == .stopped)
        #expect(machine.tick(at(100)) == nil)
    }

    @Test func `a restart that was asked for comes at once and counts as no failure`() {
        var machine = machine()
        _ = machine.start(at(1))
        for round in 0..<10 {
            machine.becameReady()
            #expect(machine.requestRestart(at(2)) == .terminate)
            #expect(machine.exited(at(2)) == .spawn)
            #expect(machine.restarts == round + 1)
        }
    }

    @Test func `a stop overrules a restart`() {
        var machine = machine()
        _ = machine.start(at(1))
        _ = machine.requestRestart(at(2))
        #expect(machine.requestStop(at(2)) == nil)
        #expect(machine.exited(at(3)) == nil)
        #expect(machine.state == .stopped)
    }

    @Test func `what does not run is stopped without a signal`() {
        var waiting = machine()
        #expect(waiting.requestStop(at(1)) == nil)
        #expect(waiting.state == .stopped)
        var resting = machine()
        _ = resting.start(at(1))
        _ = resting.exited(at(1))
        #expect(resting.force() == nil)
        #expect(resting.state == .stopped)
    }

    @Test func `whatever happens in whatever order, at most one process runs and none after a stop`() {
        for seed in 0..<300 {
            var generator = SplitMix64(seed: UInt64(seed))
            var machine = machine()
            var runs = false
            var stopAsked = false
            var now = at(1)
            for _ in 0..<200 {
                now = now + .milliseconds(Int64(generator.next() % 3000))
                var action: ServiceMachine.Action?
                switch generator.next() % 12 {
                case 0...1: action = machine.start(now)
                case 2: if runs { machine.becameReady() }
                case 3...4:
                    if runs {
                        runs = false
                        action = machine.exited(now)
                    }
                case 5: action = machine.requestRestart(now)
                case 6 where generator.next() % 20 == 0:
                    action = machine.requestStop(now)
                    stopAsked = true
                case 7 where generator.next() % 40 == 0:
                    action = machine.force()
                    stopAsked = true
                default: action = machine.tick(now)
                }
                switch action {
                case .spawn:
                    #expect(!runs && !stopAsked, "seed \(seed)")
                    runs = true
                case .terminate, .kill: #expect(runs, "seed \(seed)")
                case nil: break
                }
                #expect(machine.isRunning == runs, "seed \(seed)")
                if stopAsked { #expect(machine.state == (runs ? .stopping : .stopped), "seed \(seed)") }
            }
        }
    }
}
