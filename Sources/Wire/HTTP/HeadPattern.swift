import CVectors

/// A head with holes: what the next head of the same sender says again, and where a value stands that may differ.
///
///     POST /v1/chat/completions HTTP/1.1⏎Host: weir⏎Authorization: ░░░⏎Accept: */*⏎Content-Length: ░░░⏎⏎
///
/// A head that is the same but for what stands in the holes has the same lines, names and meaning, so it need not be
/// parsed: to compare it is a tenth of the work. That it has the same meaning:
///
/// - the text that is compared has the first line, all names, and each value that parsing a head looks into
///   (``FieldID/isKept``) but for Content-Length, which is read again, and Expect, with which no head is learned;
/// - a hole takes what any line may have as its value: visible ASCII characters with spaces between them, at least one;
///   then the line ends as the text goes on;
/// - limits are those of the head at hand.
///
/// Whatever else comes, be it allowed or not, is no match and is parsed like the first one.
///
/// - Owns: at most ``textBytesMax`` bytes of text, ``holesMax`` holes, and the fields of one head. Never what stood in
///   a hole: no credential is among the values that are kept.
struct HeadPattern: ~Copyable {
    private static var textBytesMax: Int { 1_024 }
    private static var holesMax: Int { 32 }

    private(set) var text = ByteWriter()
    private let pieces = UnsafeMutablePointer<weir_piece>.allocate(capacity: HeadPattern.holesMax + 1)
    private var pieceCount = 0
    private var fields = FieldList()
    private var firstLineCount = 0
    /// Tells this head from any other that the same fields may have been taken from.
    private var number = 0

    deinit { pieces.deallocate() }

    /// Reads `bytes` as this head with other values.
    ///
    /// - Out: `taken`, the fields; only if it matches.
    /// - Returns: where the head ends; 0 when it does not match.
    @inline(__always)
    func match(_ bytes: Span<UInt8>, _ limits: HeadLimits, into taken: inout FieldList) -> Int {
        let end = text.bytes.withUnsafeBufferPointer { text in
            bytes.withUnsafeBufferPointer { bytes in
                // The text has `weir_piece_padding` bytes behind it, and `pieceCount` pieces were learned.
                weir_match_pieces(bytes.baseAddress, bytes.count, text.baseAddress, pieces, pieceCount)
            }
        }
        guard end > 0, end <= limits.headBytes, firstLineCount <= limits.requestLineBytes, fields.count <= limits.fields
        else { return 0 }
        if taken.source == number, hasMovedNothing(in: taken) { return end }
        // The next hole, and how much longer the values in those before are than the ones that were learned.
        var piece = pieces
        var distance: Int32 = 0
        taken.take(fields) { index in
            var move = SIMD4(distance, 0, distance, 0)
            if index == Int(piece.pointee.field) {
                let moved = Int32(truncatingIfNeeded: piece.pointee.value_end &- piece.pointee.learned_end)
                move.w = moved &- distance
                distance = moved
                piece += 1
            }
            return move
        }
        taken.source = number
        return end
    }

    /// Whether each value ends where it did in the head before, which was like this one: then they are where they were.
    /// A client mostly repeats itself to the letter, but for the digits of a length.
    @inline(__always)
    private func hasMovedNothing(in taken: borrowing FieldList) -> Bool {
        for piece in 0..<pieceCount &- 1
        where taken[Int(pieces[piece].field)].value.end != Int(pieces[piece].value_end) { return false }
        return true
    }

    /// Learns the head that `bytes` begin with and that `fields` were read from. It ends at `end`.
    ///
    /// - Parameter number: above 0, and another one each time.
    /// - Returns: whether there is a pattern now: there is none of a head that is too large, or has nothing in a hole.
    mutating func learn(_ bytes: Span<UInt8>, _ fields: borrowing FieldList, end: Int, number: Int) -> Bool {
        self.number = number
        pieceCount = 0
        text.removeAll()
        guard fields.count > 0 else { return false }
        firstLineCount = Int(fields[0].name.start) - 2
        var copied = 0
        for index in 0..<fields.count where !fields[index].id.isKept {
            let value = fields[index].value
            guard !value.isEmpty, pieceCount < Self.holesMax, append(bytes, copied..<Int(value.start)) else {
                pieceCount = 0
                return false
            }
            copied = value.end
            pieces[pieceCount - 1].field = UInt32(index)
            pieces[pieceCount - 1].learned_end = UInt32(copied)
        }
        guard append(bytes, copied..<end) else {
            pieceCount = 0
            return false
        }
        for _ in 0..<weir_piece_padding { text.append(0) }
        self.fields.take(fields) { _ in .zero }
        return true
    }

    private mutating func append(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        guard text.count + range.count <= Self.textBytesMax else { return false }
        text.append(bytes.extracting(range))
        pieces[pieceCount] = weir_piece(text_end: UInt32(text.count), field: .max, learned_end: 0, value_end: 0)
        pieceCount += 1
        return true
    }
}

extension FieldID {
    /// Its value belongs to the text of a ``HeadPattern``: whoever sends such a field mostly repeats it, and it holds
    /// no secret. Every value that parsing a head looks into must be among them, but for those of which the pattern
    /// says how else they are taken care of.
    package var isKept: Bool {
        switch self {
        case .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .host, .contentType, .contentEncoding,
            .accept, .acceptEncoding, .userAgent, .xStainlessRetryCount, .server, .cacheControl:
            true
        default: false
        }
    }
}
