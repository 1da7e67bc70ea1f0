import GatewayCore
import Glibc
import Testing

@testable import Supervision

@Suite struct ChildProcessTests {
    @Test func `an exit status and a signal are told apart`() throws {
        let ended = try ChildProcess.start(shell("exit 7"))
        #expect(ended.waitForExit(within: .seconds(10)) == .status(7))
        let killed = try ChildProcess.start(ChildCommand("/bin/sleep", ["1000"]))
        #expect(killed.exit == nil)
        #expect(killed.send(SIGTERM))
        #expect(killed.waitForExit(within: .seconds(10)) == .signal(SIGTERM))
        #expect(isGone(killed.pid))
        #expect(!killed.send(SIGTERM))
    }

    @Test func `a program that isn't there is an error with its reason`() {
        #expect(throws: SpawnError(program: "/nowhere/program", errno: ENOENT)) {
            _ = try ChildProcess.start(ChildCommand("/nowhere/program"))
        }
        #expect(throws: SpawnError.self) {
            _ = try ChildProcess.start(shell("true", output: .file("/nowhere/log")))
        }
    }

    @Test func `output of both kinds is appended to the file`() throws {
        let scratch = try Scratch()
        for word in ["one", "two"] {
            let script = "echo \(word); echo \(word) >&2"
            let child = try ChildProcess.start(shell(script, output: .file(scratch.path("log"))))
            #expect(child.waitForExit(within: .seconds(10)) == .status(0))
        }
        #expect(scratch.content("log") == "one\none\ntwo\ntwo\n")
    }

    @Test func `the environment is ours unless another one is given`() throws {
        let scratch = try Scratch()
        setenv("WEIR_TEST_INHERITED", "yes", 1)
        let script = "echo \"$WEIR_TEST_INHERITED/$OWN\""
        var command = shell(script, output: .file(scratch.path("log")))
        _ = try ChildProcess.start(command).waitForExit(within: .seconds(10))
        command.environment = ["OWN=1"]
        _ = try ChildProcess.start(command).waitForExit(within: .seconds(10))
        #expect(scratch.content("log") == "yes/\n/1\n")
    }

    @Test func `a child leads a group of its own and has no signal blocked, whatever its parent's thread has`() throws {
        var signals = sigset_t()
        var before = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGTERM)
        pthread_sigmask(SIG_BLOCK, &signals, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        let child = try ChildProcess.start(ChildCommand("/bin/sleep", ["1000"]))
        #expect(getpgid(child.pid) == child.pid)
        #expect(child.send(SIGTERM))
        #expect(child.waitForExit(within: .seconds(10)) == .signal(SIGTERM))
    }

    @Test func `what a child started itself does not outlive it`() throws {
        let scratch = try Scratch()
        let child = try ChildProcess.start(shell("sleep 1000 & echo $! > \(scratch.path("pid")); wait"))
        let grandchild = try #require(scratch.number("pid"))
        #expect(!isGone(grandchild))
        #expect(child.send(SIGKILL))
        #expect(child.waitForExit(within: .seconds(10)) == .signal(SIGKILL))
        #expect(eventually { isGone(grandchild) })
    }

    @Test func `killing ends even what ignores every polite signal`() throws {
        let scratch = try Scratch()
        let child = try ChildProcess.start(
            shell("trap '' TERM INT HUP; echo $$ > \(scratch.path("pid")); while :; do sleep 1000; done"))
        #expect(scratch.number("pid") == child.pid)
        #expect(child.send(SIGTERM))
        #expect(child.exit == nil)
        #expect(child.kill() == .signal(SIGKILL))
    }

    @Test func `waiting for a child that goes on ends at the limit`() throws {
        let child = try ChildProcess.start(ChildCommand("/bin/sleep", ["1000"]))
        #expect(child.waitForExit(within: .milliseconds(1)) == nil)
        child.kill()
    }
}

@Suite struct OrphanGuardTests {
    @Test func `when our side of the guard closes, as when we are killed, all children and theirs are killed`() throws {
        let scratch = try Scratch()
        let guardian = try OrphanGuard()
        let plain = try ChildProcess.start(ChildCommand("/bin/sleep", ["1000"]), guardedBy: guardian)
        let deaf = try ChildProcess.start(
            shell("trap '' TERM; sleep 1000 & echo $! > \(scratch.path("pid")); wait"), guardedBy: guardian)
        let grandchild = try #require(scratch.number("pid"))
        guardian.close()
        #expect(plain.waitForExit(within: .seconds(10)) == .signal(SIGKILL))
        #expect(deaf.waitForExit(within: .seconds(10)) == .signal(SIGKILL))
        #expect(eventually { isGone(grandchild) })
        #expect(guardian.waitForEnd(within: .seconds(10)))
    }

    @Test func `a process that was removed again is left alone`() throws {
        let guardian = try OrphanGuard()
        let kept = try ChildProcess.start(ChildCommand("/bin/sleep", ["1000"]))
        let others = try (0..<3).map { _ in
            try ChildProcess.start(ChildCommand("/bin/sleep", ["1000"]), guardedBy: guardian)
        }
        guardian.add(kept.pid)
        guardian.remove(kept.pid)
        guardian.close()
        #expect(guardian.waitForEnd(within: .seconds(10)))
        for other in others { #expect(other.waitForExit(within: .seconds(10)) == .signal(SIGKILL)) }
        #expect(kept.exit == nil && !isGone(kept.pid))
        kept.kill()
    }

    @Test func `a terminal's signals don't end the guard`() throws {
        let scratch = try Scratch()
        let guardian = try OrphanGuard()
        let child = try ChildProcess.start(
            shell("trap '' INT; echo $$ > \(scratch.path("pid")); while :; do sleep 1000; done"), guardedBy: guardian)
        _ = scratch.number("pid")
        guardian.interrupt()
        guardian.close()
        #expect(child.waitForExit(within: .seconds(10)) == .signal(SIGKILL))
    }
}
