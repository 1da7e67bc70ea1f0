import GatewayCore
import Synchronization
import Wire

/// What operators are told: replicas that come and go, reloads, start and stop; one JSON object on one line.
///
///     events.log(.warning, "replica_down", "Its probe failed three times.", ["pool": "chat", "replica": "a"])
///
/// At most ``perSecond`` lines a second after a burst of ``burst``; the next line that fits says how many were
/// suppressed. Never a prompt, an answer or a secret.
/// - Isolation: any thread; never blocks on the destination.
package final class EventLog: Sendable {
    /// From least to most severe.
    package enum Level: UInt8, Sendable, CaseIterable {
        case debug, info, warning, error

        package var label: StaticString {
            switch self {
            case .debug: "debug"
            case .info: "info"
            case .warning: "warning"
            case .error: "error"
            }
        }
    }

    struct Rate {
        var tokens: Double = EventLog.burst
        var last: WallTime?
        /// Since the last line that fitted.
        var suppressed = 0
        var suppressedInAll = 0
    }

    static let burst: Double = 200
    static let perSecond: Double = 20

    private let buffer: LineBuffer
    private let clock: @Sendable () -> WallTime
    private let rate = Mutex(Rate())
    private let least: Atomic<UInt8>

    init(buffer: LineBuffer, level: Level, clock: @escaping @Sendable () -> WallTime) {
        least = Atomic(level.rawValue)
        self.buffer = buffer
        self.clock = clock
    }

    /// Says that `event` happened. `event` is a stable word for machines, `message` a sentence for people.
    package func log(
        _ level: Level, _ event: StaticString, _ message: String, _ fields: KeyValuePairs<StaticString, String> = [:]
    ) {
        guard level.rawValue >= least.load(ordering: .relaxed) else { return }
        let now = clock()
        guard let suppressed = rate.withLock({ $0.admit(now) }) else { return }
        buffer.append { out, timestamp in
            out.append("{\"time\":\"")
            timestamp.append(now, to: &out)
            out.append("\",\"level\":\"")
            out.append(level.label)
            out.append("\",\"event\":\"")
            out.append(event)
            out.append("\",\"message\":")
            out.append(quoted: message, limit: 1024)
            for (name, value) in fields {
                out.append(",\"")
                out.append(name)
                out.append("\":")
                out.append(quoted: value)
            }
            if suppressed > 0 {
                out.append(",\"suppressed\":")
                out.append(decimal: suppressed)
            }
            out.append("}\n")
        }
    }

    /// Leaves out what is less severe than `level` from now on: for a reload.
    package func setLevel(_ level: Level) { least.store(level.rawValue, ordering: .relaxed) }

    /// Events that were not written because there were too many.
    package var suppressed: Int { rate.withLock { $0.suppressedInAll } }
}

extension EventLog.Rate {
    /// Whether one more line fits; if so, how many before it did not.
    mutating func admit(_ now: WallTime) -> Int? {
        if let last, now > last {
            let seconds = Double(now.nanosecondsSinceEpoch - last.nanosecondsSinceEpoch) / 1e9
            tokens = min(EventLog.burst, tokens + seconds * EventLog.perSecond)
        }
        last = now
        guard tokens >= 1 else {
            suppressed += 1
            suppressedInAll += 1
            return nil
        }
        tokens -= 1
        defer { suppressed = 0 }
        return suppressed
    }
}
