import GatewayCore
// `environ` is read once per start; nothing here changes the environment.
@preconcurrency import Glibc
import Synchronization

/// A running process that we started, in a process group of its own.
///
///     let child = try ChildProcess.start(ChildCommand("/bin/sleep", ["60"]), guardedBy: guardian)
///     child.send(SIGTERM)
///     let exit = child.waitForExit(within: .seconds(5)) ?? child.kill()
///
/// When it ends, whatever is left of its group is killed before the process is reaped, so nothing of it stays, and its
/// number can't be given to another process while we may still signal it.
/// - Owns: the process until it is reaped; one thread that waits for that.
package final class ChildProcess: Sendable {
    package let pid: pid_t
    /// Set for good when the process has ended.
    let ended = Latch()
    private let result = Mutex<ChildExit?>(nil)

    private init(pid: pid_t) { self.pid = pid }

    /// Starts `command`. Every signal has its default action in the child and none is blocked.
    ///
    /// - Throws: ``SpawnError`` when the program can't be run or the output file can't be opened.
    package static func start(
        _ command: ChildCommand, guardedBy guardian: OrphanGuard? = nil
    ) throws(SpawnError) -> ChildProcess {
        try start(command, input: nil, blocking: [], guardedBy: guardian)
    }

    /// `input` becomes its standard input; it stays ours too. `blocked` signals wait until it unblocks them.
    static func start(
        _ command: ChildCommand, input: Int32?, blocking blocked: [Int32], guardedBy guardian: OrphanGuard?
    ) throws(SpawnError) -> ChildProcess {
        var files = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&files)
        defer { posix_spawn_file_actions_destroy(&files) }
        redirect(&files, command.output, input)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        sigemptyset(&signals)
        for signal in blocked { sigaddset(&signals, signal) }
        posix_spawnattr_setsigmask(&attributes, &signals)
        posix_spawnattr_setpgroup(&attributes, 0)
        let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
        posix_spawnattr_setflags(&attributes, Int16(flags))

        var pid: pid_t = 0
        let error = withCStrings([command.program] + command.arguments) { arguments in
            guard let environment = command.environment else {
                return posix_spawn(&pid, command.program, &files, &attributes, arguments, environ)
            }
            return withCStrings(environment) {
                posix_spawn(&pid, command.program, &files, &attributes, arguments, $0)
            }
        }
        guard error == 0 else { throw SpawnError(program: command.program, errno: error) }
        guardian?.add(pid)
        let child = ChildProcess(pid: pid)
        detachThread { child.reap(guardian) }
        return child
    }

    /// How it ended; `nil` while it runs.
    package var exit: ChildExit? { result.withLock { $0 } }

    /// Sends a signal to the process itself, or to its whole group.
    /// - Returns: whether it was still there.
    @discardableResult
    package func send(_ signal: Int32, toGroup: Bool = false) -> Bool {
        // Not reaped while the lock is held, so the number is still this process's.
        result.withLock { result in
            result == nil && Glibc.kill(toGroup ? -pid : pid, signal) == 0
        }
    }

    /// Waits for the end, at most `limit`.
    package func waitForExit(within limit: Interval) -> ChildExit? {
        _ = ended.wait(milliseconds: Int32(clamping: limit.millisecondsRoundedUp))
        return exit
    }

    /// Kills the whole group and waits for the end, which comes at once unless the process hangs in the kernel.
    @discardableResult
    package func kill() -> ChildExit? {
        send(SIGKILL, toGroup: true)
        return waitForExit(within: .seconds(10))
    }

    /// The thread's work: waits for the end without reaping, tidies up, reaps.
    private func reap(_ guardian: OrphanGuard?) {
        var information = siginfo_t()
        while waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        result.withLock { result in
            Glibc.kill(-pid, SIGKILL)
            guardian?.remove(pid)
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0, errno == EINTR {}
            // What WIFSIGNALED, WTERMSIG and WEXITSTATUS compute.
            let signal = status & 0x7F
            result = signal == 0 ? .status((status >> 8) & 0xFF) : .signal(signal)
        }
        ended.set()
    }

    private static func redirect(
        _ files: inout posix_spawn_file_actions_t, _ output: ChildCommand.Output, _ input: Int32?
    ) {
        if let input {
            posix_spawn_file_actions_adddup2(&files, input, 0)
        } else {
            posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0)
        }
        switch output {
        case .inherited: return
        case .discarded: posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0)
        case .file(let path): posix_spawn_file_actions_addopen(&files, 1, path, O_WRONLY | O_APPEND | O_CREAT, 0o640)
        }
        posix_spawn_file_actions_adddup2(&files, 1, 2)
    }
}

/// Calls `body` with a list of C strings that ends in a null pointer.
private func withCStrings<Result>(
    _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
) -> Result {
    let copies = strings.map { strdup($0) }
    defer { for copy in copies { free(copy) } }
    return body(copies + [nil])
}

/// Runs `work` on a thread of its own with all signals blocked: they belong to the main thread.
package func detachThread(_ work: @escaping @Sendable () -> Void) {
    final class Work: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
    var everything = sigset_t()
    var before = sigset_t()
    sigfillset(&everything)
    pthread_sigmask(SIG_SETMASK, &everything, &before)
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(Work(work)).toOpaque()
    let result = pthread_create(
        &thread, nil,
        { argument in
            if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().run() }
            return nil
        }, argument)
    precondition(result == 0, "no thread left")
    pthread_detach(thread)
    pthread_sigmask(SIG_SETMASK, &before, nil)
}
