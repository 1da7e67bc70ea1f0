import GatewayCore
import TestSupport
import Testing
import Wire

@testable import Pipeline

/// Small texts of heads.
@Suite struct ReplyTextTests {
    private func duration(_ interval: Interval) -> String {
        var writer = ByteWriter()
        writer.append(upTo: 64) { head in head.put(upTo: 64) { $0.put(goDuration: interval) } }
        return writer.bytes.text
    }

    @Test func `a reset is printed as Go prints durations, rounded up`() {
        let printed: [(Interval, String)] = [
            (.zero, "0ms"), (.nanoseconds(1), "1ms"), (.milliseconds(120), "120ms"), (.milliseconds(999), "999ms"),
            (.microseconds(999_001), "1s"), (.seconds(1), "1s"), (.milliseconds(1_001), "2s"), (.seconds(59), "59s"),
            (.milliseconds(59_001), "1m0s"), (.seconds(60), "1m0s"), (.seconds(399), "6m39s"),
            (.seconds(3_600), "1h0m0s"), (.seconds(3_661), "1h1m1s"), (.seconds(90_000), "25h0m0s"),
        ]
        for (interval, text) in printed { #expect(duration(interval) == text) }
    }

    @Test func `a client that waits for a printed reset has waited long enough, and less than a second too long`() {
        var generator = SplitMix64(seed: 3)
        for exponent in 0..<56 {
            let nanoseconds = Int64.random(in: 0...(1 << exponent), using: &generator)
            let waited = Self.read(duration(.nanoseconds(nanoseconds)))
            #expect(waited >= nanoseconds && waited < nanoseconds + 1_000_000_000)
        }
    }

    /// Nanoseconds that a text such as `1h0m5s` or `7ms` stands for.
    private static func read(_ text: String) -> Int64 {
        var total: Int64 = 0
        for match in text.matches(of: /([0-9]+)(ms|h|m|s)/) {
            let units: [Substring: Int64] = ["ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000]
            total += (Int64(match.1) ?? 0) * (units[match.2] ?? 3_600_000_000_000)
        }
        return total
    }

    @Test func `a model's name is found in a path whether its slash is escaped or not`() {
        let names = [
            ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"), ("Qwen%2FQwen3", "Qwen/Qwen3"), ("a%2fb%25", "a/b%"),
            ("%C3%BC", "ü"),
            // What is no escape stands for itself.
            ("100%", "100%"), ("%2", "%2"), ("%g0", "%g0"), ("%%41", "%A"), ("", ""),
        ]
        for (written, name) in names { #expect(AuthorizeStage.percentDecoded(written) == name) }
    }

    @Test func `the id of a request or a session has letters, digits and three marks`() {
        let allowed = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-".utf8)
        for byte in UInt8.min ... .max { #expect(Exchange.isIDByte(byte) == allowed.contains(byte), "\(byte)") }
    }
}
