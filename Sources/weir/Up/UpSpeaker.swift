import Glibc
import Supervision
import Synchronization
import Wire

/// Says what happens, and once the gateway runs for the first time, how to use it.
final class UpSpeaker: Sendable {
    private let plan: UpPlan
    private let hasGreeted = Mutex(false)

    init(_ plan: UpPlan) { self.plan = plan }

    /// On the supervisor's thread, which must not wait: the greeting asks the gateway for a key.
    func hear(_ event: SupervisorEvent) {
        switch event.kind {
        case .started, .stopping, .stopped: return
        default: Output.line("  " + event.sentence)
        }
        guard event.service == "gateway", case .ready = event.kind else { return }
        let isFirst = hasGreeted.withLock { hasGreeted in
            defer { hasGreeted = true }
            return !hasGreeted
        }
        if isFirst { Task.detached { self.greet() } }
    }

    private func greet() {
        let client = AdminClient(location: AdminSocket(option: plan.state.adminSocket, environment: [:]))
        do throws(CommandFailure) {
            waitForReplicas(client)
            let key = try newKey(client)
            Output.line(
                """

                  URL      \(plan.listen.url)/v1
                  API key  \(key)
                  model    \(plan.modelName)
                  metrics  http://127.0.0.1:\(plan.ports.metrics)/metrics

                Try it from another terminal:

                \(plan.curlLine(key: key))

                Ctrl-C ends everything.
                """)
        } catch {
            Output.complain("no API key could be made: \(error.message)")
        }
    }

    /// The gateway probes them as soon as it runs. Bound: five seconds; the greeting comes without them too.
    private func waitForReplicas(_ client: AdminClient) {
        for _ in 0..<250 {
            if let pool = try? client.get("status").value["pools"]?.array?.first,
                pool["serving"]?.int == plan.replicas.count
            {
                return
            }
            usleep(20_000)
        }
    }

    /// Keys are refused until Redis has answered the gateway. Bound: ten seconds.
    private func newKey(_ client: AdminClient) throws(CommandFailure) -> String {
        let body = Array(#"{"name":"weir-up","replaces_name":true}"#.utf8)
        for _ in 0..<200 {
            if let key = try? client.post("keys", body).value["key"]?.string { return key }
            usleep(50_000)
        }
        let reply = try client.post("keys", body)
        guard let key = reply.value["key"]?.string else {
            throw CommandFailure(.software, "the gateway's answer has no key in it")
        }
        return key
    }
}
