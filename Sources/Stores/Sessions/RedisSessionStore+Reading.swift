import GatewayCore
import Reactor
import RedisClient

/// A session as its owner or an operator sees it.
package struct SessionSummary: Equatable, Sendable {
    package var id: SessionID
    package var owner: String
    package var turns: Int
    /// Turns that were dropped from the history because it grew too long.
    package var droppedTurns: Int
    package var historyBytes: Int
    package var created: WallTime
    package var lastUsed: WallTime
    /// Until it expires.
    package var timeToLive: Interval
    package var isTurnRunning: Bool
    /// The messages: JSON objects with commas between them.
    package var history: [UInt8]
}

extension RedisSessionStore {
    /// Reads a session without taking a turn.
    ///
    /// - Parameter owner: whose session it must be; a read by the owner keeps it alive. Nil for an operator, whose look
    ///   changes nothing.
    /// - Throws: `.notFound`, `.unavailable`.
    package func show(_ id: SessionID, owner: String?) async throws(SessionProblem) -> SessionSummary {
        var call = RedisScriptCall(SessionScripts.show, keys: SessionKeys(id, prefix: rules.prefix).all)
        call.append(owner ?? "")
        call.append(owner == nil ? 0 : rules.ttl.wholeMilliseconds)
        let reply = try await reply(to: call)
        if reply.first?.text == "notFound" { throw .notFound }
        guard reply.count == 11, let foundOwner = reply[1].text, let turns = reply[2].integer,
            let dropped = reply[3].integer, let bytes = reply[4].integer, let created = reply[5].integer,
            let used = reply[6].integer, let left = reply[7].integer, let running = reply[8].integer,
            let system = reply[9].bytes, let turnsJSON = reply[10].bytes
        else { throw .unavailable(RedisError.malformedReply.label) }
        return SessionSummary(
            id: id, owner: foundOwner, turns: Int(turns), droppedTurns: Int(dropped), historyBytes: Int(bytes),
            created: WallTime(nanosecondsSinceEpoch: created * 1_000_000),
            lastUsed: WallTime(nanosecondsSinceEpoch: used * 1_000_000), timeToLive: .milliseconds(max(0, left)),
            isTurnRunning: running == 1, history: Self.joined(system, turnsJSON))
    }

    /// Forgets a session. A turn that is running will not be stored.
    ///
    /// - Parameter owner: as for ``show(_:owner:)``.
    /// - Throws: `.notFound`, `.unavailable`.
    package func delete(_ id: SessionID, owner: String?) async throws(SessionProblem) {
        var call = RedisScriptCall(SessionScripts.delete, keys: SessionKeys(id, prefix: rules.prefix).all)
        call.append(owner ?? "")
        let deleted: RedisReply
        do throws(RedisError) {
            deleted = try await redis.run(call, deadline: loop.now + rules.commandTimeout)
        } catch {
            throw .unavailable(error.label)
        }
        guard deleted == .integer(1) else { throw .notFound }
    }

    /// Ids of sessions there are, in no order, for an operator's list.
    ///
    /// - Parameter cursor: 0 at first, then what the last call returned, until it returns 0. As Redis' SCAN: a session
    ///   that is there all the time is listed at least once.
    /// - Throws: `.unavailable`.
    /// - Cost: Redis looks at about a thousand keys a call.
    package func list(cursor: UInt64) async throws(SessionProblem) -> (ids: [SessionID], cursor: UInt64) {
        let (before, after) = ("\(rules.prefix):s:{", "}:state")
        let scan = RedisCommand("SCAN", String(cursor), "MATCH", before + "*" + after, "COUNT", "1000", "TYPE", "hash")
        let reply: RedisReply
        do throws(RedisError) {
            reply = try await redis.send(scan, deadline: loop.now + rules.commandTimeout)
        } catch {
            throw .unavailable(error.label)
        }
        guard let parts = reply.elements, parts.count == 2, let next = parts[0].text.flatMap({ UInt64($0) }),
            let keys = parts[1].elements
        else { throw .unavailable(RedisError.malformedReply.label) }
        let ids = keys.compactMap { key -> SessionID? in
            guard let text = key.text, text.hasPrefix(before), text.hasSuffix(after) else { return nil }
            return SessionID(String(text.dropFirst(before.count).dropLast(after.count)))
        }
        return (ids, next)
    }
}
