import GatewayConfig
import GatewayCore
import Identity
import Pipeline
import Reactor
import Stores
import Synchronization
import Telemetry
import Wire

/// API keys over the admin API. A secret is shown once, by the call that makes it.
extension AdminAPI {
    func keys() -> AdminReply {
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

    func createKey(_ body: [UInt8]) async -> AdminReply {
        guard let stored = control.storedKeys else {
            return .problem(409, "no_redis", "Keys are made in Redis, and the configuration has no `redis:` section.")
        }
        guard let document = try? JSONValue.read(body.span, refusingDuplicates: true),
            let name = document["name"]?.string
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
                for old in server.shared.authenticator.keys.records()
                where old.name == name && old.revoked == nil && !isConfigured(old) {
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

    func revokeKey(_ id: String) async -> AdminReply {
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
