/// Takes the chunked transfer coding off a body, strictly, for input that may be split at any byte.
///
/// Extensions are checked and ignored; trailer fields are checked and dropped. Both are bounded over the whole body.
/// - Cost: a step per byte of framing, one per call for data, which is not looked at. No memory but this value.
///
/// Source: RFC 9112 §7.1. Narrower than the RFC where it says "bad white space": there is none here.
package struct ChunkedDecoder: Sendable {
    /// What one call found.
    package enum Piece: Equatable, Sendable {
        /// Bytes of the body, never empty.
        case data(Range<Int>)
        /// Everything given was used and the body goes on.
        case needMore
        /// The last chunk and its trailer section are over; `offset` is behind them.
        case end
    }

    /// What bounds the framing of one body. The values come from the configuration.
    package struct Limits: Equatable, Sendable {
        /// Bytes of all chunk extensions together, with their `;`.
        package var extensionBytes: Int
        /// Bytes of all trailer lines together, with their CR.
        package var trailerBytes: Int
        package var trailerFields: Int

        package init(extensionBytes: Int, trailerBytes: Int, trailerFields: Int) {
            self.extensionBytes = extensionBytes
            self.trailerBytes = trailerBytes
            self.trailerFields = trailerFields
        }
    }

    private enum State: UInt8 {
        /// Before the first digit of a size; behind one or more; between CR and LF behind it.
        case sizeStart, size, sizeLineFeed
        case extensionNameStart, extensionName, extensionValueStart, extensionToken
        case extensionQuoted, extensionEscape, extensionQuotedEnd
        case data, dataReturn, dataLineFeed
        case trailerStart, trailerName, trailerValue, trailerLineFeed, lastLineFeed
        case end
    }

    private var state = State.sizeStart
    /// Bytes of the chunk at hand that are still to come; while its size is read, what it is so far.
    private var remaining = 0
    private var sizeDigits = 0
    private var extensionBytes = 0
    private var trailerBytes = 0
    private var trailerFields = 0
    private let limits: Limits

    package init(limits: Limits) { self.limits = limits }

    /// Whether the body is over: nothing more may be given.
    package var isAtEnd: Bool { state == .end }

    /// Bytes of the chunk at hand that are still to come.
    package var announced: Int { state == .data ? remaining : 0 }

    /// The next piece of the body from `offset` on, which moves behind what was used.
    ///
    /// - Throws: what is wrong, at the byte where it is; the decoder is of no use after that.
    package mutating func next(_ bytes: Span<UInt8>, at offset: inout Int) throws(HTTPViolation) -> Piece {
        while true {
            if state == .end { return .end }
            guard offset < bytes.count else { return .needMore }
            if state == .data {
                let count = min(remaining, bytes.count - offset)
                let piece = offset..<offset + count
                offset += count
                remaining -= count
                if remaining == 0 { state = .dataReturn }
                return .data(piece)
            }
            let byte = bytes[offset]
            offset += 1
            switch state {
            case .sizeStart, .size: try takeSize(byte)
            case .sizeLineFeed: state = try lineFeed(byte, then: remaining > 0 ? .data : .trailerStart, .chunkSize)
            case .dataReturn:
                guard byte == ASCII.carriageReturn else { throw .chunkEnd }
                state = .dataLineFeed
            case .dataLineFeed: state = try lineFeed(byte, then: .sizeStart, .chunkEnd)
            case .trailerStart, .trailerName, .trailerValue: try takeTrailer(byte)
            case .trailerLineFeed: state = try lineFeed(byte, then: .trailerStart, .trailer)
            case .lastLineFeed: state = try lineFeed(byte, then: .end, .trailer)
            default: try takeExtension(byte)
            }
        }
    }

    private func lineFeed(
        _ byte: UInt8, then next: State, _ violation: HTTPViolation
    ) throws(HTTPViolation) -> State {
        guard byte == ASCII.lineFeed else { throw violation }
        return next
    }

    /// Digits, at most 16 with leading zeros, at most 2^53; then a line end or an extension.
    private mutating func takeSize(_ byte: UInt8) throws(HTTPViolation) {
        if let digit = Self.hexValue(byte) {
            if state == .sizeStart {
                state = .size
                remaining = 0
                sizeDigits = 0
            }
            sizeDigits += 1
            // Fifteen digits make less than 2^60, so the sixteenth can't overflow before it is compared.
            guard sizeDigits <= 16, remaining <= 1 << 53 else { throw .chunkSize }
            remaining = remaining << 4 | digit
            guard remaining <= 1 << 53 else { throw .chunkSize }
            return
        }
        guard state == .size else { throw .chunkSize }
        switch byte {
        case ASCII.carriageReturn: state = .sizeLineFeed
        case ASCII.semicolon:
            try countExtension()
            state = .extensionNameStart
        default: throw .chunkSize
        }
    }

    private static func hexValue(_ byte: UInt8) -> Int? {
        let digit = byte &- ASCII.zero
        if digit < 10 { return Int(digit) }
        let letter = (byte | 0x20) &- 0x61
        return letter < 6 ? Int(letter) + 10 : nil
    }

    private mutating func countExtension() throws(HTTPViolation) {
        extensionBytes += 1
        if extensionBytes > limits.extensionBytes { throw .chunkExtensionsTooLong }
    }

    /// `*( ";" name [ "=" ( token / quoted-string ) ] )`. Source: RFC 9112 §7.1.1, RFC 9110 §5.6.4.
    private mutating func takeExtension(_ byte: UInt8) throws(HTTPViolation) {
        if byte != ASCII.carriageReturn { try countExtension() }
        switch state {
        case .extensionNameStart, .extensionName:
            if ByteSet.token.contains(byte) {
                state = .extensionName
            } else if state == .extensionName, byte == ASCII.equals {
                state = .extensionValueStart
            } else {
                try endExtension(byte, mayEnd: state == .extensionName)
            }
        case .extensionValueStart where byte == ASCII.quote:
            state = .extensionQuoted
        case .extensionValueStart, .extensionToken:
            if ByteSet.token.contains(byte) {
                state = .extensionToken
            } else {
                try endExtension(byte, mayEnd: state == .extensionToken)
            }
        case .extensionQuoted:
            guard Self.isText(byte) else { throw .chunkExtension }
            if byte == ASCII.quote { state = .extensionQuotedEnd }
            if byte == ASCII.backslash { state = .extensionEscape }
        case .extensionEscape:
            guard Self.isText(byte) else { throw .chunkExtension }
            state = .extensionQuoted
        default:
            try endExtension(byte, mayEnd: true)
        }
    }

    private mutating func endExtension(_ byte: UInt8, mayEnd: Bool) throws(HTTPViolation) {
        guard mayEnd, byte == ASCII.semicolon || byte == ASCII.carriageReturn else { throw .chunkExtension }
        state = byte == ASCII.semicolon ? .extensionNameStart : .sizeLineFeed
    }

    private static func isText(_ byte: UInt8) -> Bool {
        (byte >= 0x20 && byte != ASCII.delete) || byte == ASCII.tab
    }

    /// Field lines as in a head, then an empty line. Source: RFC 9112 §7.1.2, RFC 9110 §5.
    private mutating func takeTrailer(_ byte: UInt8) throws(HTTPViolation) {
        if state == .trailerStart, byte == ASCII.carriageReturn {
            state = .lastLineFeed
            return
        }
        trailerBytes += 1
        if trailerBytes > limits.trailerBytes { throw .trailersTooLarge }
        switch state {
        case .trailerStart:
            guard ByteSet.token.contains(byte) else { throw .trailer }
            trailerFields += 1
            if trailerFields > limits.trailerFields { throw .trailersTooLarge }
            state = .trailerName
        case .trailerName:
            if byte == ASCII.colon {
                state = .trailerValue
            } else if !ByteSet.token.contains(byte) {
                throw .trailer
            }
        default:
            if byte == ASCII.carriageReturn {
                state = .trailerLineFeed
            } else if !Self.isText(byte) {
                throw .trailer
            }
        }
    }
}
