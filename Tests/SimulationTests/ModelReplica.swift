import Balancing
import GatewayCore

/// How a modelled replica behaves for a while.
enum Condition: CaseIterable {
    case well
    /// Its process is gone: streams break, connections are refused.
    case dead
    /// It accepts and says nothing any more.
    case hung
    /// Its health page is fine; every request is answered with 500.
    case failing
    /// Its health page is fine; every reply is a web page.
    case garbage
    /// 429 with a Retry-After of two seconds.
    case overloaded
    /// 503, and not until when.
    case busy
}

/// A replica as its requests and probes meet it, and the gateway's state about it.
struct ModelReplica {
    /// A time of trouble, also an operator's; open until it ends.
    struct Episode {
        var began: Moment
        var ended: Moment
    }

    let weight: Int
    let maxInFlight: Int
    var condition = Condition.well
    var episodes: [Episode] = []

    var machine: HealthMachine
    var breaker: Breaker
    var coolUntil = Moment.zero
    var nextProbe = Moment.never
    /// Tells the probe that is scheduled or under way from those that were given up.
    var probeRound = 0
    /// Requests that are there, by index.
    var active: Set<Int> = []
    /// Since when a request could have been sent there, as far as one waited for it.
    var usableSince: Moment?
    /// Requests ever sent there.
    var sends = 0

    init(weight: Int, maxInFlight: Int, health: HealthSettings, breaker: BreakerSettings) {
        self.weight = weight
        self.maxInFlight = maxInFlight
        machine = HealthMachine(settings: health, intent: .enabled)
        self.breaker = Breaker(settings: breaker)
    }

    mutating func troubleBegins(_ now: Moment) { episodes.append(Episode(began: now, ended: .never)) }

    mutating func troubleEnds(_ now: Moment) {
        if let last = episodes.indices.last, episodes[last].ended == .never { episodes[last].ended = now }
    }

    func episodes(from: Moment, to: Moment) -> Int { episodes.count { $0.began <= to && $0.ended >= from } }

    func candidate(at now: Moment) -> ReplicaPicker.Candidate {
        ReplicaPicker.Candidate(
            health: machine.snapshot(at: now), isFull: active.count >= maxInFlight, coolUntil: coolUntil,
            mayPassBreaker: breaker.mayPass(now))
    }
}
