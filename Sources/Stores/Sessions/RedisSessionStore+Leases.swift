import GatewayCore
import Reactor
import RedisClient

extension RedisSessionStore {
    /// A lease is renewed when a third of it has passed, and looked at twice as often, so that one renewal may be lost.
    /// Turns that end sooner, which are most, cost nothing.
    func renewLeases() {
        let due = loop.now - rules.lease / 3
        running = running.filter { $0.value.opened + rules.longestTurn > loop.now }
        for session in running.values where session.renewed <= due && !session.isLost {
            // Set before, so that a slow Redis is not asked twice for the same.
            session.renewed = loop.now
            loop.spawn { await self.renew(session) }
        }
        if !running.isEmpty { heartbeat.set(loop.now + beat) }
    }

    var beat: Interval { rules.lease / 6 }

    private func renew(_ session: OpenedSession) async {
        var call = RedisScriptCall(SessionScripts.renew, keys: SessionKeys(session.id, prefix: rules.prefix).all)
        call.append(session.turn.text)
        call.append(rules.ttl.wholeMilliseconds)
        call.append(rules.lease.wholeMilliseconds)
        let reply = try? await redis.run(call, deadline: loop.now + rules.commandTimeout)
        if !session.hasEnded, reply == .integer(0) { session.isLost = true }
    }
}
