/// As much of ASN.1's encoding as public keys and ECDSA signatures need. Only for keys being loaded and signatures that
/// cost far more than these arrays.
///
/// - Source: ITU-T X.690 §8 and §10.
enum DER {
    static func sequence(_ parts: [UInt8]...) -> [UInt8] { wrap(0x30, Array(parts.joined())) }

    static func bitString(_ content: [UInt8]) -> [UInt8] { wrap(0x03, [0] + content) }

    static func objectIdentifier(_ encoded: [UInt8]) -> [UInt8] { wrap(0x06, encoded) }

    static var null: [UInt8] { [0x05, 0x00] }

    /// The unsigned number whose bytes these are, most significant first: without needless zeros, never negative.
    static func integer(_ magnitude: some Sequence<UInt8>) -> [UInt8] {
        var bytes = Array(magnitude.drop { $0 == 0 })
        if bytes.isEmpty || bytes[0] >= 0x80 { bytes.insert(0, at: 0) }
        return wrap(0x02, bytes)
    }

    private static func wrap(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        var length: [UInt8] = []
        if content.count < 0x80 {
            length = [UInt8(content.count)]
        } else {
            var rest = content.count
            while rest > 0 {
                length.insert(UInt8(truncatingIfNeeded: rest), at: 0)
                rest >>= 8
            }
            length.insert(0x80 | UInt8(length.count), at: 0)
        }
        return [tag] + length + content
    }
}
