import GatewayCore
import TestSupport
import Testing

@testable import Identity

@Suite struct KeySetScheduleTests {
    func at(_ seconds: Int64) -> Moment { .zero + .seconds(seconds) }

    /// A schedule whose first fetch succeeded at 0 s.
    func fetched() -> KeySetSchedule {
        var schedule = KeySetSchedule(interval: .seconds(3_600), gap: .seconds(60))
        schedule.started(now: .zero)
        schedule.fetched(now: .zero)
        return schedule
    }

    @Test func `the first fetch is due at once, the next after the interval`() {
        var schedule = KeySetSchedule(interval: .seconds(3_600), gap: .seconds(60))
        #expect(schedule.isDue(now: .zero))
        schedule.started(now: at(5))
        #expect(!schedule.isDue(now: at(1_000_000)))
        schedule.fetched(now: at(6))
        #expect(schedule.due == at(3_606))
    }

    @Test func `an unknown key brings the fetch forward, but not sooner than the gap after the last attempt`() {
        var schedule = fetched()
        schedule.unknownKey(now: at(10))
        #expect(schedule.due == at(60))
        schedule.unknownKey(now: at(30))
        #expect(schedule.due == at(60))
        schedule = fetched()
        schedule.unknownKey(now: at(500))
        #expect(schedule.due == at(500))
        schedule = fetched()
        schedule.unknownKey(now: at(3_700))
        #expect(schedule.due == at(3_600))
    }

    @Test func `an unknown key that turns up while the set is on its way makes it be fetched once more`() {
        var schedule = fetched()
        schedule.started(now: at(3_600))
        schedule.unknownKey(now: at(3_601))
        #expect(!schedule.isDue(now: at(3_601)))
        schedule.fetched(now: at(3_602))
        #expect(schedule.due == at(3_662))
    }

    @Test func `before the first set failures are retried ever more slowly, and unknown keys don't hurry`() {
        var schedule = KeySetSchedule(interval: .seconds(3_600), gap: .seconds(10))
        var waits: [Int64] = []
        for _ in 0..<6 {
            schedule.started(now: .zero)
            schedule.failed(now: .zero)
            schedule.unknownKey(now: .zero)
            waits.append(schedule.due.nanoseconds / 1_000_000_000)
        }
        #expect(waits == [1, 2, 4, 8, 10, 10])
    }

    @Test func `a failure later is retried after the gap`() {
        var schedule = fetched()
        schedule.started(now: at(3_600))
        schedule.failed(now: at(3_605))
        #expect(schedule.due == at(3_665))
    }

    @Test func `however many unknown keys come, two attempts are a gap apart, and one comes in every interval`() {
        var generator = SplitMix64(seed: 9)
        var schedule = fetched()
        var now = Moment.zero
        var last = Moment.zero
        var attempts = 0
        for _ in 0..<20_000 {
            now = now + .seconds(Int64(generator.next() % 40))
            if generator.next() % 3 == 0 { schedule.unknownKey(now: now) }
            guard schedule.isDue(now: now) else {
                #expect(now - last < .seconds(3_640))
                continue
            }
            #expect(now - last >= .seconds(60))
            last = now
            attempts += 1
            schedule.started(now: now)
            if generator.next() % 4 == 0 { schedule.failed(now: now) } else { schedule.fetched(now: now) }
        }
        #expect(attempts > 1_000)
    }
}
