import GatewayCore

/// Something that happened to a supervised process.
package struct SupervisorEvent: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        case started(pid: Int32)
        /// It can be used, so long after its start.
        case ready(after: Interval)
        /// It ended although nobody asked it to, and is started again after that time.
        case ended(ChildExit, restartAfter: Interval)
        /// It ended too often, and is left alone for that time.
        case endedTooOften(ChildExit, pause: Interval)
        /// The program could not be run; it is tried again after that time.
        case notStarted(SpawnError, retryAfter: Interval)
        /// It was not ready in time and was killed.
        case startLimitOver
        /// It was asked to end.
        case stopping
        /// It did not end in time and was killed.
        case killed
        /// It ended as asked.
        case stopped(ChildExit?)
    }

    package let service: String
    package let kind: Kind

    /// For people, without a full stop.
    package var sentence: String {
        switch kind {
        case .started(let pid): "\(service) was started (process \(pid))"
        case .ready(let after): "\(service) is ready after \(Self.text(after))"
        case .ended(let exit, let delay): "\(service) \(exit); starting it again in \(Self.text(delay))"
        case .endedTooOften(let exit, let pause):
            "\(service) \(exit), too often; leaving it alone for \(Self.text(pause))"
        case .notStarted(let error, let delay): "\(service): \(error); trying again in \(Self.text(delay))"
        case .startLimitOver: "\(service) was not ready in time and was killed"
        case .stopping: "\(service) was asked to end"
        case .killed: "\(service) did not end in time and was killed"
        case .stopped(let exit?): "\(service) \(exit)"
        case .stopped(nil): "\(service) is stopped"
        }
    }

    private static func text(_ interval: Interval) -> String {
        let milliseconds = interval.nanoseconds / 1_000_000
        return milliseconds < 1000 ? "\(milliseconds) ms" : "\(Double(milliseconds / 100) / 10) s"
    }
}
