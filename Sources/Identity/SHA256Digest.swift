import COpenSSL
import Wire

/// A SHA-256 hash: 32 bytes held inline.
///
/// What is stored of an API key. Equality takes the same time whatever differs, so that a comparison tells nothing.
package struct SHA256Digest: Hashable, Sendable {
    /// The bytes in order, eight to a word, most significant first.
    private var words: (UInt64, UInt64, UInt64, UInt64)

    package static var byteCount: Int { 32 }

    /// The hash of `bytes`. - Cost: about 60 ns up to 55 bytes, 40 ns for every further 64; no allocation.
    package init(hashing bytes: Span<UInt8>) {
        var context = SHA256_CTX()
        weir_sha256_init(&context)
        bytes.withUnsafeBytes { weir_sha256_update(&context, $0.baseAddress, $0.count) }
        self.init(finishing: &context)
    }

    /// The hash of `text` in UTF-8: what `printf %s text | sha256sum` prints.
    package init(hashing text: String) {
        self.init(hashing: Array(text.utf8).span)
    }

    /// The result of a hash that has seen all its bytes.
    init(finishing context: inout SHA256_CTX) {
        var bytes = InlineArray<32, UInt8>(repeating: 0)
        var span = bytes.mutableSpan
        span.withUnsafeMutableBufferPointer { weir_sha256_final(&context, $0.baseAddress) }
        self.init(exactly: bytes.span)
    }

    /// A digest that was computed elsewhere; `nil` unless there are 32 bytes.
    package init?(bytes: Span<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        self.init(exactly: bytes)
    }

    /// A digest as `sha256sum` prints it: 64 hexadecimal digits of either case; `nil` for anything else.
    package init?(hex: String) {
        var bytes = InlineArray<32, UInt8>(repeating: 0)
        var count = 0
        for digit in hex.utf8 {
            let value: UInt8
            switch digit {
            case 0x30...0x39: value = digit - 0x30
            case 0x41...0x46: value = digit - 0x41 + 10
            case 0x61...0x66: value = digit - 0x61 + 10
            default: return nil
            }
            guard count < 64 else { return nil }
            bytes[count / 2] = bytes[count / 2] << 4 | value
            count += 1
        }
        guard count == 64 else { return nil }
        self.init(exactly: bytes.span)
    }

    private init(exactly bytes: Span<UInt8>) {
        func word(_ start: Int) -> UInt64 {
            var word: UInt64 = 0
            for index in start..<start + 8 { word = word << 8 | UInt64(bytes[index]) }
            return word
        }
        words = (word(0), word(8), word(16), word(24))
    }

    /// The 64 lower-case hexadecimal digits.
    package var hex: String {
        var text = ByteWriter(capacity: 64)
        text.append(hex: words.0, digits: 16)
        text.append(hex: words.1, digits: 16)
        text.append(hex: words.2, digits: 16)
        text.append(hex: words.3, digits: 16)
        return text.bytes.text
    }

    package static func == (left: SHA256Digest, right: SHA256Digest) -> Bool {
        (left.words.0 ^ right.words.0) | (left.words.1 ^ right.words.1)
            | (left.words.2 ^ right.words.2) | (left.words.3 ^ right.words.3) == 0
    }

    /// The bytes are as good as random already: half of them are enough for a table.
    package func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
    }
}
