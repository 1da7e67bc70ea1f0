import Balancing
import GatewayCore
import Reactor
import Telemetry
import Wire

/// Deadlines of one request towards its replicas. Plain settings: defaults are the configuration's.
package struct UpstreamTimeouts: Equatable, Sendable {
    package var connect: Interval
    /// From the request's last byte to the reply's first.
    package var firstByte: Interval
    /// From the request's last byte to the first content of a stream.
    package var firstContent: Interval
    /// Added to both for each KiB of the request's body: a long prompt is slow, not dead.
    package var firstContentPerKiB: Interval
    /// Between two events of a stream.
    package var streamStall: Interval
    /// From the request's arrival to the answer's end.
    package var total: Interval
    /// How long the head of a stream is held back for the first content.
    package var headHold: Interval

    package init(
        connect: Interval, firstByte: Interval, firstContent: Interval, firstContentPerKiB: Interval,
        streamStall: Interval, total: Interval, headHold: Interval
    ) {
        self.connect = connect
        self.firstByte = firstByte
        self.firstContent = firstContent
        self.firstContentPerKiB = firstContentPerKiB
        self.streamStall = streamStall
        self.total = total
        self.headHold = headHold
    }

    /// How long a stream's first content may take after a request with such a body.
    package func firstContent(bodyBytes: Int) -> Interval { firstContent + allowance(bodyBytes) }

    /// How long a reply's first byte may take. A stream whose head is later than its content may be is as dead.
    package func firstByte(bodyBytes: Int, isStream: Bool) -> Interval {
        (isStream ? min(firstByte, firstContent) : firstByte) + allowance(bodyBytes)
    }

    private func allowance(_ bodyBytes: Int) -> Interval { firstContentPerKiB * Int64(bodyBytes / 1_024) }
}

/// What the configuration says of one pool, beside its replicas.
package struct PoolSettings: Sendable {
    package var name: String
    package var models: [ServedModel]
    package var policy: ReplicaPicker.Policy
    package var health: HealthSettings
    package var probeTimeout: Interval
    /// For the answer to a deep probe or a warm-up.
    package var deepTimeout: Interval
    package var timeouts: UpstreamTimeouts
    package var attempt: AttemptSettings
    package var retryPercent: Int
    package var retriesPerSecond: Int
    /// Whether a stream that broke after its first content goes on elsewhere.
    package var resumes: Bool
    package var queueLength: Int
    package var queueTimeout: Interval
    /// Idle connections kept per replica and loop.
    package var idleConnectionsMax: Int
    /// How often the replicas' names are looked up again; zero for never.
    package var resolveInterval: Interval
    package var replyHead: HeadLimits
    package var replyChunks: ChunkedDecoder.Limits

    package init(
        name: String, models: [ServedModel], policy: ReplicaPicker.Policy, health: HealthSettings,
        probeTimeout: Interval, deepTimeout: Interval, timeouts: UpstreamTimeouts, attempt: AttemptSettings,
        retryPercent: Int, retriesPerSecond: Int, resumes: Bool, queueLength: Int, queueTimeout: Interval,
        idleConnectionsMax: Int, resolveInterval: Interval, replyHead: HeadLimits, replyChunks: ChunkedDecoder.Limits
    ) {
        self.name = name
        self.models = models
        self.policy = policy
        self.health = health
        self.probeTimeout = probeTimeout
        self.deepTimeout = deepTimeout
        self.timeouts = timeouts
        self.attempt = attempt
        self.retryPercent = retryPercent
        self.retriesPerSecond = retriesPerSecond
        self.resumes = resumes
        self.queueLength = queueLength
        self.queueTimeout = queueTimeout
        self.idleConnectionsMax = idleConnectionsMax
        self.resolveInterval = resolveInterval
        self.replyHead = replyHead
        self.replyChunks = replyChunks
    }
}

/// A model under its public name, and what the replicas call it.
///
/// A class, because every request keeps it: one reference instead of three. Immutable, so all loops may share it.
package final class ServedModel: Sendable {
    package let name: String
    /// The replicas' name where it differs.
    package let upstreamName: String?
    /// Models to ask instead, in order, when this one can't answer.
    package let fallback: [String]

    package init(name: String, upstreamName: String?, fallback: [String] = []) {
        self.name = name
        self.upstreamName = upstreamName
        self.fallback = fallback
    }
}

/// The replicas that serve the same models, and the queue in front of them. Shared by all loops.
package final class Pool: Sendable {
    package let settings: PoolSettings
    /// Its place among the pools and in the metrics.
    package let index: Int
    package let replicas: [Replica]
    package let queue: WaitQueue
    package var name: String { settings.name }
    /// Its name as the access log shows it.
    package let loggedName: LogText

    package init(_ settings: PoolSettings, index: Int, replicas: [Replica]) {
        self.settings = settings
        self.index = index
        self.replicas = replicas
        loggedName = LogText(settings.name)
        queue = WaitQueue(lengthMax: settings.queueLength)
    }

    package var isAnyServing: Bool { replicas.contains { $0.isServing } }

    func isAnyServing(but replica: Replica?) -> Bool {
        replicas.contains { !$0.isSame(as: replica) && $0.isServing }
    }

    /// The replica as this pool has it, for one that another configuration's pool has; nil if it is gone.
    package func find(_ replica: Replica) -> Replica? {
        if replica.index < replicas.count, replicas[replica.index].isSame(as: replica) {
            return replicas[replica.index]
        }
        return replicas.first { $0.isSame(as: replica) }
    }

    /// A place may be free at the replica: whoever waits longest for one looks.
    package func placeFreed(at replica: Replica, now: Moment) {
        guard queue.length > 0, isUsable(replica, now: now) else { return }
        queue.placeFreed(at: replica.index)
    }

    /// Whether somebody could take a place there: with nobody serving, everybody is as good (``Panic``).
    func isUsable(_ replica: Replica, now: Moment) -> Bool {
        replica.hasRoom(now: now) && (replica.isServing || !isAnyServing)
    }
}

/// All pools of one configuration, and which of them serves a model. Replaced as a whole on reload.
package final class Fleet: Sendable {
    package let pools: [Pool]
    /// Replicas of configurations before this one that still had requests when it came.
    package let leaving: [(pool: String, replica: Replica)]
    private let poolByModel: [String: (pool: Int, model: Int)]

    /// - Parameter before: the fleet in force until now.
    package init(pools: [Pool], before: Fleet? = nil) {
        self.pools = pools
        let kept = Set(pools.flatMap(\.replicas).map { ObjectIdentifier($0.state) })
        leaving = (before?.all ?? []).filter { entry in
            !kept.contains(ObjectIdentifier(entry.replica.state)) && entry.replica.inFlight > 0
        }
        var byModel: [String: (pool: Int, model: Int)] = [:]
        for pool in pools {
            for (place, model) in pool.settings.models.enumerated() { byModel[model.name] = (pool.index, place) }
        }
        poolByModel = byModel
    }

    /// Every replica that has or may get requests, with the name of its pool.
    package var all: [(pool: String, replica: Replica)] {
        pools.flatMap { pool in pool.replicas.map { (pool.name, $0) } } + leaving
    }

    /// All public models in the order of the configuration.
    package var models: [ServedModel] { pools.flatMap(\.settings.models) }

    package func find(model name: String) -> (pool: Pool, model: ServedModel)? {
        guard let place = poolByModel[name] else { return nil }
        let pool = pools[place.pool]
        return (pool, pool.settings.models[place.model])
    }

    /// Models tried for one request besides the one that it asked for.
    private static let fallbacksMax = 8

    /// Who is asked instead of `model`, in order: each of its fallbacks, followed by that one's own.
    package func fallbacks(of model: ServedModel) -> [(pool: Pool, model: ServedModel)] {
        var found: [(pool: Pool, model: ServedModel)] = []
        var waiting = Array(model.fallback.reversed())
        while let name = waiting.popLast(), found.count < Self.fallbacksMax {
            guard name != model.name, !found.contains(where: { $0.model.name == name }), let next = find(model: name)
            else { continue }
            found.append(next)
            waiting.append(contentsOf: next.model.fallback.reversed())
        }
        return found
    }

    package var isAnyServing: Bool { pools.contains { $0.isAnyServing } }
}
