import GatewayConfig
import GatewayCore
import Identity
import Pipeline
import Reactor

/// API keys in Redis.
final class StoredKeys: Sendable {
    struct NotThere: Error {}
    var isConnected: Bool { false }
    func create(_ record: APIKeyRecord, _ keys: KeyDirectory) async throws { throw NotThere() }
    @discardableResult
    func revoke(_ id: String, at time: WallTime, _ keys: KeyDirectory) async throws -> Bool { throw NotThere() }
}

extension GatewayServer {
    func sessionMemory(_ loop: EventLoop, _ settings: GatewaySettings) -> SessionMemory? { nil }
}
