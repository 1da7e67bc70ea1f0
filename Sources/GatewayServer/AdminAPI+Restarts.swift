import GatewayConfig
import GatewayCore
import HTTPConnections
import Reactor
import Synchronization
import Upstreams
import Wire

/// Restarts of replicas over the admin API: one list of replicas at a time, one replica after the other.
extension AdminAPI {
    /// The restart that runs, or the last one.
    func restarts() -> AdminReply {
        guard let rolling = control.rolling else {
            return .json { $0.append("{\"id\":0,\"state\":\"none\",\"problem\":null,\"replicas\":[]}") }
        }
        return .json { rolling.append(to: &$0, now: control.loop.now) }
    }

    /// Body: `{"replicas":["a"],"drain_seconds":30,"force":false}`, all of it optional; without `replicas`: all.
    func startRestart(_ body: [UInt8]) -> AdminReply {
        if control.rolling?.state == .running {
            return .problem(409, "restart_running", "Replicas are being restarted already.")
        }
        guard control.hooks?.settings.restart != nil else {
            return .problem(
                409, "no_restart_hook", "How to restart a replica is not configured: hooks.restart is absent.")
        }
        guard let wish = try? JSONValue.read(body.span, refusingDuplicates: true) else {
            return .problem(400, "invalid_request", "A JSON object is expected.")
        }
        let all = server.fleet.withLock { $0.pools }.flatMap { pool in
            pool.replicas.map { (pool: pool.name, name: $0.name) }
        }
        var chosen = all
        if let names = wish["replicas"]?.array?.compactMap(\.string) {
            if let unknown = names.first(where: { name in !all.contains { $0.name == name } }) {
                return .problem(404, "replica_not_found", "There is no replica \(unknown).")
            }
            chosen = all.filter { names.contains($0.name) }
        }
        var limit = server.settings.withLock { $0.timeouts.drain }
        if let seconds = wish["drain_seconds"]?.int {
            guard (0...86_400).contains(seconds) else {
                return .problem(400, "invalid_request", "drain_seconds must be 0 to 86400.")
            }
            limit = .seconds(Int64(seconds))
        }
        control.startRolling(chosen, drainLimit: limit, force: wish["force"]?.bool == true)
        var reply = restarts()
        reply.status = 202
        return reply
    }

    /// Ends after the replica that is being restarted.
    func stopRestart() -> AdminReply {
        control.rolling?.stop()
        return restarts()
    }
}
