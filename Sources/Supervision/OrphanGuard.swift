import GatewayCore
import Glibc
import Synchronization

/// Kills our child processes when we die without having done so, as after SIGKILL.
///
/// A small shell in a process group of its own reads our children's numbers from a socket. When we end, however, the
/// kernel closes our side; the shell reads the end and kills the groups that are left. The kernel's own means
/// (`PR_SET_PDEATHSIG`) would have to be set inside each child, reaches only the child itself, and fires when the
/// *thread* that started it ends.
///
/// A child that we start in the instant before we are killed may be missed.
/// - Owns: the shell, and our side of the socket, until ``close()``.
package final class OrphanGuard: Sendable {
    private let shell: ChildProcess
    private let ourSide: Mutex<Int32>

    /// What a terminal may send: blocked from the start, because the shell's `trap` comes a moment later.
    private static let terminalSignals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT]

    /// Ignores what a terminal sends; a line `+ pid` adds, `- pid` removes.
    private static let script = """
        trap '' INT TERM HUP QUIT
        list=
        while read -r verb pid; do
          case $verb in
            +) list="$list $pid" ;;
            -) kept=
               for each in $list; do [ "$each" = "$pid" ] || kept="$kept $each"; done
               list=$kept ;;
          esac
        done
        for pid in $list; do kill -s KILL -- "-$pid"; done
        """

    package init() throws(SpawnError) {
        let (ours, theirs) = socketPair()
        ourSide = Mutex(ours)
        defer { Glibc.close(theirs) }
        do throws(SpawnError) {
            let command = ChildCommand("/bin/sh", ["-c", Self.script], environment: [], output: .discarded)
            shell = try ChildProcess.start(command, input: theirs, blocking: Self.terminalSignals, guardedBy: nil)
        } catch {
            Glibc.close(ours)
            throw error
        }
    }

    deinit { close() }

    /// Ends the guard: children that are still there are killed.
    package func close() {
        ourSide.withLock { side in
            guard side >= 0 else { return }
            Glibc.close(side)
            side = -1
        }
    }

    /// Waits for the shell's end after ``close()``: from then on no child is left.
    package func waitForEnd(within limit: Interval) -> Bool { shell.waitForExit(within: limit) != nil }

    /// What Ctrl-C would send if the shell were in the terminal's group.
    func interrupt() { shell.send(SIGINT, toGroup: true) }

    func add(_ pid: pid_t) { tell("+ \(pid)\n") }
    func remove(_ pid: pid_t) { tell("- \(pid)\n") }

    /// A dozen bytes; they would have to pile up by the thousands before this blocks.
    private func tell(_ line: String) {
        var line = line
        ourSide.withLock { side in
            guard side >= 0 else { return }
            line.withUTF8 { _ = send(side, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        }
    }
}
