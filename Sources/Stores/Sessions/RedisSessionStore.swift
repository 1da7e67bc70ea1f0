import GatewayCore
import Reactor
import RedisClient

/// Conversations in Redis: who owns them, what was said, whose turn it is.
///
///     let opening = try await store.open(id, owner: principal.id, sign: sign, waitUntil: loop.now + .seconds(5))
///     …
///     let outcome = await store.append(session, messages, answer: answer, reply: reply, deadline: …)
///
/// A turn is stored exactly once: the script that appends it is one step in Redis and knows the turns it has seen, so
/// it may be sent again when the reply was lost. Turns of one session run one after the other, over all gateways.
///
/// - Isolation: the loop of its connection. The ``TurnQueue`` is shared by the loops of the process.
/// - Cost: one round trip each.
package final class RedisSessionStore {
    package let redis: RedisConnection
    package let rules: SessionRules
    let queue: TurnQueue
    let loop: EventLoop
    /// Turns that run on this loop, by turn: their leases are renewed. Bounded by the requests in flight.
    var running: [String: OpenedSession] = [:]
    let heartbeat: LoopTimer

    package init(on redis: RedisConnection, rules: SessionRules, queue: TurnQueue) {
        self.redis = redis
        self.rules = rules
        self.queue = queue
        loop = redis.loop
        heartbeat = LoopTimer(on: redis.loop)
        heartbeat.onFire { [unowned self] in renewLeases() }
    }

    /// Stops renewing leases. Call when the loop ends.
    package func close() {
        heartbeat.cancel()
        heartbeat.onFire(nil)
        running = [:]
    }

    // MARK: Turns

    /// Begins a turn: finds or creates the session, waits for the turn before it, returns the history.
    ///
    /// - Parameters:
    ///   - owner: `Principal.id`.
    ///   - waitUntil: how long another turn may take to end; `loop.now` for not at all.
    /// - Throws: `.notFound` for another owner's session, `.busy`, `.unavailable`.
    package func open(
        _ id: SessionID, owner: String, sign: TurnSign, turn: TurnID = .random(), waitUntil: Moment
    ) async throws(SessionProblem) -> SessionOpening {
        let parking = Parking(on: loop)
        defer { parking.close() }
        let keys = SessionKeys(id, prefix: rules.prefix)
        let waits = waitUntil > loop.now
        guard let place = queue.enter(keys.state, parking: waits ? parking : nil) else { throw .busy }
        do throws(SessionProblem) {
            while !place.isFirst {
                if await parking.park(until: waitUntil) == .deadline, !place.isFirst { throw .busy }
            }
            return try await take(id, keys, owner, sign, turn, place, parking, waitUntil)
        } catch {
            place.leave()
            throw error
        }
    }

    /// Asks Redis until the lock is free. Bounded by `waitUntil`; first after 20 ms, then ever later up to 250 ms.
    private func take(
        _ id: SessionID, _ keys: SessionKeys, _ owner: String, _ sign: TurnSign, _ turn: TurnID,
        _ place: TurnQueue.Place, _ parking: Parking, _ waitUntil: Moment
    ) async throws(SessionProblem) -> SessionOpening {
        var call = RedisScriptCall(SessionScripts.open, keys: keys.all)
        call.append(owner)
        call.append(turn.text)
        call.append(rules.ttl.wholeMilliseconds)
        call.append(rules.lease.wholeMilliseconds)
        call.append(rules.rememberExpired.wholeMilliseconds)
        call.append(String(decoding: (sign.idempotencyKey ?? "").utf8.prefix(255), as: UTF8.self))
        call.append(sign.digest)
        call.append(sign.isRetry ? "1" : "0")
        var pause = Interval.milliseconds(20)
        while true {
            let reply = try await takeOnce(call, id, turn)
            switch reply.first?.text {
            case "open": return .opened(try opened(id, turn, place, reply))
            case "replay":
                guard reply.count == 3, let number = reply[1].integer, let stored = reply[2].bytes else {
                    throw .unavailable(RedisError.malformedReply.label)
                }
                place.leave()
                return .replay(reply: stored, turnNumber: Int(number))
            case "notFound": throw .notFound
            case "busy":
                guard reply.count == 2, let left = reply[1].integer else {
                    throw .unavailable(RedisError.malformedReply.label)
                }
                let next = min(loop.now + min(pause, .milliseconds(max(1, left))), waitUntil)
                guard loop.now < waitUntil else { throw .busy }
                while loop.now < next { _ = await parking.park(until: next) }
                pause = min(pause * 2, .milliseconds(250))
            default: throw .unavailable(RedisError.malformedReply.label)
            }
        }
    }

    /// One attempt. If it may have taken the lock without our knowing, the lock is given back.
    private func takeOnce(
        _ call: RedisScriptCall, _ id: SessionID, _ turn: TurnID
    ) async throws(SessionProblem) -> [RedisReply] {
        do throws(RedisError) {
            guard let elements = try await redis.run(call, deadline: loop.now + rules.commandTimeout).elements else {
                throw .malformedReply
            }
            return elements
        } catch {
            if error.mayHaveRun { releaseLater(id, turn) }
            throw .unavailable(error.label)
        }
    }

    private func opened(
        _ id: SessionID, _ turn: TurnID, _ place: TurnQueue.Place, _ reply: [RedisReply]
    ) throws(SessionProblem) -> OpenedSession {
        guard reply.count == 8, let turns = reply[1].integer, let anew = reply[2].integer,
            let dropped = reply[3].integer, let system = reply[4].bytes, let systemPrints = reply[5].bytes,
            let turnsJSON = reply[6].bytes, let prints = reply[7].bytes
        else { throw .unavailable(RedisError.malformedReply.label) }
        let session = OpenedSession(
            id: id, turn: turn, turnNumber: Int(turns) + 1, startedAnew: anew == 1,
            history: Self.joined(system, turnsJSON), fingerprints: MessageRun.fingerprints(systemPrints + prints),
            systemCount: systemPrints.count / 8, isTrimmed: dropped > 0, place: place, renewed: loop.now)
        running[turn.text] = session
        if running.count == 1 { heartbeat.set(loop.now + beat) }
        return session
    }

    /// Ends a turn that was answered completely: the client's new messages and the answer go into the history.
    ///
    /// Sends the script again when the connection broke, until `deadline`: it appends once, however often it runs.
    /// Does nothing the second time.
    /// - Parameters:
    ///   - messages: all messages of the request; those that are known already are left out.
    ///   - answer: the assistant's message, a JSON object.
    ///   - reply: what a repetition of this turn is to be answered with; empty if nothing.
    package func append(
        _ session: OpenedSession, _ messages: MessageRun, answer: [UInt8], reply: [UInt8] = [], deadline: Moment
    ) async -> TurnOutcome {
        guard end(session) else { return .lost }
        let call = appendCall(session, messages, answer, reply)
        var outcome = TurnOutcome.unknown(RedisError.unavailable.label)
        // Three attempts: one connection lost in the middle, one more on the way up.
        for _ in 0..<3 where loop.now < deadline {
            guard await redis.waitUntilConnected(deadline: deadline) else { break }
            do throws(RedisError) {
                outcome = Self.outcome(try await redis.run(call, deadline: deadline))
                break
            } catch {
                outcome = .unknown(error.label)
                guard error == .connectionLost || error == .unavailable else { break }
            }
        }
        if case .unknown = outcome { releaseLater(session.id, session.turn) }
        session.place.leave()
        return outcome
    }

    /// Gives a turn up that was not answered completely: the next one may run. Does nothing the second time.
    package func release(_ session: OpenedSession) async {
        guard end(session) else { return }
        _ = try? await redis.run(releaseCall(session.id, session.turn), deadline: loop.now + rules.commandTimeout)
        session.place.leave()
    }

    // MARK: Steps

    func reply(to call: RedisScriptCall) async throws(SessionProblem) -> [RedisReply] {
        do throws(RedisError) {
            let reply = try await redis.run(call, deadline: loop.now + rules.commandTimeout)
            guard let elements = reply.elements else { throw .malformedReply }
            return elements
        } catch {
            throw .unavailable(error.label)
        }
    }

    private func end(_ session: OpenedSession) -> Bool {
        guard !session.hasEnded else { return false }
        session.hasEnded = true
        running[session.turn.text] = nil
        return true
    }

    private func appendCall(
        _ session: OpenedSession, _ messages: MessageRun, _ answer: [UInt8], _ reply: [UInt8]
    ) -> RedisScriptCall {
        var call = RedisScriptCall(
            SessionScripts.append, keys: SessionKeys(session.id, prefix: rules.prefix).all,
            capacity: messages.json.count + answer.count + reply.count + 1_024)
        // The system's messages of the first turn stand outside the turns, so that trimming leaves them.
        let system = session.turnNumber == 1 ? 0..<messages.leadingSystemCount : 0..<0
        let new = max(system.upperBound, session.known(of: messages).count)..<messages.count
        call.append(session.turn.text)
        call.append(rules.ttl.wholeMilliseconds)
        call.append(rules.rememberExpired.wholeMilliseconds)
        call.append(messages.json(system))
        call.append(MessageRun.bytes(of: messages.fingerprints[system]))
        call.append(Self.joined(messages.json(new), answer))
        let answered = MessageFingerprint(of: answer.span)
        call.append(MessageRun.bytes(of: (messages.fingerprints[new] + [answered])[...]))
        call.append(reply.count <= rules.replyBytesMax ? reply : [])
        call.append(rules.historyBytesMax)
        call.append(rules.historyBytesCeiling)
        call.append(rules.turnsKept)
        call.append(rules.turnsMax ?? 0)
        return call
    }

    private func releaseCall(_ id: SessionID, _ turn: TurnID) -> RedisScriptCall {
        var call = RedisScriptCall(SessionScripts.release, keys: SessionKeys(id, prefix: rules.prefix).all)
        call.append(turn.text)
        call.append(rules.ttl.wholeMilliseconds)
        return call
    }

    /// An open or an append may have run or not: the lock should not stand until its lease lapses. An append that did
    /// run, or runs later, is not disturbed: it freed the lock, or finds it gone.
    private func releaseLater(_ id: SessionID, _ turn: TurnID) {
        let call = releaseCall(id, turn)
        loop.spawn { [redis, loop, rules] in
            guard await redis.waitUntilConnected(deadline: loop.now + rules.lease) else { return }
            _ = try? await redis.run(call, deadline: loop.now + rules.commandTimeout)
        }
    }

    private static func outcome(_ reply: RedisReply) -> TurnOutcome {
        guard let elements = reply.elements else { return .unknown(RedisError.malformedReply.label) }
        switch elements.first?.text {
        case "stored":
            guard elements.count == 3, let number = elements[1].integer else {
                return .unknown(RedisError.malformedReply.label)
            }
            return .stored(turnNumber: Int(number))
        case "lost", "gone": return .lost
        default: return .unknown(RedisError.malformedReply.label)
        }
    }

    static func joined(_ first: [UInt8], _ second: [UInt8]) -> [UInt8] {
        if first.isEmpty { return second }
        if second.isEmpty { return first }
        return first + [UInt8(ascii: ",")] + second
    }
}

extension Interval {
    /// For Redis: never less than one millisecond, because zero would delete the key.
    var wholeMilliseconds: Int { Int(max(1, nanoseconds / 1_000_000)) }
}
