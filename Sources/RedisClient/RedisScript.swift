import GatewayCore

/// A Lua script, loaded once by a server and then called by its digest.
package struct RedisScript: Sendable {
    /// What connections remember its digest under.
    package let name: String
    package let source: String

    package init(name: String, source: String) {
        self.name = name
        self.source = source
    }
}

/// A script with its keys and arguments.
///
/// It runs as one step: nothing else happens in Redis between its first command and its last.
package struct RedisScriptCall: Sendable {
    let script: RedisScript
    /// The number of keys, the keys, the arguments.
    private(set) var parts: RedisCommand

    package init(_ script: RedisScript, keys: [String], capacity: Int = 512) {
        self.script = script
        parts = RedisCommand(argumentsWithCapacity: capacity)
        parts.append(keys.count)
        for key in keys { parts.append(key) }
    }

    package mutating func append(_ argument: String) { parts.append(argument) }
    package mutating func append(_ argument: [UInt8]) { parts.append(argument) }
    package mutating func append(_ argument: Int) { parts.append(argument) }
    package mutating func append(_ argument: borrowing Span<UInt8>) { parts.append(argument) }
}

extension RedisConnection {
    /// Runs a script: by its digest, or with its source where the server does not know it (a new server, or a flushed
    /// one). A script that the server refused as unknown has not run, so sending it again is safe.
    ///
    /// - Throws: as ``send(_:deadline:)``.
    /// - Cost: one round trip; one more when this connection runs the script for the first time.
    package func run(_ call: RedisScriptCall, deadline: Moment) async throws(RedisError) -> RedisReply {
        let digest: String
        if let known = scriptDigests[call.script.name] {
            digest = known
        } else {
            let loaded = try await send(RedisCommand("SCRIPT", "LOAD", call.script.source), deadline: deadline)
            guard let text = loaded.text else { throw .malformedReply }
            scriptDigests[call.script.name] = text
            digest = text
        }
        do throws(RedisError) {
            return try await send(RedisCommand("EVALSHA", digest), followedBy: call.parts, deadline: deadline)
        } catch .refused(let text) where text.hasPrefix("NOSCRIPT") {
            return try await send(RedisCommand("EVAL", call.script.source), followedBy: call.parts, deadline: deadline)
        }
    }
}
