/// One command, encoded as it is built.
///
/// Encoded by hand, not by `redisFormatCommandArgv`: RESP's request is a length in front of each part, and hiredis
/// would want an array of pointers and make a block of its own to be copied from.
///
/// Every part is sent with its length, so no byte in it can end it or begin another.
/// Source: Redis documentation, "Redis serialization protocol specification", "Sending commands to a Redis server".
package struct RedisCommand: Sendable {
    /// The parts, each as a bulk string; the header with their number is written when the command is sent.
    private(set) var body: [UInt8] = []
    private(set) var partCount = 0

    package init(_ name: StaticString, capacity: Int = 64) {
        body.reserveCapacity(capacity)
        append(name)
    }

    /// The arguments of a script, without a name in front.
    init(argumentsWithCapacity capacity: Int) { body.reserveCapacity(capacity) }

    /// A command that is all text.
    package init(_ name: StaticString, _ arguments: String...) {
        append(name)
        for argument in arguments { append(argument) }
    }

    package mutating func append(_ part: StaticString) {
        append(UnsafeRawBufferPointer(start: part.utf8Start, count: part.utf8CodeUnitCount))
    }

    package mutating func append(_ part: String) {
        var part = part
        part.withUTF8 { append(UnsafeRawBufferPointer($0)) }
    }

    package mutating func append(_ part: [UInt8]) { part.withUnsafeBytes { append($0) } }

    package mutating func append(_ part: borrowing Span<UInt8>) { part.withUnsafeBytes { append($0) } }

    package mutating func append(_ number: Int) { append(String(number)) }

    package mutating func append(_ part: UnsafeRawBufferPointer) {
        Self.write(length: part.count, after: UInt8(ascii: "$"), to: &body)
        body.append(contentsOf: part)
        body.append(contentsOf: Self.lineEnd)
        partCount += 1
    }

    /// Bytes on the wire, to within the header.
    package var byteCount: Int { body.count + 16 }

    /// Appends the whole command to `output`.
    package func encode(into output: inout [UInt8]) {
        Self.write(length: partCount, after: UInt8(ascii: "*"), to: &output)
        output.append(contentsOf: body)
    }

    /// Appends the command that has `other`'s parts behind this one's, without joining them first.
    func encode(followedBy other: RedisCommand, into output: inout [UInt8]) {
        Self.write(length: partCount + other.partCount, after: UInt8(ascii: "*"), to: &output)
        output.append(contentsOf: body)
        output.append(contentsOf: other.body)
    }

    private static let lineEnd: [UInt8] = [0x0D, 0x0A]

    private static func write(length: Int, after mark: UInt8, to output: inout [UInt8]) {
        output.append(mark)
        var divisor = 1
        while length / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            output.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: length / divisor % 10))
            divisor /= 10
        }
        output.append(contentsOf: lineEnd)
    }
}
