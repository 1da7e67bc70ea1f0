/// A text with some stretches exchanged, as a list of pieces to send one behind the other: what is unchanged is not
/// copied.
///
/// Replacements lie in a writer of the caller's, usually one per request.
/// - Cost: one allocation, none for an unchanged text; at most ``spliceMax`` changes, one for each member that an edit
///   can touch and a few more.
package struct SplicedBody: Sendable {
    package static var spliceMax: Int { 40 }

    /// A stretch of the original or of the added bytes.
    package struct Piece: Equatable, Sendable {
        package var isAdded: Bool
        package var range: ByteRange
    }

    private struct Splice {
        var replaced: ByteRange
        var added: ByteRange
    }

    /// In the order of the text; they do not overlap.
    private var splices: ContiguousArray<Splice> = []
    private let sourceCount: Int
    /// Bytes of the edited text.
    package private(set) var length: Int

    package init(sourceCount: Int) {
        self.sourceCount = sourceCount
        length = sourceCount
    }

    /// Nothing was changed: send the original.
    package var isUnchanged: Bool { splices.isEmpty }
    /// How many pieces there are; some may be empty.
    package var pieceCount: Int { splices.count * 2 + 1 }

    package func piece(_ index: Int) -> Piece {
        precondition(index >= 0 && index < pieceCount)
        let splice = index / 2
        if index % 2 == 1 { return Piece(isAdded: true, range: splices[splice].added) }
        let start = splice == 0 ? 0 : splices[splice - 1].replaced.end
        let end = splice == splices.count ? sourceCount : Int(splices[splice].replaced.start)
        return Piece(isAdded: false, range: ByteRange(start: start, count: end - start))
    }

    /// Puts the bytes that `writer` got since it was `mark` long where `replaced` is.
    mutating func replace(_ replaced: ByteRange, withAddedSince mark: Int, of writer: borrowing ByteWriter) {
        let added = ByteRange(start: mark, count: writer.count - mark)
        if replaced.isEmpty, added.isEmpty { return }
        precondition(splices.count < Self.spliceMax)
        var slot = splices.count
        while slot > 0, splices[slot - 1].replaced.start > replaced.start { slot -= 1 }
        splices.insert(Splice(replaced: replaced, added: added), at: slot)
        length += Int(added.count) - Int(replaced.count)
    }

    /// Appends the whole edited text.
    package func write(_ source: Span<UInt8>, added: Span<UInt8>, into writer: inout ByteWriter) {
        writer.reserve(length)
        for index in 0..<pieceCount {
            let piece = piece(index)
            if piece.range.isEmpty { continue }
            if piece.isAdded {
                writer.append(added.extracting(piece.range))
            } else {
                writer.append(source.extracting(piece.range))
            }
        }
    }
}
