import ArgumentParser
import Glibc
import Wire

/// `weir upgrade`: the program that is installed now takes over from the one that runs.
struct UpgradeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upgrade",
        abstract: "Replace the running gateway by the program and configuration of now, refusing no connection.",
        discussion: """
            The running gateway starts its program anew, with the same arguments. The new process takes all listening \
            sockets over once it can serve; the old one finishes its requests and ends. If the new one does not come \
            up, the old one goes on as if nothing had been.
            Exit status: 0 the new process accepts, 1 nothing was changed, 69 no gateway is running.
            """)

    /// A little longer than the gateway gives its new process.
    private static let secondsMax = 100.0
    private static let pause: UInt32 = 50_000

    @OptionGroup var admin: AdminOptions

    func run() throws {
        let client = admin.client
        let before = try client.get("status").value["pid"]?.int
        _ = try client.post("upgrade")
        for _ in 0..<Int(Self.secondsMax * 1_000_000 / Double(Self.pause)) {
            // In the moment of the change a connection may end without an answer.
            if let reply = try? client.get("upgrade") {
                if let pid = reply.value["pid"]?.int, pid != before {
                    let old = before.map { String($0) } ?? "?"
                    admin.show(reply) { _ in "process \(pid) has taken over from process \(old)" }
                    return
                }
                if reply.value["state"]?.string == "failed" {
                    if admin.output.format == .json { admin.show(reply) { _ in "" } }
                    let problem = reply.value["problem"]?.string ?? "no reason was given"
                    throw CommandFailure(.problem, "the running gateway goes on unchanged: \(problem)")
                }
            }
            usleep(Self.pause)
        }
        throw CommandFailure(.software, "the upgrade neither ended nor failed within \(Int(Self.secondsMax)) s")
    }
}
