import Balancing
import GatewayCore
import Glibc
import Testing

@testable import Supervision

@Suite struct SupervisorTests {
    /// Quick, so that a test that needs several restarts takes no time.
    private static let quick = RestartSettings(
        firstDelay: .milliseconds(1), longestDelay: .milliseconds(2), restartsMax: 3, window: .seconds(60),
        coolDown: .seconds(60), stableAfter: .seconds(60))

    private func service(
        _ name: String, _ command: ChildCommand = ChildCommand("/bin/sleep", ["1000"]),
        readiness: ServiceSettings.Readiness = .started, startLimit: Interval = .seconds(30),
        patience: Interval = .seconds(30)
    ) -> ServiceSettings {
        ServiceSettings(
            name: name, command: command, readiness: readiness, startLimit: startLimit, patience: patience,
            restart: Self.quick)
    }

    @Test func `stages start one after the other and end in reverse`() throws {
        let run = SupervisedRun([[service("first")], [service("second"), service("third")], [service("fourth")]])
        for name in ["first", "second", "third", "fourth"] { #expect(run.readyPID(name) != nil) }
        run.supervisor.stop()
        #expect(run.end() == .stopped)
        let starts = run.events.compactMap { if case .started = $0.kind { $0.service } else { nil } }
        let stops = run.events.compactMap { if case .stopped = $0.kind { $0.service } else { nil } }
        #expect(starts == ["first", "second", "third", "fourth"])
        #expect(stops.first == "fourth" && stops.last == "first" && stops.count == 4)
        for status in run.supervisor.statuses { #expect(status.state == .stopped && status.pid == nil) }
    }

    @Test func `a stage waits until everything before it is ready`() throws {
        let scratch = try Scratch()
        let flag = scratch.path("flag")
        let run = SupervisedRun([
            [service("slow", readiness: .check { access(flag, F_OK) == 0 })], [service("next")],
        ])
        #expect(run.wait { if case .started = $0.kind { $0.service == "slow" } else { false } })
        #expect(run.status("slow")?.state != .ready)
        #expect(run.status("next")?.state == .waiting)
        close(open(flag, O_WRONLY | O_CREAT, 0o600))
        #expect(run.readyPID("next") != nil)
        run.supervisor.stop()
        #expect(run.end() == .stopped)
    }

    @Test func `a killed process is started again, and the others don't notice`() throws {
        let run = SupervisedRun([[service("a"), service("b")]])
        let first = try #require(run.readyPID("a"))
        let other = try #require(run.readyPID("b"))
        #expect(kill(first, SIGKILL) == 0)
        let second = try #require(run.readyPID("a", otherThan: first))
        #expect(isGone(first) && !isGone(second))
        #expect(run.readyPID("b") == other)
        #expect(run.status("a")?.restarts == 1)
        #expect(
            run.events.contains {
                if case .ended(.signal(SIGKILL), _) = $0.kind { $0.service == "a" } else { false }
            })
        run.supervisor.stop()
        #expect(run.end() == .stopped)
        #expect(isGone(second) && isGone(other))
    }

    @Test func `one that ends again and again without ever being ready ends the whole, with the reason`() throws {
        let run = SupervisedRun([
            [service("good")], [service("bad", shell("exit 69"), readiness: .check { false })],
        ])
        #expect(run.end() == .failed(service: "bad", reason: "it ended with status 69"))
        #expect(run.status("good")?.state == .stopped)
        let ends = run.events.count { if case .ended = $0.kind { true } else { false } }
        #expect(ends == 3)
    }

    @Test func `a program that isn't there ends the whole at once`() throws {
        let run = SupervisedRun([[service("good"), service("missing", ChildCommand("/nowhere/program"))]])
        guard case .failed("missing", let reason)? = run.end() else { Issue.record("no failure"); return }
        #expect(reason.hasPrefix("can't start /nowhere/program: "))
    }

    @Test func `one that does not get ready in time is killed and ends the whole`() throws {
        let run = SupervisedRun([[service("late", readiness: .check { false }, startLimit: .milliseconds(20))]])
        #expect(run.end() == .failed(service: "late", reason: "it was not ready in time"))
        #expect(run.events.contains { $0.kind == .startLimitOver })
    }

    @Test func `one that ignores SIGTERM is killed when patience ends`() throws {
        let scratch = try Scratch()
        let deaf = shell("trap '' TERM; echo $$ > \(scratch.path("pid")); while :; do sleep 1000; done")
        let run = SupervisedRun([[service("deaf", deaf, patience: .milliseconds(50))]])
        let pid = try #require(scratch.number("pid"))
        run.supervisor.stop()
        #expect(run.end() == .stopped)
        #expect(isGone(pid))
        #expect(run.events.map(\.kind).suffix(3) == [.stopping, .killed, .stopped(.signal(SIGKILL))])
    }

    @Test func `a forced stop waits for nobody's patience`() throws {
        let scratch = try Scratch()
        let deaf = shell("trap '' TERM; echo $$ > \(scratch.path("pid")); while :; do sleep 1000; done")
        let run = SupervisedRun([[service("first")], [service("deaf", deaf, patience: .seconds(3600))]])
        let pid = try #require(scratch.number("pid"))
        run.supervisor.stop()
        #expect(run.wait { $0.kind == .stopping })
        run.supervisor.stop(force: true)
        #expect(run.end() == .stopped)
        #expect(isGone(pid))
        #expect(run.status("first")?.state == .stopped)
    }

    @Test func `a service can be restarted gently, and often`() throws {
        let run = SupervisedRun([[service("a")]])
        var pid = try #require(run.readyPID("a"))
        for _ in 0..<5 {
            run.supervisor.restart("a")
            let next = try #require(run.readyPID("a", otherThan: pid))
            #expect(isGone(pid))
            pid = next
        }
        run.supervisor.restart("nobody")
        run.supervisor.stop()
        #expect(run.end() == .stopped)
        #expect(!run.events.contains { if case .ended = $0.kind { true } else { false } })
    }

    @Test func `stopping before anything has started starts nothing`() throws {
        let collector = EventCollector()
        let supervisor = Supervisor(stages: [[service("a")]]) { collector.add($0) }
        supervisor.stop()
        #expect(try supervisor.run() == .stopped)
        #expect(collector.events == [SupervisorEvent(service: "a", kind: .stopped(nil))])
    }

    @Test func `events read as sentences`() {
        func sentence(_ kind: SupervisorEvent.Kind) -> String { SupervisorEvent(service: "redis", kind: kind).sentence }
        #expect(sentence(.started(pid: 7)) == "redis was started (process 7)")
        #expect(sentence(.ready(after: .milliseconds(40))) == "redis is ready after 40 ms")
        #expect(
            sentence(.ended(.signal(9), restartAfter: .milliseconds(100)))
                == "redis was ended by signal 9 (SIGKILL); starting it again in 100 ms")
        #expect(
            sentence(.endedTooOften(.status(1), pause: .seconds(30)))
                == "redis ended with status 1, too often; leaving it alone for 30.0 s")
        #expect(sentence(.stopped(.status(0))) == "redis ended with status 0")
    }
}
