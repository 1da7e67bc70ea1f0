import RedisClient
import Testing

@Suite struct RedisCommandTests {
    private func text(_ command: RedisCommand) -> String {
        var output: [UInt8] = []
        command.encode(into: &output)
        return String(decoding: output, as: UTF8.self)
    }

    @Test func `a command is its parts with their lengths`() {
        var command = RedisCommand("SET")
        command.append("name")
        command.append([0x61, 0x0D, 0x0A])
        command.append(-10)
        command.append("")
        #expect(text(command) == "*5\r\n$3\r\nSET\r\n$4\r\nname\r\n$3\r\na\r\n\r\n$3\r\n-10\r\n$0\r\n\r\n")
    }

    @Test func `lengths of every number of digits are right`() throws {
        for length in [1, 9, 10, 11, 99, 100, 1_000, 65_537] {
            let command = RedisCommand("ECHO", String(repeating: "x", count: length))
            // A request has the form of a reply, so the reader checks the writer.
            let replies = try RedisReplyReaderTests.read(text(command))
            #expect(replies == [.array([.bulk(Array("ECHO".utf8)), .bulk([UInt8](repeating: 0x78, count: length))])])
        }
    }

    @Test func `lengths are counted in bytes, not in characters`() {
        #expect(text(RedisCommand("ECHO", "ä€")) == "*2\r\n$4\r\nECHO\r\n$5\r\nä€\r\n")
    }
}
