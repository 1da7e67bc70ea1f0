import GatewayCore
import Wire

/// Wall time as RFC 3339 in UTC with milliseconds, `2026-09-14T08:03:07.042Z`, without computing a date per line.
///
/// The 19 bytes up to the second are kept and written anew only when the second changes.
/// - Cost: one division and 24 bytes a line; a date once a second.
/// - Source: RFC 3339; the calendar from Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
package struct TimestampText: Sendable {
    /// When the second began that the text shows, in nanoseconds.
    private var start = Int64.min
    private var text: InlineArray<19, UInt8> = .init(repeating: 0x30)

    /// Bytes of it.
    static let count = 24

    package init() {}

    /// Appends `time`, truncated to the millisecond.
    package mutating func append(_ time: WallTime, to out: inout ByteWriter) {
        out.append(upTo: Self.count) { line in line.put(upTo: Self.count) { put(time, on: &$0) } }
    }

    @inline(__always)
    mutating func put(_ time: WallTime, on line: inout ByteRun) {
        if UInt64(bitPattern: time.nanosecondsSinceEpoch &- start) >= 1_000_000_000 { write(time) }
        line.put(text)
        line.put(decimals: UInt(bitPattern: Int(time.nanosecondsSinceEpoch &- start)) / 1_000_000)
        line.put("Z")
    }

    /// Takes on the second that `time` is in.
    @inline(never)
    private mutating func write(_ time: WallTime) {
        let second = Self.floorDivide(time.nanosecondsSinceEpoch, 1_000_000_000)
        start = second &* 1_000_000_000
        let days = Self.floorDivide(second, 86_400)
        let inDay = Int(second - days * 86_400)
        let (year, month, day) = Self.date(daysSinceEpoch: Int(days))
        put(year, digits: 4, at: 0)
        put(month, digits: 2, at: 5)
        put(day, digits: 2, at: 8)
        put(inDay / 3600, digits: 2, at: 11)
        put(inDay / 60 % 60, digits: 2, at: 14)
        put(inDay % 60, digits: 2, at: 17)
        text[4] = 0x2D
        text[7] = 0x2D
        text[10] = 0x54
        text[13] = 0x3A
        text[16] = 0x3A
    }

    private mutating func put(_ value: Int, digits: Int, at start: Int) {
        var rest = value
        for place in (start..<start + digits).reversed() {
            text[place] = Self.digit(rest)
            rest /= 10
        }
    }

    private static func digit(_ value: Int) -> UInt8 { UInt8(truncatingIfNeeded: 0x30 + value % 10) }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }

    /// The Gregorian date of a day; an era is 400 years, a year starts in March.
    static func date(daysSinceEpoch: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = daysSinceEpoch + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let march = (5 * dayOfYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * march + 2) / 5 + 1)
    }
}
