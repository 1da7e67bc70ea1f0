import TestSupport
import Wire

extension [UInt8] {
    /// Random numbers that are the same whenever these bytes come again.
    var generator: SplitMix64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in self { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return SplitMix64(seed: hash)
    }

    /// These bytes twice, then some more times with one to three bytes changed, put in or taken out.
    var editions: [[UInt8]] {
        var generator = self.generator
        var editions = [self, self]
        for _ in 0..<8 {
            var edition = self
            for _ in 0...generator.below(3) where !edition.isEmpty {
                let at = generator.below(edition.count)
                switch generator.below(3) {
                case 0: edition[at] = edition[generator.below(edition.count)]
                case 1: edition.insert(edition[generator.below(edition.count)], at: at)
                default: edition.remove(at: at)
                }
            }
            editions.append(edition)
        }
        return editions
    }

    subscript(range: ByteRange) -> [UInt8] { Array(self[range.range]) }

    var text: String { String(decoding: self, as: UTF8.self) }

    /// What `write` writes.
    static func written(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
        var writer = ByteWriter()
        write(&writer)
        return writer.withUnsafeBytes { [UInt8]($0) }
    }
}

extension SplitMix64 {
    /// A number from 0 to `bound` - 1.
    mutating func below(_ bound: Int) -> Int { Int(truncatingIfNeeded: next() % UInt64(bound)) }
}
