/// Turns the bytes of tokens into text that may be sent, and looks for the texts that end an answer.
///
/// Text leaves only at the end of a token, only in whole characters, and only when it can't be the beginning of a stop
/// text. So the token ids that leave with it cover exactly that text, and another engine can go on from there.
///
/// Holds back at most the longest stop text, one incomplete character and the token they begin in.
package struct TextAssembler {
    package struct Piece: Equatable {
        package var text: String
        package var tokens: [Int32]

        package init(text: String = "", tokens: [Int32] = []) {
            self.text = text
            self.tokens = tokens
        }
    }

    /// What was not handed out yet, and where in it each of its tokens ends.
    private var bytes: [UInt8] = []
    private var tokens: [(id: Int32, end: Int)] = []
    private let stops: [[UInt8]]
    /// Whether a stop text came up; nothing may be appended after that.
    package private(set) var isStopped = false

    /// - Precondition: no stop text is empty.
    package init(stops: [String] = []) {
        precondition(!stops.contains(""))
        self.stops = stops.map { Array($0.utf8) }
    }

    /// Takes one token and returns what can be sent now, `nil` if nothing.
    package mutating func append(_ id: Int32, _ piece: [UInt8]) -> Piece? {
        precondition(!isStopped)
        let searchedFrom = bytes.count
        bytes += piece
        tokens.append((id, bytes.count))
        if let start = firstStop(endingAfter: searchedFrom) {
            isStopped = true
            bytes.removeSubrange(start...)
            return nil
        }
        let sendable = bytes.count - max(heldForStops(), Self.incompleteBytes(at: bytes[...]))
        guard let last = tokens.lastIndex(where: { isBoundary($0.end, within: sendable) }), tokens[last].end > 0
        else { return nil }
        return take(tokens: last + 1, bytes: tokens[last].end)
    }

    /// Takes the token that ends an answer, which has no text.
    package mutating func appendEnd(_ id: Int32) {
        tokens.append((id, bytes.count))
    }

    /// The rest at the end of an answer; bytes that never became a character turn into U+FFFD.
    package mutating func finish() -> Piece {
        take(tokens: tokens.count, bytes: bytes.count)
    }

    private func isBoundary(_ end: Int, within sendable: Int) -> Bool {
        end <= sendable && Self.incompleteBytes(at: bytes[..<end]) == 0
    }

    private mutating func take(tokens count: Int, bytes length: Int) -> Piece {
        let piece = Piece(
            text: String(decoding: bytes[..<length], as: UTF8.self), tokens: tokens[..<count].map(\.id))
        bytes.removeSubrange(..<length)
        tokens.removeSubrange(..<count)
        for index in tokens.indices { tokens[index].end -= length }
        return piece
    }

    /// Where the first stop text begins that ends after `known`, before which everything was searched already.
    private func firstStop(endingAfter known: Int) -> Int? {
        var first: Int?
        for stop in stops where stop.count <= bytes.count {
            let from = max(0, known - stop.count + 1)
            guard from <= bytes.count - stop.count else { continue }
            for start in from...(bytes.count - stop.count) where start < first ?? .max {
                if bytes[start..<(start + stop.count)].elementsEqual(stop) {
                    first = start
                    break
                }
            }
        }
        return first
    }

    /// The length of the longest end of `bytes` with which a stop text begins.
    private func heldForStops() -> Int {
        var held = 0
        for stop in stops {
            var length = min(stop.count - 1, bytes.count)
            while length > held {
                if bytes[(bytes.count - length)...].elementsEqual(stop[..<length]) { held = length }
                length -= 1
            }
        }
        return held
    }

    /// How many bytes at the end are the beginning of a character that is not complete: 0 to 3.
    package static func incompleteBytes(at bytes: ArraySlice<UInt8>) -> Int {
        for back in 1...4 where back <= bytes.count {
            let byte = bytes[bytes.endIndex - back]
            if byte & 0b1100_0000 == 0b1000_0000 { continue }
            let length = byte < 0xC2 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : byte < 0xF5 ? 4 : 1
            return length > back ? back : 0
        }
        return 0
    }
}
