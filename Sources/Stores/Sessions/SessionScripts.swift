import RedisClient

/// What happens to a session in Redis. Each script is one step there; together they are the only writers of its keys.
///
/// All take the same keys: state, turns, prints, past (``SessionKeys``). Time is Redis' own, so that gateways with
/// different clocks agree on leases. Times are milliseconds.
enum SessionScripts {
    /// Begins a turn: checks the owner, takes the lock, returns the history.
    ///
    /// Arguments: owner, turn, ttl, lease, rememberExpired, idempotency key or '', digest, '1' if the client retries.
    /// Returns one of
    /// - `open`, turns, started anew (0 or 1), turns dropped, system JSON, system prints, history JSON, prints
    /// - `replay`, turns, the stored reply
    /// - `busy`, milliseconds until the lock lapses
    /// - `notFound`
    ///
    /// Running it again for the same turn gives the same result: the lock is that turn's already.
    static let open = RedisScript(
        name: "session.open",
        source: prologue + """
            local owner, turn, ttl, lease, remember = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
            local key, digest, retries = ARGV[6], ARGV[7], ARGV[8] == '1'
            local state = redis.call('HMGET', KEYS[1], 'owner', 'turns', 'dropped', 'lock', 'lockUntil',
              'lastKey', 'lastDigest', 'system', 'systemPrints')
            local turns, dropped, anew = tonumber(state[2] or '0'), tonumber(state[3] or '0'), 0
            if state[1] and state[1] ~= owner then return {'notFound'} end
            if state[1] and (redis.call('LLEN', KEYS[2]) ~= turns - dropped
                or redis.call('LLEN', KEYS[3]) ~= turns - dropped) then
              -- Redis evicted a part of it: what is left is no history.
              redis.call('DEL', KEYS[1])
              state, turns, dropped, anew = {}, 0, 0, 1
            end
            if not state[1] then
              local past = redis.call('GET', KEYS[4])
              if past and past ~= owner then return {'notFound'} end
              if past then anew = 1 end
              -- The write that a Redis without memory refuses goes first: a script is refused whole or not at all.
              redis.call('HSET', KEYS[1], 'owner', owner, 'turns', '0', 'dropped', '0', 'bytes', '0',
                'created', text(now))
              redis.call('DEL', KEYS[2], KEYS[3])
            else
              if turns > 0 and ((key ~= '' and key == state[6]) or (retries and digest == state[7])) then
                local reply = redis.call('HGET', KEYS[1], 'reply')
                if reply then
                  keep(ttl)
                  redis.call('SET', KEYS[4], owner, 'PX', remember)
                  return {'replay', turns, reply}
                end
              end
              if state[4] and state[4] ~= turn and tonumber(state[5]) > now then
                return {'busy', tonumber(state[5]) - now}
              end
            end
            redis.call('HSET', KEYS[1], 'lock', turn, 'lockUntil', text(now + lease), 'key', key, 'digest', digest,
              'used', text(now))
            keep(math.max(tonumber(ttl), lease))
            if turns > 0 then redis.call('SET', KEYS[4], owner, 'PX', remember) end
            return {'open', turns, anew, dropped, state[8] or '', state[9] or '',
              table.concat(redis.call('LRANGE', KEYS[2], 0, -1), ','),
              table.concat(redis.call('LRANGE', KEYS[3], 0, -1))}
            """)

    /// Ends a turn: appends its messages and the answer, drops what is too old, frees the lock.
    ///
    /// Arguments: turn, ttl, rememberExpired, system JSON or '', system prints, turn JSON, turn prints, reply or '',
    /// historyBytesMax, ceiling, turnsKept, turnsMax or 0.
    /// Returns one of
    /// - `stored`, turns, turns dropped; also when this turn was appended before
    /// - `lost`: another turn has taken the session since
    /// - `gone`: there is no such session any more
    static let append = RedisScript(
        name: "session.append",
        source: prologue + """
            local turn, ttl, remember, system, json, reply = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[6], ARGV[8]
            local most, ceiling, kept, turnsMax =
              tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
            local state = redis.call('HMGET', KEYS[1], 'owner', 'turns', 'dropped', 'bytes', 'lock', 'recent',
              'key', 'digest')
            if not state[1] then return {'gone'} end
            local turns, dropped, bytes = tonumber(state[2]), tonumber(state[3]), tonumber(state[4])
            local recent = state[6] or ''
            if string.find(recent, turn, 1, true) then return {'stored', turns, dropped} end
            if state[5] ~= turn then return {'lost'} end
            if system ~= '' then
              redis.call('HSET', KEYS[1], 'system', system, 'systemPrints', ARGV[5])
              bytes = bytes + #system
            end
            redis.call('RPUSH', KEYS[2], json)
            redis.call('RPUSH', KEYS[3], ARGV[7])
            turns, bytes = turns + 1, bytes + #json
            local length = redis.call('LLEN', KEYS[2])
            while length > 1 and (bytes > ceiling
                or (length > kept and (bytes > most or (turnsMax > 0 and length > turnsMax)))) do
              bytes = bytes - #redis.call('LPOP', KEYS[2])
              redis.call('LPOP', KEYS[3])
              length, dropped = length - 1, dropped + 1
            end
            redis.call('HSET', KEYS[1], 'turns', turns, 'dropped', dropped, 'bytes', text(bytes), 'used', text(now),
              'lastKey', state[7] or '', 'lastDigest', state[8] or '',
              'recent', turn .. string.sub(recent, 1, 32 * 15))
            redis.call('HDEL', KEYS[1], 'reply')
            if reply ~= '' then redis.call('HSET', KEYS[1], 'reply', reply) end
            redis.call('HDEL', KEYS[1], 'lock', 'lockUntil', 'key', 'digest')
            keep(ttl)
            redis.call('SET', KEYS[4], state[1], 'PX', remember)
            return {'stored', turns, dropped}
            """)

    /// Gives a turn up: frees the lock if it is this turn's; a session without any turn disappears.
    ///
    /// Arguments: turn, ttl. Returns 1 if the lock was this turn's.
    static let release = RedisScript(
        name: "session.release",
        source: prologue + """
            local state = redis.call('HMGET', KEYS[1], 'lock', 'turns')
            if state[1] ~= ARGV[1] then return 0 end
            if state[2] == '0' then
              redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
            else
              redis.call('HDEL', KEYS[1], 'lock', 'lockUntil', 'key', 'digest')
              keep(ARGV[2])
            end
            return 1
            """)

    /// A sign of life of a running turn.
    ///
    /// Arguments: turn, ttl, lease. Returns 1 if the lock is still this turn's.
    static let renew = RedisScript(
        name: "session.renew",
        source: prologue + """
            if redis.call('HGET', KEYS[1], 'lock') ~= ARGV[1] then return 0 end
            redis.call('HSET', KEYS[1], 'lockUntil', text(now + tonumber(ARGV[3])))
            keep(math.max(tonumber(ARGV[2]), tonumber(ARGV[3])))
            return 1
            """)

    /// Reads a session without taking a turn.
    ///
    /// Arguments: owner or '' for any, ttl or '0' to leave the clock alone.
    /// Returns `notFound`, or `session`, owner, turns, turns dropped, bytes, created, used, time to live, whether a
    /// turn is running (0 or 1), system JSON, history JSON.
    static let show = RedisScript(
        name: "session.show",
        source: prologue + """
            local state = redis.call('HMGET', KEYS[1], 'owner', 'turns', 'dropped', 'bytes', 'created', 'used',
              'lockUntil', 'system')
            if not state[1] or (ARGV[1] ~= '' and ARGV[1] ~= state[1]) then return {'notFound'} end
            if ARGV[2] ~= '0' then
              keep(math.max(tonumber(ARGV[2]), tonumber(state[7] or '0') - now))
            end
            return {'session', state[1], state[2], state[3], state[4], state[5], state[6],
              redis.call('PTTL', KEYS[1]), (tonumber(state[7] or '0') > now) and 1 or 0, state[8] or '',
              table.concat(redis.call('LRANGE', KEYS[2], 0, -1), ',')}
            """)

    /// Forgets a session at once, also that it was there. Argument: owner or '' for any. Returns 1 if there was one.
    static let delete = RedisScript(
        name: "session.delete",
        source: """
            local owner = redis.call('HGET', KEYS[1], 'owner')
            if not owner or (ARGV[1] ~= '' and ARGV[1] ~= owner) then return 0 end
            redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
            return 1
            """)

    /// Redis' time, numbers as decimal text (Lua's own would round or use exponents), and the clock of the three keys.
    private static let prologue = """
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local function text(number) return string.format('%.0f', number) end
        local function keep(ttl)
          for index = 1, 3 do redis.call('PEXPIRE', KEYS[index], text(ttl)) end
        end

        """
}
