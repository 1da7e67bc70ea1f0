import RedisClient

/// What happens to API keys in Redis. Each script is one step there.
///
/// Keys: the state (a hash with `epoch` and `version`), the order (a sorted set: key ids by the version of their last
/// change, so each key once), and for writes the key's record (a hash).
enum KeyScripts {
    /// Arguments: id, `create` or `replace`, an epoch if there is none yet, then fields and values.
    /// Returns the new version, `exists` (create) or `missing` (replace).
    static let put = RedisScript(
        name: "key.put",
        source: """
            local exists = redis.call('EXISTS', KEYS[3]) == 1
            if exists and ARGV[2] == 'create' then return 'exists' end
            if not exists and ARGV[2] == 'replace' then return 'missing' end
            redis.call('DEL', KEYS[3])
            redis.call('HSET', KEYS[3], unpack(ARGV, 4))
            redis.call('HSETNX', KEYS[1], 'epoch', ARGV[3])
            local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
            redis.call('ZADD', KEYS[2], version, ARGV[1])
            return version
            """)

    /// Arguments: id, when. Returns the version, or `missing`. The first revocation counts.
    static let revoke = RedisScript(
        name: "key.revoke",
        source: """
            if redis.call('EXISTS', KEYS[3]) == 0 then return 'missing' end
            if redis.call('HSETNX', KEYS[3], 'revoked', ARGV[2]) == 1 then
              local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
              redis.call('ZADD', KEYS[2], version, ARGV[1])
            end
            return tonumber(redis.call('HGET', KEYS[1], 'version'))
            """)

    /// Keys by the version of their last change, oldest change first.
    ///
    /// Arguments: epoch and version to go on from, how many, what records' names begin with, then field names.
    /// Returns epoch, version now, version of the last one returned, and for each key its id and fields;
    /// or `startOver` when the epoch is another one or the version lies ahead.
    static let page = RedisScript(
        name: "key.page",
        source: """
            local state = redis.call('HMGET', KEYS[1], 'epoch', 'version')
            local epoch, version = state[1] or '', tonumber(state[2] or '0')
            local from = tonumber(ARGV[2])
            if from > 0 and (epoch ~= ARGV[1] or from > version) then return 'startOver' end
            local listed = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf', 'WITHSCORES',
              'LIMIT', 0, ARGV[3])
            local keys, last = {}, from
            for index = 1, #listed, 2 do
              local fields = redis.call('HMGET', ARGV[4] .. listed[index], unpack(ARGV, 5))
              keys[#keys + 1] = {listed[index], fields}
              last = tonumber(listed[index + 1])
            end
            return {epoch, version, last, keys}
            """)
}
