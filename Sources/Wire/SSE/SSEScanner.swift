import CVectors

/// One event of a stream, up to and including the empty line that ends it.
package struct SSEEvent: Equatable, Sendable {
    /// All its bytes, as they may be passed on.
    package var range: ByteRange
    /// The value of its `data` line; of the first one where there are more (``SSEScanner/appendData(of:in:into:)``).
    package var data: ByteRange
    /// 0 for comments, pings and events without data, which no client sees.
    package var dataLines: Int
    /// The value of `event`; empty when there is none.
    package var name: ByteRange
}

package enum SSEPiece: Equatable, Sendable {
    case event(SSEEvent)
    /// The bytes from `keepFrom` on are an unfinished event: keep them in front of what comes next.
    case needMore(keepFrom: Int)
    /// An unfinished event is longer than the limit: give the stream up.
    case oversized
}

/// Finds the events of an event stream that arrives in pieces.
///
/// The caller keeps the unfinished tail: after ``SSEPiece/needMore(keepFrom:)`` it moves those bytes to the front,
/// appends what arrives and calls again with `at` where the tail now starts. No byte is looked at twice.
/// - Source: HTML Living Standard, 9.2.6 "Interpreting an event stream": LF, CRLF and CR end lines; one byte order
///   mark is dropped; one space behind the colon is dropped; `data` lines are joined with LF.
package struct SSEScanner: Sendable {
    /// Bytes that one event may have.
    package let limit: Int
    private var isAtStart = true
    /// The byte before was a CR: a LF now belongs to it.
    private var isAfterReturn = false
    // Relative to the event's start:
    private var lineStart = 0
    private var searched = 0
    private var data = ByteRange.empty
    private var dataLines = 0
    private var name = ByteRange.empty

    package init(limit: Int) { self.limit = limit }

    /// The next event from `at` on; moves `at` behind it.
    package mutating func next(_ bytes: Span<UInt8>, at: inout Int) -> SSEPiece {
        if isAtStart, !passByteOrderMark(bytes, &at) { return .needMore(keepFrom: at) }
        while true {
            if isAfterReturn, at + lineStart < bytes.count { passLineFeed(bytes, &at) }
            let start = at + lineStart
            let end = SSELineSearch.firstLineEnd(in: bytes, from: at + max(searched, lineStart))
            guard end < bytes.count else {
                searched = bytes.count - at
                return searched > limit ? .oversized : .needMore(keepFrom: at)
            }
            var next = end + 1
            if bytes[end] == UInt8(ascii: "\r") {
                if next == bytes.count {
                    isAfterReturn = true
                } else if bytes[next] == UInt8(ascii: "\n") {
                    next += 1
                }
            }
            if end > start {
                readLine(bytes, start..<end, eventStart: at)
                lineStart = next - at
                searched = lineStart
            } else if start == at {
                // Nothing before this empty line: it ends no event.
                at = next
                searched = 0
            } else {
                let event = SSEEvent(
                    range: ByteRange(at..<next), data: data.moved(by: at), dataLines: dataLines,
                    name: name.moved(by: at))
                at = next
                startEvent()
                return .event(event)
            }
        }
    }

    /// Appends the whole data of `event`, its lines joined with LF.
    package static func appendData(of event: SSEEvent, in bytes: Span<UInt8>, into writer: inout ByteWriter) {
        if event.dataLines <= 1 { return writer.append(bytes.extracting(event.data)) }
        var isFirst = true
        var start = Int(event.range.start)
        while start < event.range.end {
            let end = min(SSELineSearch.firstLineEnd(in: bytes, from: start), event.range.end)
            if let value = value(of: "data", bytes, start..<end) {
                if !isFirst { writer.append(UInt8(ascii: "\n")) }
                writer.append(bytes.extracting(value))
                isFirst = false
            }
            start = end + 1
        }
    }

    /// Whether this is the data that ends OpenAI's streams. SDKs compare the beginning only.
    package static func isDone(_ data: Span<UInt8>) -> Bool {
        data.count >= 6 && data.extracting(0..<6).equals("[DONE]")
    }

    // MARK: Lines

    private mutating func readLine(_ bytes: Span<UInt8>, _ line: Range<Int>, eventStart: Int) {
        switch bytes[line.lowerBound] {
        case UInt8(ascii: "d"):
            guard let value = Self.value(of: "data", bytes, line) else { return }
            if dataLines == 0 { data = ByteRange(value).moved(by: -eventStart) }
            dataLines += 1
        case UInt8(ascii: "e"):
            guard let value = Self.value(of: "event", bytes, line) else { return }
            name = ByteRange(value).moved(by: -eventStart)
        default:
            break
        }
    }

    /// The value of `line` if its field is `field`.
    @inline(__always)
    private static func value(of field: StaticString, _ bytes: Span<UInt8>, _ line: Range<Int>) -> Range<Int>? {
        let colon = line.lowerBound + field.utf8CodeUnitCount
        guard colon <= line.upperBound, bytes.holds(field, at: line.lowerBound) else { return nil }
        if colon == line.upperBound { return colon..<colon }
        guard bytes[colon] == UInt8(ascii: ":") else { return nil }
        let start = colon + 1
        return start < line.upperBound && bytes[start] == 0x20 ? start + 1..<line.upperBound : start..<line.upperBound
    }

    private mutating func startEvent() {
        lineStart = 0
        searched = 0
        data = .empty
        dataLines = 0
        name = .empty
    }

    /// The line before ended in CR as the last byte there was.
    private mutating func passLineFeed(_ bytes: Span<UInt8>, _ at: inout Int) {
        isAfterReturn = false
        guard bytes[at + lineStart] == UInt8(ascii: "\n") else { return }
        if lineStart == 0 { at += 1 } else { lineStart += 1 }
    }

    /// False while it can't be told yet.
    private mutating func passByteOrderMark(_ bytes: Span<UInt8>, _ at: inout Int) -> Bool {
        let mark: StaticString = "\u{FEFF}"
        let length = min(3, bytes.count - at)
        for index in 0..<length where bytes[at + index] != mark.utf8Start[index] {
            isAtStart = false
            return true
        }
        guard length == 3 else { return false }
        isAtStart = false
        at += 3
        return true
    }
}

enum SSELineSearch {
    /// The first index from `start` on that holds CR or LF; `count` when there is none.
    static func firstLineEnd(in bytes: Span<UInt8>, from start: Int) -> Int {
        bytes.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress, start < buffer.count else { return buffer.count }
            return start + weir_line_run(base + start, buffer.count - start)
        }
    }
}
