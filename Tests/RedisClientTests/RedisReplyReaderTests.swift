import RedisClient
import Testing
import TestSupport

@Suite struct RedisReplyReaderTests {
    /// Every reply in `text`, fed in pieces of `size` bytes.
    static func read(_ text: String, size: Int = .max, limits: RedisReplyLimits = RedisReplyLimits()) throws
        -> [RedisReply]
    {
        let reader = RedisReplyReader(limits: limits)
        let bytes = Array(text.utf8)
        var replies: [RedisReply] = []
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + min(size, bytes.count))
            try bytes[start..<end].withUnsafeBytes { try reader.feed($0) }
            start = end
            while let reply = try reader.next() { replies.append(reply) }
        }
        return replies
    }

    @Test func `every kind of reply becomes its value`() throws {
        let text = "+OK\r\n-ERR no\r\n:-42\r\n$3\r\na\0b\r\n$-1\r\n*-1\r\n$0\r\n\r\n*0\r\n"
        #expect(
            try Self.read(text) == [
                .status("OK"), .error("ERR no"), .integer(-42), .bulk([0x61, 0, 0x62]), .null, .null, .bulk([]),
                .array([]),
            ])
    }

    @Test func `nested arrays keep their places`() throws {
        let text = "*4\r\n:1\r\n*2\r\n+a\r\n*1\r\n$1\r\nb\r\n*0\r\n-x\r\n"
        #expect(
            try Self.read(text) == [
                .array([
                    .integer(1), .array([.status("a"), .array([.bulk([0x62])])]), .array([]), .error("x"),
                ])
            ])
    }

    @Test func `replies do not depend on how they are cut into pieces`() throws {
        var generator = SplitMix64(seed: 11)
        func reply(_ depth: Int) -> String {
            switch Int.random(in: 0..<(depth > 3 ? 5 : 7), using: &generator) {
            case 0: return "+s\(generator.next() % 100)\r\n"
            case 1: return ":\(Int64(bitPattern: generator.next()))\r\n"
            case 2: return "$-1\r\n"
            case 3: return "-E\r\n"
            case 4:
                let count = Int.random(in: 0..<60, using: &generator)
                return "$\(count)\r\n" + String(repeating: "\r", count: count) + "\r\n"
            default:
                let count = Int.random(in: 0..<5, using: &generator)
                return "*\(count)\r\n" + (0..<count).map { _ in reply(depth + 1) }.joined()
            }
        }
        for _ in 0..<200 {
            let text = (0..<4).map { _ in reply(0) }.joined()
            let whole = try Self.read(text)
            #expect(whole.count == 4)
            for size in [1, 2, 3, 7, 64] { #expect(try Self.read(text, size: size) == whole) }
        }
    }

    @Test func `a string longer than the limit is refused`() throws {
        let limits = RedisReplyLimits(bytesMax: 8, elementsMax: 4)
        #expect(try Self.read("$8\r\n12345678\r\n", limits: limits) == [.bulk(Array("12345678".utf8))])
        #expect(throws: RedisError.malformedReply) { try Self.read("$9\r\n123456789\r\n", limits: limits) }
        #expect(throws: RedisError.malformedReply) {
            try Self.read("*2\r\n$5\r\n12345\r\n$4\r\n1234\r\n", limits: limits)
        }
    }

    @Test func `a long string that is only announced does not gather bytes without end`() throws {
        let reader = RedisReplyReader(limits: RedisReplyLimits(bytesMax: 1 << 20, elementsMax: 4))
        let block = [UInt8](repeating: 0x61, count: 65_536)
        try Array("$2000000000\r\n".utf8).withUnsafeBytes { try reader.feed($0) }
        #expect(throws: RedisError.malformedReply) {
            for _ in 0..<64 {
                try block.withUnsafeBytes { try reader.feed($0) }
                try #expect(reader.next() == nil)
            }
        }
    }

    @Test func `an array with more elements than the limit is refused before memory is taken for it`() {
        let limits = RedisReplyLimits(bytesMax: 100, elementsMax: 4)
        #expect(throws: RedisError.malformedReply) { try Self.read("*5\r\n", limits: limits) }
        #expect(throws: RedisError.malformedReply) { try Self.read("*2147483647\r\n") }
        #expect(throws: RedisError.malformedReply) { try Self.read("*4611686018427387905\r\n") }
        #expect(throws: RedisError.malformedReply) {
            try Self.read("*3\r\n*2\r\n:1\r\n:2\r\n", limits: limits)
        }
    }

    @Test func `limits count anew for each reply`() throws {
        let limits = RedisReplyLimits(bytesMax: 4, elementsMax: 2)
        let text = String(repeating: "*2\r\n$2\r\nab\r\n$2\r\ncd\r\n", count: 50)
        #expect(try Self.read(text, limits: limits).count == 50)
    }

    @Test func `what is no RESP is refused, and stays refused`() throws {
        for text in ["HTTP/1.1 400\r\n", "$x\r\n", ":1x\r\n", "*1\r\n!\r\n", "\r\n"] {
            #expect(throws: RedisError.malformedReply, "\(text)") { try Self.read(text) }
        }
        let reader = RedisReplyReader()
        try Array("?\r\n".utf8).withUnsafeBytes { try reader.feed($0) }
        #expect(throws: RedisError.malformedReply) { try reader.next() }
        #expect(throws: RedisError.malformedReply) { try reader.next() }
        #expect(throws: RedisError.malformedReply) {
            try Array("+OK\r\n".utf8).withUnsafeBytes { try reader.feed($0) }
        }
    }

    @Test func `nesting deeper than hiredis allows is refused, not followed`() {
        #expect(throws: RedisError.malformedReply) { try Self.read(String(repeating: "*1\r\n", count: 40)) }
    }

    @Test func `random bytes never crash the reader`() {
        var generator = SplitMix64(seed: 5)
        let alphabet = Array("*$:+-0123456789\r\n\r\nab".utf8)
        for _ in 0..<3_000 {
            let reader = RedisReplyReader(limits: RedisReplyLimits(bytesMax: 4_096, elementsMax: 64))
            let bytes = (0..<60).map { _ in alphabet[Int(generator.next() % UInt64(alphabet.count))] }
            do {
                try bytes.withUnsafeBytes { try reader.feed($0) }
                while try reader.next() != nil {}
            } catch {
                #expect(error as? RedisError == .malformedReply)
            }
        }
    }
}
