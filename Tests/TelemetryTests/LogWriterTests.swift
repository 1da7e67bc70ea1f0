import GatewayCore
import Glibc
import Testing
import Wire

@testable import Telemetry

@Suite struct LogWriterTests {
    private func writer(
        _ scratch: LogScratch, access: LogDestination? = nil, loops: Int = 1, bytesMax: Int = 1 << 20
    ) throws -> LogWriter {
        try LogWriter(
            access: access ?? .file(scratch.path("access")), loops: loops, bytesMaxPerLoop: bytesMax,
            events: .file(scratch.path("events")), clock: { WallTime(secondsSinceEpoch: 0) })
    }

    private func put(_ text: String, into buffer: LineBuffer?) {
        buffer?.append { out, _ in out.append(text + "\n") }
    }

    @Test func `every line of every loop arrives whole and in its loop's order`() async throws {
        let scratch = try LogScratch()
        let writer = try writer(scratch, loops: 3)
        writer.start()
        await withTaskGroup(of: Void.self) { group in
            for loop in 0..<3 {
                let buffer = writer.access(loop: loop)
                group.addTask {
                    for number in 0..<3000 { buffer?.append { out, _ in out.append("\(loop) \(number)\n") } }
                }
            }
        }
        #expect(writer.stop(within: .seconds(10)))
        let lines = scratch.lines("access")
        for loop in 0..<3 {
            let numbers = lines.filter { $0.hasPrefix("\(loop) ") }.compactMap { Int($0.dropFirst(2)) }
            #expect(numbers == Array(0..<3000))
        }
        #expect(lines.count == 9000)
        #expect(writer.dropped == (0, 0))
    }

    @Test func `lines without room are dropped whole and counted, and the earlier ones stay`() throws {
        let scratch = try LogScratch()
        let writer = try writer(scratch, bytesMax: 100)
        for number in 0..<20 { put("line number \(10 + number)", into: writer.access(loop: 0)) }  // 15 bytes each
        #expect(writer.dropped.access == 14)
        writer.stop(within: .zero)
        #expect(scratch.lines("access") == (10..<16).map { "line number \($0)" })
        put("again", into: writer.access(loop: 0))
        writer.stop(within: .zero)
        #expect(scratch.lines("access").last == "again")
        var page = MetricsPage()
        writer.append(to: &page)
        #expect(PageReader(page.finish())["weir_log_lines_dropped_total{log=\"access\"}"] == 14)
    }

    @Test func `after a rename and a reopening, lines go to a new file`() throws {
        let scratch = try LogScratch()
        let writer = try writer(scratch)
        writer.start()
        put("one", into: writer.access(loop: 0))
        #expect(eventually { scratch.content("access") == "one\n" })
        #expect(rename(scratch.path("access"), scratch.path("access.1")) == 0)
        writer.reopen()
        put("two", into: writer.access(loop: 0))
        #expect(writer.stop(within: .seconds(10)))
        #expect(scratch.content("access") == "two\n")
        #expect(scratch.content("access.1") == "one\n")
    }

    @Test func `a file that can't be opened again stays in use, and an event says so`() throws {
        let scratch = try LogScratch()
        let writer = try writer(scratch)
        #expect(rename(scratch.path("access"), scratch.path("kept")) == 0)
        #expect(mkdir(scratch.path("access"), 0o700) == 0)
        defer { rmdir(scratch.path("access")) }
        writer.start()
        writer.reopen()
        #expect(eventually { scratch.content("events").contains("log_reopen_failed") })
        put("one", into: writer.access(loop: 0))
        #expect(writer.stop(within: .seconds(10)))
        #expect(scratch.content("kept") == "one\n")
    }

    @Test func `lines that a full disk refuses are counted, and an event says so`() throws {
        let scratch = try LogScratch()
        let writer = try writer(scratch, access: .file("/dev/full"))
        for number in 0..<5 { put("\(number)", into: writer.access(loop: 0)) }
        writer.stop(within: .zero)
        #expect(writer.dropped.access == 5)
        writer.stop(within: .zero)
        #expect(scratch.content("events").contains("\"event\":\"log_write_failed\""))
    }

    @Test func `a writer that went to sleep is woken by the next line`() throws {
        let scratch = try LogScratch()
        let writer = try writer(scratch)
        writer.start()
        put("one", into: writer.access(loop: 0))
        #expect(eventually { writer.access(loop: 0)?.isWriterAsleep == true })
        put("two", into: writer.access(loop: 0))
        #expect(eventually { scratch.content("access") == "one\ntwo\n" })
        #expect(eventually { writer.access(loop: 0)?.isWriterAsleep == true })
        #expect(writer.stop(within: .seconds(10)))
    }

    @Test func `a destination that takes nothing does not hold up the end`() throws {
        let scratch = try LogScratch()
        #expect(mkfifo(scratch.path("fifo"), 0o600) == 0)
        let reader = open(scratch.path("fifo"), O_RDWR)  // so that opening does not block; nothing is ever read
        defer { close(reader) }
        let writer = try writer(scratch, access: .file(scratch.path("fifo")))
        for number in 0..<100 { put(String(repeating: "\(number % 10)", count: 5000), into: writer.access(loop: 0)) }
        writer.start()
        #expect(!writer.stop(within: .milliseconds(50)))
        // Room for the rest, so that the thread ends with the test.
        var chunk = [UInt8](repeating: 0, count: 65_536)
        var left = 100 * 5001
        while left > 0, case let count = read(reader, &chunk, chunk.count), count > 0 { left -= count }
        #expect(left == 0)
    }

    @Test func `a path that can't be opened is an error that names it`() throws {
        #expect(throws: LogFileError(path: "/nowhere/at/all", errno: ENOENT)) {
            _ = try LogWriter(
                access: .file("/nowhere/at/all"), loops: 1, bytesMaxPerLoop: 1000, events: .standardError)
        }
    }

    @Test func `an access log that is off has no buffers`() throws {
        let scratch = try LogScratch()
        #expect(try writer(scratch, access: .off).access(loop: 0) == nil)
    }
}
