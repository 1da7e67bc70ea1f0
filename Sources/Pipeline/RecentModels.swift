import Upstreams
import Wire

/// Models that were asked for lately, by the bytes that clients wrote for them: finding one again makes no string of
/// its name, and no hash.
///
/// - Bound: sixteen names of at most 256 bytes. A name takes the place of another one of like length and end.
/// - Isolation: its loop. It knows the models of one ``Fleet``; another fleet begins with none.
struct RecentModels {
    /// A model that a client named, and who serves it.
    final class Known {
        let model: ServedModel
        let pool: Pool
        /// The name between the quotes of the JSON string.
        fileprivate let written: [UInt8]

        fileprivate init(_ written: Span<UInt8>, _ found: (pool: Pool, model: ServedModel)) {
            self.written = written.withUnsafeBufferPointer { Array($0) }
            model = found.model
            pool = found.pool
        }
    }

    private static let count = 16
    private static let writtenBytesMax = 256

    private var known: [Known?] = Array(repeating: nil, count: Self.count)

    func find(_ written: Span<UInt8>) -> Known? {
        guard let known = known[Self.place(of: written)], written.equals(known.written) else { return nil }
        return known
    }

    mutating func remember(_ written: Span<UInt8>, _ found: (pool: Pool, model: ServedModel)) -> Known {
        let new = Known(written, found)
        if written.count <= Self.writtenBytesMax { known[Self.place(of: written)] = new }
        return new
    }

    private static func place(of written: Span<UInt8>) -> Int {
        written.isEmpty ? 0 : (written.count &+ Int(written[written.count - 1])) % count
    }
}
