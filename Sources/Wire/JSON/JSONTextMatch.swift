extension JSONText {
    /// How far two raw strings mean the same: the raw bytes of each up to where the first of them ends; `nil` if they
    /// differ before that. Both may be escaped differently.
    ///
    /// - Cost: O(the shorter one), no allocation.
    package static func common(_ left: Span<UInt8>, _ right: Span<UInt8>) -> (left: Int, right: Int)? {
        var one = UnescapedBytes(left)
        var other = UnescapedBytes(right)
        while true {
            if !one.isInsideCharacter, !other.isInsideCharacter, one.at == left.count || other.at == right.count {
                return (one.at, other.at)
            }
            guard let byte = one.next(), byte == other.next() else { return nil }
        }
    }

    /// Whether `raw` is so long and so varied that an answer which begins with it again begins anew: a text that
    /// repeats itself may well go on with its own beginning.
    ///
    /// - Cost: O(n), for at most 256 bytes.
    package static func isTelling(_ raw: Span<UInt8>) -> Bool {
        let count = min(raw.count, 256)
        guard count >= 24 else { return false }
        // The failure function of Knuth, Morris and Pratt: its last value tells the shortest period.
        var border = InlineArray<256, Int16>(repeating: 0)
        var length = 0
        for index in 1..<count {
            while length > 0, raw[index] != raw[length] { length = Int(border[length - 1]) }
            if raw[index] == raw[length] { length += 1 }
            border[index] = Int16(length)
        }
        return (count - length) * 2 > count
    }
}

/// Token ids as engines report them: a JSON array of integers.
package enum TokenIDs {
    /// Appends the ids of `array` to `ids`.
    ///
    /// - Returns: how many there were; `nil`, with nothing appended, when one of them is no id or when there would be
    ///   more than `max`.
    package static func append(_ array: Span<UInt8>, to ids: inout ContiguousArray<Int32>, max: Int) -> Int? {
        let before = ids.count
        var id: Int32?
        for index in 0..<array.count {
            let byte = array[index]
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                let (tenfold, isTooLarge) = (id ?? 0).multipliedReportingOverflow(by: 10)
                let (sum, isTooMuch) = tenfold.addingReportingOverflow(Int32(byte - UInt8(ascii: "0")))
                if isTooLarge || isTooMuch { return revert() }
                id = sum
            case UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: ","), 0x20, 0x09, 0x0A, 0x0D:
                guard let done = id else { continue }
                if ids.count == max { return revert() }
                ids.append(done)
                id = nil
            default: return revert()
            }
        }
        return ids.count - before

        func revert() -> Int? {
            ids.removeSubrange(before...)
            return nil
        }
    }

    /// The ids as a JSON array.
    package static func json(_ ids: some Collection<Int32>) -> [UInt8] {
        var writer = ByteWriter(capacity: ids.count * 6 + 2)
        writer.append(UInt8(ascii: "["))
        var isFirst = true
        for id in ids {
            if !isFirst { writer.append(UInt8(ascii: ",")) }
            isFirst = false
            writer.append(decimal: Int(id))
        }
        writer.append(UInt8(ascii: "]"))
        return writer.withUnsafeBytes { Array($0) }
    }
}
