import GatewayCore
import Synchronization
import Testing
import Wire

@testable import Telemetry

@Suite struct EventLogTests {
    /// A clock that a test moves.
    private final class Clock: Sendable {
        private let time = Mutex(WallTime(secondsSinceEpoch: 1000))
        var now: WallTime { time.withLock { $0 } }
        func advance(seconds: Int64) {
            time.withLock { $0 = WallTime(nanosecondsSinceEpoch: $0.nanosecondsSinceEpoch + seconds * 1_000_000_000) }
        }
    }

    @Test func `an event is a line with time, level, word, sentence and fields`() throws {
        let scratch = try LogScratch()
        let writer = try LogWriter(
            access: .off, loops: 1, bytesMaxPerLoop: 1, events: .file(scratch.path("events")),
            clock: { WallTime(nanosecondsSinceEpoch: 5_000_000) })
        writer.events.log(.warning, "replica_down", "Its \"probe\" failed.", ["pool": "chat", "replica": "a\nb"])
        writer.stop(within: .zero)
        let expected = """
            {"time":"1970-01-01T00:00:00.005Z","level":"warning","event":"replica_down",\
            "message":"Its \\"probe\\" failed.","pool":"chat","replica":"a\\nb"}

            """
        #expect(scratch.content("events") == expected)
    }

    @Test func `what is less severe than the level is left out and takes nobody's place`() throws {
        let scratch = try LogScratch()
        let writer = try LogWriter(
            access: .off, loops: 1, bytesMaxPerLoop: 1, events: .file(scratch.path("events")), level: .warning,
            clock: { WallTime(secondsSinceEpoch: 0) })
        for _ in 0..<1000 { writer.events.log(.info, "chatter", "") }
        writer.events.log(.error, "kept", "")
        writer.events.setLevel(.debug)
        writer.events.log(.debug, "kept", "")
        writer.stop(within: .zero)
        #expect(scratch.lines("events").count == 2)
        #expect(scratch.lines("events").allSatisfy { $0.contains("\"event\":\"kept\"") })
        #expect(writer.dropped.events == 0)
    }

    @Test func `a flood is cut to its bound, and the next line says how many are missing`() throws {
        let scratch = try LogScratch()
        let clock = Clock()
        let writer = try LogWriter(
            access: .off, loops: 1, bytesMaxPerLoop: 1, events: .file(scratch.path("events")), clock: { clock.now })
        for number in 0..<500 { writer.events.log(.info, "flood", "\(number)") }
        #expect(writer.dropped.events == 300)
        clock.advance(seconds: 1)
        for _ in 0..<30 { writer.events.log(.info, "later", "") }
        clock.advance(seconds: -100)  // a clock set back gives nothing
        writer.events.log(.info, "back", "")
        writer.stop(within: .zero)
        let lines = scratch.lines("events")
        #expect(lines.count == 220)
        #expect(lines[200].hasSuffix(",\"suppressed\":300}"))
        #expect(!lines[201].contains("suppressed"))
        #expect(writer.events.suppressed == 311)
    }
}
