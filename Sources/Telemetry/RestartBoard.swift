import GatewayCore
import Synchronization

/// What hooks and restarts have come to, for the metrics page and the admin API.
///
/// - Isolation: any thread.
package final class RestartBoard: Sendable {
    /// What is being done about a replica that is down.
    package enum State: Equatable, Sendable {
        case none
        /// It is restarted at that moment.
        case waiting(until: Moment)
        case restarting
        /// It was restarted and has to show that it works.
        case settling
        /// It was restarted too often, and is left alone until then.
        case coolingDown(until: Moment)

        package var word: String {
            switch self {
            case .none: "none"
            case .waiting: "waiting"
            case .restarting: "restarting"
            case .settling: "settling"
            case .coolingDown: "cooling_down"
            }
        }

        /// Seconds that a wait or a pause lasts yet.
        package func secondsLeft(_ now: Moment) -> Int? {
            switch self {
            case .waiting(let until), .coolingDown(let until): max(0, Int((until - now).secondsRoundedUp))
            case .none, .restarting, .settling: nil
            }
        }
    }

    private struct Contents {
        var states: [String: State] = [:]
        /// By hook and result.
        var hookRuns: [[String]: Int] = [:]
        /// By pool, replica and result.
        var restarts: [[String]: Int] = [:]
    }

    private let contents = Mutex(Contents())

    package init() {}

    package func state(of replica: String) -> State { contents.withLock { $0.states[replica] ?? .none } }

    package func set(_ state: State, of replica: String) {
        contents.withLock { $0.states[replica] = state == .none ? nil : state }
    }

    /// Forgets replicas that are no longer configured.
    package func keep(only replicas: Set<String>) {
        contents.withLock { contents in
            contents.states = contents.states.filter { replicas.contains($0.key) }
            contents.restarts = contents.restarts.filter { replicas.contains($0.key[1]) }
        }
    }

    package func hookRan(_ hook: String, _ result: String) {
        contents.withLock { $0.hookRuns[[hook, result], default: 0] += 1 }
    }

    package func restarted(_ replica: String, in pool: String, ok: Bool) {
        contents.withLock { $0.restarts[[pool, replica, ok ? "ok" : "failed"], default: 0] += 1 }
    }

    /// - Parameter replicas: pool and name of each.
    package func append(to page: inout MetricsPage, replicas: [(pool: String, name: String)]) {
        let contents = contents.withLock { $0 }
        page.family("weir_hook_runs_total", .counter, "Hooks that were run or called, by how that ended.")
        for (key, count) in contents.hookRuns.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            page.sample(["hook": key[0], "result": key[1]], count)
        }
        page.family("weir_replica_restarts_total", .counter, "Restarts of replicas that were asked for or needed.")
        for (key, count) in contents.restarts.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            page.sample(["pool": key[0], "replica": key[1], "result": key[2]], count)
        }
        page.family(
            "weir_replica_restart_cooldown", .gauge, "Whether a replica failed so often that it is left alone: 1 or 0.")
        for replica in replicas {
            let isCooling = if case .coolingDown = contents.states[replica.name] { true } else { false }
            page.sample(["pool": replica.pool, "replica": replica.name], isCooling ? 1 : 0)
        }
    }
}
