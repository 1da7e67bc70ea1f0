import GatewayCore
import Reactor

/// Looks the names of replicas up again and again, so that one whose address changes is found without a reload.
///
/// A replica keeps its address as long as its name has it, in whatever order, and also when nothing is found. Where its
/// name has several, a replica that can't be reached is tried at the next one.
///
/// - Isolation: the first loop. The looking up happens elsewhere: one batch of names at a time.
/// - Owns: a task, from ``start()`` to ``stop()``.
package final class NameResolver {
    /// Looks all the names up, and hands over what was found; on whichever thread, but never on a loop. A name that was
    /// not found has no addresses.
    package typealias LookUp = (
        _ names: [String], _ found: @escaping @Sendable ([String: [SocketAddress]]) -> Void
    ) -> Void

    /// One name and who is to be found by it.
    private struct Name {
        var replicas: [(pool: Pool, replica: Replica)] = []
        var interval = Interval.seconds(86_400)
        var lookUpAt = Moment.never
        var lookedUpAt = Moment.zero
        /// Those that could not be reached since.
        var unreachable: Set<ObjectIdentifier> = []

        /// What is known of it stays, but for who is found by it, and how often.
        init(_ before: Name?) {
            guard let before else { return }
            (lookUpAt, lookedUpAt, unreachable) = (before.lookUpAt, before.lookedUpAt, before.unreachable)
        }
    }

    /// How soon after a look-up a failure may cause another one of the same name.
    private static let quickest = Interval.seconds(1)

    private let loop: EventLoop
    private let lookUp: LookUp
    private let onMove: (_ pool: Pool, _ replica: Replica, _ before: SocketAddress) -> Void
    private let parking: Parking
    private var names: [String: Name] = [:]
    private var isStopped = false

    /// - Parameter onMove: told when a replica has another address from now on.
    package init(
        on loop: EventLoop, lookUp: @escaping LookUp,
        onMove: @escaping (_ pool: Pool, _ replica: Replica, _ before: SocketAddress) -> Void
    ) {
        self.loop = loop
        self.lookUp = lookUp
        self.onMove = onMove
        parking = Parking(on: loop)
    }

    package func start() {
        loop.spawn { [self] in await run() }
    }

    package func stop() {
        isStopped = true
        parking.wake()
    }

    /// Looks up the names of this fleet from now on, each as often as its pools want.
    package func use(_ fleet: Fleet) {
        let before = names
        names = [:]
        for pool in fleet.pools where pool.settings.resolveInterval > .zero {
            for replica in pool.replicas {
                let host = replica.state.host
                guard SocketAddress(literal: host) == nil else { continue }
                var name = names[host] ?? Name(before[host])
                name.interval = min(name.interval, pool.settings.resolveInterval)
                name.lookUpAt = min(name.lookUpAt, loop.now + name.interval)
                name.replicas.append((pool, replica))
                names[host] = name
            }
        }
        parking.wake()
    }

    /// The replica could not be reached: its name may lead elsewhere by now.
    package func failed(_ replica: Replica) {
        guard var name = names[replica.state.host] else { return }
        name.unreachable.insert(ObjectIdentifier(replica.state))
        name.lookUpAt = min(name.lookUpAt, max(loop.now, name.lookedUpAt + Self.quickest))
        names[replica.state.host] = name
        parking.wake()
    }

    // MARK: Looking up

    private func run() async {
        defer { parking.close() }
        while !isStopped {
            let due = names.filter { $0.value.lookUpAt <= loop.now }.map(\.key)
            guard due.isEmpty else {
                await lookUp(due)
                continue
            }
            _ = await parking.park(until: names.values.map(\.lookUpAt).min() ?? .never)
        }
    }

    private func lookUp(_ due: [String]) async {
        for name in due { names[name]?.lookUpAt = .never }
        let errand = Errand<[String: [SocketAddress]]>(on: loop)
        lookUp(due) { found in errand.bring(found) }
        let found = await errand.results(parking, unless: { isStopped }).first ?? [:]
        for name in due {
            guard let known = names[name] else { continue }
            names[name]?.lookedUpAt = loop.now
            names[name]?.lookUpAt = loop.now + known.interval
            take(found[name] ?? [], of: name)
        }
    }

    private func take(_ found: [SocketAddress], of host: String) {
        guard let name = names[host] else { return }
        for (pool, replica) in name.replicas {
            let state = replica.state
            let before = state.address
            let isUnreachable = name.unreachable.contains(ObjectIdentifier(state))
            let chosen = Self.choose(among: found, now: before, isUnreachable: isUnreachable)
            guard chosen != before else { continue }
            state.move(to: chosen)
            onMove(pool, replica, before)
        }
        names[host]?.unreachable = []
    }

    /// Where a replica is after its name was looked up.
    package static func choose(
        among found: [SocketAddress], now address: SocketAddress, isUnreachable: Bool
    ) -> SocketAddress {
        guard var chosen = found.first else { return address }
        if let place = found.firstIndex(where: { $0.kind == address.kind }) {
            chosen = found[isUnreachable ? (place + 1) % found.count : place]
        }
        chosen.port = address.port
        return chosen
    }
}
