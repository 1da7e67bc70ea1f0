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
///     POST /admin/v1/reload
///
/// - Isolation: the first loop.
final class AdminAPI {
    private unowned let control: ControlPlane
    private var server: GatewayServer { control.server }

    init(control: ControlPlane) { self.control = control }

    func answer(method: HTTPMethod, path: String, body: [UInt8]) async -> AdminReply {
        let isRead = method == .get || method == .head
        let parts = path.split(separator: "/").map(String.init)
        switch (parts.first, parts.count) {
        case ("metrics", 1) where isRead: return metrics()
        case ("healthz", 1) where isRead: return AdminReply(contentType: "text/plain", body: Array("OK".utf8))
        case ("admin", 3...) where parts[1] == "v1":
            return await answer(method, parts[2], Array(parts[3...]), body)
        default: return .problem(404, "not_found", "Unknown admin URL.")
        }
    }

    private func answer(_ method: HTTPMethod, _ what: String, _ rest: [String], _ body: [UInt8]) async -> AdminReply {
        let isRead = method == .get || method == .head
        switch (what, rest.count) {
        case ("status", 0) where isRead: return status()
        case ("replicas", 0) where isRead: return replicas()
        case ("replicas", 2) where method == .post: return setIntent(rest[0], rest[1])
        case ("keys", 0) where isRead: return keys()
        case ("keys", 0) where method == .post: return await createKey(body)
        case ("keys", 1) where method == .delete: return await revokeKey(rest[0])
        case ("reload", 0) where method == .post: return reload()
        case ("status", 0), ("replicas", 0), ("replicas", 2), ("keys", 0), ("keys", 1), ("reload", 0):
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
                isUp: isUp, isDraining: snapshot.intent != .enabled, inFlight: replica.inFlight)
        }
        gauges.queueLengths = fleet.pools.map(\.queue.length)
        gauges.limiterKeys = server.shared.limiter.count
        gauges.bodyMemoryBytes = server.shared.memory.usedBytes
        gauges.bodyMemoryLimitBytes = server.shared.memory.limitBytes
        gauges.isReady = server.isReady
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
            writer.member("uptime_seconds", number: Int(now.secondsSinceEpoch - server.shared.started.secondsSinceEpoch))
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
                    Self.append(replica, pool: pool.name, to: &writer)
                }
            }
            writer.closeArray()
            writer.closeObject()
        }
    }

    private static func append(_ replica: Replica, pool: String, to writer: inout ByteWriter) {
        let snapshot = replica.snapshot
        writer.openObject()
        writer.member("pool", string: pool)
        writer.member("name", string: replica.name)
        writer.member("address", string: replica.settings.address.description)
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
        writer.member("in_flight", number: replica.inFlight)
        writer.member("max_in_flight", number: replica.settings.maxInFlight)
        writer.member("backup", bool: replica.settings.isBackup)
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
        return .json { Self.append(replica, pool: pool?.name ?? "", to: &$0) }
    }

    private func reload() -> AdminReply {
        if let problem = server.reloadOnLoop(control) { return .problem(400, "configuration_refused", problem) }
        return .json { $0.append("{\"reloaded\":true}") }
    }

    // MARK: Keys

    private func keys() -> AdminReply {
        let records = server.shared.authenticator.keys.records().sorted { ($0.created, $0.id) < ($1.created, $1.id) }
        return .json { writer in
            writer.openObject()
            writer.member("keys")
            writer.openArray()
            for record in records {
                writer.element()
                Self.append(record, source: isConfigured(record) ? "config" : "redis", key: nil, to: &writer)
            }
            writer.closeArray()
            writer.closeObject()
        }
    }

    private func isConfigured(_ record: APIKeyRecord) -> Bool {
        server.settings.withLock { $0.identity.apiKeys.contains { $0.id == record.id } }
    }

    private static func append(_ record: APIKeyRecord, source: String, key: String?, to writer: inout ByteWriter) {
        writer.openObject()
        writer.member("id", string: record.id)
        if let key { writer.member("key", string: key) }
        writer.member("name", string: record.name)
        writer.member("models")
        if let models = record.models {
            writer.openArray()
            for model in models.sorted() {
                writer.element()
                writer.append(jsonString: model)
            }
            writer.closeArray()
        } else {
            writer.append("null")
        }
        writer.member("requests")
        if let requests = record.requestsPerWindow { writer.append(decimal: requests) } else { writer.append("null") }
        writer.member("created", number: Int(record.created.secondsSinceEpoch))
        writer.member("expires")
        if let expires = record.expires {
            writer.append(decimal: Int(expires.secondsSinceEpoch))
        } else {
            writer.append("null")
        }
        writer.member("revoked", bool: record.revoked != nil)
        writer.member("source", string: source)
        writer.closeObject()
    }

    private func createKey(_ body: [UInt8]) async -> AdminReply {
        guard let stored = control.storedKeys else {
            return .problem(409, "no_redis", "Keys are made in Redis, and the configuration has no `redis:` section.")
        }
        guard let document = try? JSONValue.read(body.span, refusingDuplicates: true), let name = document["name"]?.string
        else { return .problem(400, "invalid_request", "A JSON object with a name is expected.") }
        let now = control.loop.wallNow
        do {
            let key = try APIKey.generate()
            var record = APIKeyRecord(id: key.id, name: name, digest: key.digest, created: now)
            record.models = document["models"]?.array.map { Set($0.compactMap(\.string)) }
            record.requestsPerWindow = document["requests"]?.int
            record.expires = document["ttl_seconds"]?.int.map {
                WallTime(secondsSinceEpoch: now.secondsSinceEpoch + Int64($0))
            }
            if document["replaces_name"]?.bool == true {
                for old in server.shared.authenticator.keys.records() where old.name == name && old.revoked == nil && !isConfigured(old) {
                    try await stored.revoke(old.id, at: now)
                }
            }
            try await stored.create(record)
            server.log.events.log(.info, "key_created", "Key \(record.id) was made.", ["name": name])
            return .json(201) { Self.append(record, source: "redis", key: key.text, to: &$0) }
        } catch {
            return .problem(503, "keys_unavailable", "The key could not be stored: \(error).")
        }
    }

    private func revokeKey(_ id: String) async -> AdminReply {
        guard let stored = control.storedKeys else {
            return .problem(409, "no_redis", "Keys of the configuration file end when they leave it.")
        }
        do throws(KeyStoreProblem) {
            try await stored.revoke(id, at: control.loop.wallNow)
        } catch {
            if error == .notFound { return .problem(404, "key_not_found", "There is no stored key \(id).") }
            return .problem(503, "keys_unavailable", "The key could not be revoked: \(error).")
        }
        server.log.events.log(.info, "key_revoked", "Key \(id) was revoked.")
        return .json { writer in
            writer.openObject()
            writer.member("id", string: id)
            writer.member("revoked", bool: true)
            writer.closeObject()
        }
    }
}
