import GatewayCore

@testable import Telemetry

extension AccessRecord {
    /// A request that ended so.
    static func ended(
        _ outcome: Outcome, duration: Interval = .zero, timeToFirstToken: Interval? = nil, overhead: Interval? = nil,
        usage: Usage? = nil, bytesIn: Int = 0, bytesOut: Int = 0
    ) -> AccessRecord {
        let record = AccessRecord()
        record.outcome = outcome
        record.duration = duration
        record.timeToFirstToken = timeToFirstToken
        record.overhead = overhead
        record.usage = usage
        (record.bytesIn, record.bytesOut) = (bytesIn, bytesOut)
        return record
    }
}

extension LoopMetrics {
    func requestEnded(
        _ outcome: Outcome, pool: Int?, duration: Interval, timeToFirstToken: Interval? = nil,
        overhead: Interval? = nil, usage: Usage? = nil
    ) {
        self.pool(pool).requestEnded(
            .ended(
                outcome, duration: duration, timeToFirstToken: timeToFirstToken, overhead: overhead, usage: usage))
    }
}
