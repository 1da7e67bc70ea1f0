import GatewayCore
import Glibc
import TestSupport
import Testing
import Wire

@testable import Telemetry

@Suite struct TimestampTextTests {
    private func text(_ nanoseconds: Int64, with timestamp: inout TimestampText) -> String {
        var out = ByteWriter()
        timestamp.append(WallTime(nanosecondsSinceEpoch: nanoseconds), to: &out)
        return out.bytes.text
    }

    @Test func `known moments are spelled as RFC 3339 spells them`() {
        var timestamp = TimestampText()
        #expect(text(0, with: &timestamp) == "1970-01-01T00:00:00.000Z")
        #expect(text(951_782_399_999_999_999, with: &timestamp) == "2000-02-28T23:59:59.999Z")
        #expect(text(951_782_400_000_000_000, with: &timestamp) == "2000-02-29T00:00:00.000Z")
        #expect(text(1_789_372_987_042_000_000, with: &timestamp) == "2026-09-14T08:03:07.042Z")
        #expect(text(-1, with: &timestamp) == "1969-12-31T23:59:59.999Z")
        #expect(text(4_107_542_400_000_000_000, with: &timestamp) == "2100-03-01T00:00:00.000Z")
    }

    @Test func `kept or written anew, a second is what the C library makes of it`() {
        var generator = SplitMix64(seed: 3)
        var timestamp = TimestampText()
        var nanoseconds: Int64 = 1_600_000_000_000_000_000
        for _ in 0..<5000 {
            let step = Int64(generator.next() >> (20 + generator.next() % 40))
            nanoseconds = generator.next() % 4 == 0 ? nanoseconds - step / 2 : nanoseconds + step
            nanoseconds = max(0, min(nanoseconds, 8_000_000_000_000_000_000))
            var seconds = time_t(nanoseconds / 1_000_000_000)
            var parts = tm()
            gmtime_r(&seconds, &parts)
            func padded(_ value: Int32, _ width: Int = 2) -> String {
                String(repeating: "0", count: width - String(value).count) + String(value)
            }
            let date = "\(parts.tm_year + 1900)-\(padded(parts.tm_mon + 1))-\(padded(parts.tm_mday))"
            let time = "\(padded(parts.tm_hour)):\(padded(parts.tm_min)):\(padded(parts.tm_sec))"
            let fraction = padded(Int32(nanoseconds / 1_000_000 % 1000), 3)
            #expect(text(nanoseconds, with: &timestamp) == "\(date)T\(time).\(fraction)Z")
        }
    }
}
