import Balancing
import GatewayConfig
import GatewayCore
import Glibc
import HTTPConnections
import Identity
import Pipeline
import Reactor
import Stores
import Synchronization
import Telemetry
import Upstreams
import Wire

/// The admin API and the metrics page. docs/commands.md lists what the CLI makes of it.
///
///     GET  /metrics                              Prometheus text
///     GET  /admin/v1/status
///     GET  /admin/v1/replicas
///     POST /admin/v1/replicas/{name}/drain       or /enable, /maintenance
///     GET  /admin/v1/keys                        POST makes one; DELETE …/{id} ends one
///     POST /admin/v1/restarts                    restarts replicas; GET says how far it is, DELETE stops it
///     POST /admin/v1/reload
///     POST /admin/v1/upgrade                     GET says how far it is
///
/// - Isolation: the first loop.
final class AdminAPI {
    unowned let control: ControlPlane
    var server: GatewayServer { control.server }

    init(control: ControlPlane) { self.control = control }

    /// What stands between the slashes of a path, were it nothing: who may ask and what is answered go by the same
    /// parts, so no other spelling of a path gets around the one to the other.
    static func parts(of path: String) -> [String] {
        path.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    }

    /// Whether only an admin key may ask for it, where the listener is not local: what changes something, and keys.
    static func needsKey(_ method: HTTPMethod, _ parts: [String]) -> Bool {
        !method.isRead || parts.starts(with: ["admin", "v1", "keys"])
    }

    /// - Parameter parts: ``parts(of:)`` its path.
    func answer(method: HTTPMethod, _ parts: [String], body: [UInt8]) async -> AdminReply {
        let isRead = method.isRead
        switch (parts.first, parts.count) {
        case ("metrics", 1) where isRead: return metrics()
        case ("healthz", 1) where isRead: return AdminReply(contentType: "text/plain", body: Array("OK".utf8))
        case ("admin", 3...) where parts[1] == "v1":
            return await answer(method, parts[2], Array(parts[3...]), body)
        default: return .problem(404, "not_found", "Unknown admin URL.")
        }
    }

    private func answer(_ method: HTTPMethod, _ what: String, _ rest: [String], _ body: [UInt8]) async -> AdminReply {
        let (isRead, isPost, isDelete) = (method.isRead, method.isPost, method.isDelete)
        switch (what, rest.count) {
        case ("status", 0) where isRead: return status()
        case ("replicas", 0) where isRead: return replicas()
        case ("replicas", 2) where isPost: return setIntent(rest[0], rest[1])
        case ("keys", 0) where isRead: return keys()
        case ("keys", 0) where isPost: return await createKey(body)
        case ("keys", 1) where isDelete: return await revokeKey(rest[0])
        case ("reload", 0) where isPost: return await reload()
        case ("restarts", 0) where isRead: return restarts()
        case ("restarts", 0) where isPost: return startRestart(body)
        case ("restarts", 0) where isDelete: return stopRestart()
        case ("upgrade", 0) where isRead: return upgrade()
        case ("upgrade", 0) where isPost: return startUpgrade()
        case ("restarts", 0), ("upgrade", 0), ("status", 0), ("replicas", 0), ("replicas", 2), ("keys", 0), ("keys", 1),
            ("reload", 0):
            return .problem(405, "method_not_supported", "This method is not supported for this URL.")
        default: return .problem(404, "not_found", "Unknown admin URL.")
        }
    }

    // MARK: Seeing

    private func metrics() -> AdminReply {
        let fleet = server.fleet.withLock { $0 }
        var gauges = GaugeSnapshot()
        gauges.replicas = fleet.pools.flatMap(\.replicas).map { replica in
            let snapshot = replica.snapshot
            let isUp = if case .up = snapshot.health { true } else { false }
            return GaugeSnapshot.Replica(
                isUp: isUp, isDraining: snapshot.intent != .enabled, inFlight: replica.inFlight,
                stoppedModels: replica.state.stoppedModels)
        }
        gauges.queueLengths = fleet.pools.map(\.queue.length)
        gauges.limiterKeys = server.shared.limiter.count
        gauges.bodyMemoryBytes = server.shared.memory.usedBytes
        gauges.bodyMemoryLimitBytes = server.shared.memory.limitBytes
        gauges.isReady = server.isReady
        gauges.sessionsDegraded = server.shared.sessionsDegraded.load(ordering: .relaxed)
        gauges.redisIsUp = control.storedKeys?.isConnected
        return AdminReply(contentType: MetricsPage.contentType, body: server.telemetry.page(gauges: gauges))
    }

    private func status() -> AdminReply {
        let fleet = server.fleet.withLock { $0 }
        let counts = server.shared.authenticator.keys.counts
        return .json { writer in
            writer.openObject()
            writer.member("version", string: GatewayServer.version)
            writer.member("pid", number: Int(getpid()))
            let now = control.loop.wallNow
            let uptime = now.secondsSinceEpoch - server.shared.started.secondsSinceEpoch
            writer.member("uptime_seconds", number: Int(uptime))
            writer.member("ready", bool: server.isReady)
            writer.member("draining", bool: server.shared.isDraining.load(ordering: .relaxed))
            writer.member("loops", number: server.workers.count)
            writer.member("address", string: server.listenAddress)
            writer.member("redis", string: control.storedKeys.map { $0.isConnected ? "up" : "down" } ?? "none")
            writer.member("keys")
            writer.openObject()
            writer.member("configured", number: counts.configured)
            writer.member("stored", number: counts.stored)
            writer.closeObject()
            writer.member("connections", number: server.connectionCount)
            writer.member("cooling_down")
            writer.openArray()
            for replica in fleet.pools.flatMap(\.replicas) {
                guard case .coolingDown = server.board.state(of: replica.name) else { continue }
                writer.element()
                writer.append(jsonString: replica.name)
            }
            writer.closeArray()
            writer.member("pools")
            writer.openArray()
            for pool in fleet.pools {
                writer.element()
                writer.openObject()
                writer.member("name", string: pool.name)
                writer.member("models")
                writer.openArray()
                for model in pool.settings.models {
                    writer.element()
                    writer.append(jsonString: model.name)
                }
                writer.closeArray()
                writer.member("queue", number: pool.queue.length)
                writer.member("serving", number: pool.replicas.count { $0.isServing })
                writer.member("replicas", number: pool.replicas.count)
                writer.closeObject()
            }
            writer.closeArray()
            writer.closeObject()
        }
    }

    private func replicas() -> AdminReply {
        let fleet = server.fleet.withLock { $0 }
        return .json { writer in
            writer.openObject()
            writer.member("replicas")
            writer.openArray()
            for pool in fleet.pools {
                for replica in pool.replicas {
                    writer.element()
                    append(replica, pool: pool.name, to: &writer)
                }
            }
            writer.closeArray()
            writer.member("leaving")
            writer.openArray()
            for (pool, replica) in fleet.leaving where replica.inFlight > 0 {
                writer.element()
                append(replica, pool: pool, to: &writer)
            }
            writer.closeArray()
            writer.closeObject()
        }
    }

    private func append(_ replica: Replica, pool: String, to writer: inout ByteWriter) {
        let snapshot = replica.snapshot
        writer.openObject()
        writer.member("pool", string: pool)
        writer.member("name", string: replica.name)
        writer.member("address", string: replica.state.address.description)
        writer.member("kind", string: replica.settings.kind.rawValue)
        writer.member("weight", number: replica.settings.weight)
        writer.member("intent", string: snapshot.intent.rawValue)
        let health =
            switch snapshot.health {
            case .unknown: "unknown"
            case .up: "up"
            case .down: "down"
            case .warming: "warming"
            }
        writer.member("health", string: health)
        writer.member("serving", bool: replica.isServing)
        writer.member("stopped_models", number: replica.state.stoppedModels)
        writer.member("in_flight", number: replica.inFlight)
        writer.member("max_in_flight", number: replica.settings.maxInFlight)
        writer.member("backup", bool: replica.settings.isBackup)
        let restart = server.board.state(of: replica.name)
        writer.member("restart", string: restart.word)
        writer.member("restart_seconds")
        if let left = restart.secondsLeft(control.loop.now) {
            writer.append(decimal: left)
        } else {
            writer.append("null")
        }
        writer.closeObject()
    }

    // MARK: Changing

    private func setIntent(_ name: String, _ word: String) -> AdminReply {
        let intents: [String: HealthMachine.Intent] = [
            "drain": .draining, "enable": .enabled, "maintenance": .maintenance,
        ]
        guard let intent = intents[word] else { return .problem(404, "not_found", "Unknown admin URL.") }
        guard let replica = control.setIntent(intent, of: name) else {
            return .problem(404, "replica_not_found", "There is no replica \(name).")
        }
        server.log.events.log(.info, "replica_intent", "An operator set \(name) to \(intent.rawValue).")
        let pool = server.fleet.withLock { $0.pools }.first { $0.replicas.contains { $0 === replica } }
        return .json { append(replica, pool: pool?.name ?? "", to: &$0) }
    }

    private func reload() async -> AdminReply {
        if let problem = await control.reload() { return .problem(400, "configuration_refused", problem) }
        return .json { $0.append("{\"reloaded\":true}") }
    }
}
