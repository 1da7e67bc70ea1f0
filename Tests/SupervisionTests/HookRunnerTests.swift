import GatewayCore
import Glibc
import Synchronization
import Testing

@testable import Supervision

@Suite struct HookRunnerTests {
    private func shell(_ script: String, timeout: Interval = .seconds(30)) -> HookCall {
        HookCall(.command(["/bin/sh", "-c", script]), variables: ["HOOK_TEST=here"], timeout: timeout)
    }

    @Test func `a program that ends with 0 has succeeded, and finds its variables`() {
        #expect(HookRunner.perform(shell(#"[ "$HOOK_TEST" = here ]"#)) == .ok(""))
    }

    @Test func `a program that ends with another status, or is not there, has failed`() {
        #expect(HookRunner.perform(shell("exit 3")) == .failed("/bin/sh ended with status 3"))
        let call = HookCall(.command(["/absent"]), timeout: .seconds(1))
        guard case .failed(let reason) = HookRunner.perform(call) else {
            Issue.record("a program that isn't there was run")
            return
        }
        #expect(reason.contains("/absent"))
    }

    @Test func `a program that takes too long is killed with all that it started`() throws {
        let scratch = try Scratch()
        let script = "sleep 1000 & echo $! > \(scratch.path("pid")); wait"
        #expect(HookRunner.perform(shell(script, timeout: .milliseconds(300))) == .timedOut)
        let pid = try #require(scratch.number("pid"))
        #expect(eventually { isGone(pid) })
    }

    @Test func `a webhook that nobody answers has failed`() {
        let call = HookCall(.webhook(url: "http://127.0.0.1:1/", body: []), timeout: .seconds(5))
        guard case .failed = HookRunner.perform(call) else {
            Issue.record("a call to nobody succeeded")
            return
        }
    }

    @Test func `no more run at once than may, a bounded number waits, and what is beyond is dropped`() throws {
        let scratch = try Scratch()
        let runner = HookRunner(concurrency: 2)
        let results = Mutex<[HookResult]>([])
        let wait = "while [ ! -e \(scratch.path("go")) ]; do sleep 0.01; done"
        let count = 2 + HookRunner.waitingMax + 3
        for _ in 0..<count { runner.run(shell(wait)) { result in results.withLock { $0.append(result) } } }
        #expect(results.withLock { $0 } == [.dropped, .dropped, .dropped])
        close(open(scratch.path("go"), O_WRONLY | O_CREAT, 0o600))
        #expect(eventually { results.withLock { $0.count } == count })
        #expect(results.withLock { $0.count { $0 == .ok("") } } == count - 3)
    }
}

@Suite struct SupervisorSocketTests {
    private func ask(_ path: String, _ line: String) -> HookResult {
        HookRunner.perform(HookCall(.supervisor(socket: path, line: line), timeout: .seconds(20)))
    }

    private func service(_ name: String, _ command: ChildCommand) -> ServiceSettings {
        ServiceSettings(
            name: name, command: command, readiness: .started, startLimit: .seconds(30), patience: .seconds(30),
            restart: .replica)
    }

    @Test func `it restarts what it is asked to, and says the new process' number`() throws {
        let scratch = try Scratch()
        let run = SupervisedRun([[service("a", ChildCommand("/bin/sleep", ["1000"]))]])
        let socket = try SupervisorSocket(run.supervisor, path: scratch.path("up.sock"))
        let first = try #require(run.readyPID("a"))
        guard case .ok(let text) = ask(scratch.path("up.sock"), "restart a"), let second = Int32(text) else {
            Issue.record("it was not restarted")
            return
        }
        #expect(second != first && isGone(first) && !isGone(second))
        #expect(ask(scratch.path("up.sock"), "statuses") == .ok("a ready 1 0"))
        #expect(ask(scratch.path("up.sock"), "restart b") == .failed("there is no process b"))
        #expect(ask(scratch.path("up.sock"), "nonsense") == .failed("unknown request"))
        run.supervisor.stop()
        #expect(run.end() == .stopped)
        socket.end()
        #expect(access(scratch.path("up.sock"), F_OK) != 0)
    }

    @Test func `a replica that ends again and again is restarted three times in 300 s and then left alone`() throws {
        let scratch = try Scratch()
        let run = SupervisedRun([[service("a", ChildCommand("/bin/sleep", ["1000"]))]])
        let socket = try SupervisorSocket(run.supervisor, path: scratch.path("up.sock"))
        var pid = try #require(run.readyPID("a"))
        for _ in 0..<3 {
            #expect(kill(pid, SIGKILL) == 0)
            pid = try #require(run.readyPID("a", otherThan: pid))
        }
        #expect(kill(pid, SIGKILL) == 0)
        #expect(eventually { ask(scratch.path("up.sock"), "statuses") == .ok("a cooling_down 3 60") })
        run.supervisor.stop()
        #expect(run.end() == .stopped)
        socket.end()
    }
}
