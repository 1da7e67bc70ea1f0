import GatewayCore

/// The `date` field of every reply, formatted once a second.
///
/// - Cost: a comparison, and 37 bytes copied.
/// - Isolation: its loop's.
/// Source: RFC 9110 §5.6.7 (`IMF-fixdate`), §6.6.1.
package struct HTTPDate: ~Copyable {
    /// When the second began that the line shows.
    private var second = WallTime(nanosecondsSinceEpoch: .min)
    private var line = InlineArray<37, UInt8>(repeating: 0x20)

    package init() {}

    /// Puts `date: Sun, 06 Nov 1994 08:49:37 GMT` and the line end.
    package mutating func put(on cursor: inout ByteCursor, now: WallTime) {
        let since = now.nanosecondsSinceEpoch &- second.nanosecondsSinceEpoch
        if UInt64(bitPattern: since) >= 1_000_000_000 { write(now.secondsSinceEpoch) }
        cursor.put(line)
    }

    package mutating func append(to writer: inout ByteWriter, now: WallTime) {
        writer.append(upTo: 37) { put(on: &$0, now: now) }
    }

    @inline(never)
    private mutating func write(_ seconds: Int64) {
        second = WallTime(secondsSinceEpoch: seconds)
        var text = ByteWriter(capacity: 64)
        text.append("date: ")
        text.append(httpDate: seconds)
        text.appendLineEnd()
        for index in 0..<min(text.count, 37) { line[index] = text.bytes[index] }
    }
}

extension ByteWriter {
    /// `secondsSinceEpoch` as an HTTP date. Years before 1 or after 9999 are written as those.
    ///
    /// Source: RFC 9110 §5.6.7; Hinnant, "chrono-Compatible Low-Level Date Algorithms" (`civil_from_days`).
    package mutating func append(httpDate secondsSinceEpoch: Int64) {
        let bounded = min(max(secondsSinceEpoch, -62_135_596_800), 253_402_300_799)
        // Days since 0000-03-01, so that a leap day is the last of its year.
        let shifted = bounded + 719_468 * 86_400
        let day = shifted / 86_400
        let time = shifted % 86_400
        let era = day / 146_097
        let dayOfEra = day % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)

        append(Self.weekday(Int((day + 3) % 7)))
        append(", ")
        appendTwoDigits(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
        append(0x20)
        append(Self.monthName(Int(month)))
        append(0x20)
        appendTwoDigits(year / 100)
        appendTwoDigits(year % 100)
        append(0x20)
        appendTwoDigits(time / 3_600)
        append(0x3A)
        appendTwoDigits(time / 60 % 60)
        append(0x3A)
        appendTwoDigits(time % 60)
        append(" GMT")
    }

    private mutating func appendTwoDigits(_ value: Int64) {
        append(UInt8(truncatingIfNeeded: 0x30 + value / 10 % 10))
        append(UInt8(truncatingIfNeeded: 0x30 + value % 10))
    }

    /// Counted from Sunday, as 0.
    private static func weekday(_ index: Int) -> StaticString {
        switch index {
        case 0: "Sun"
        case 1: "Mon"
        case 2: "Tue"
        case 3: "Wed"
        case 4: "Thu"
        case 5: "Fri"
        default: "Sat"
        }
    }

    private static func monthName(_ month: Int) -> StaticString {
        switch month {
        case 1: "Jan"
        case 2: "Feb"
        case 3: "Mar"
        case 4: "Apr"
        case 5: "May"
        case 6: "Jun"
        case 7: "Jul"
        case 8: "Aug"
        case 9: "Sep"
        case 10: "Oct"
        case 11: "Nov"
        default: "Dec"
        }
    }
}
