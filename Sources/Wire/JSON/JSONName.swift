extension Span where Element == UInt8 {
    /// Whether these are exactly the bytes of `text`, a constant of at most 24 bytes.
    ///
    /// Compares words that overlap instead of bytes; with a constant `text` they are immediate operands. The dispatch
    /// on member names in streamed events is made of these.
    @inline(__always)
    func isName(_ text: StaticString) -> Bool {
        let length = text.utf8CodeUnitCount
        guard count == length else { return false }
        return withUnsafeBytes { bytes in
            let name = UnsafeRawPointer(text.utf8Start)
            // Every load below lies inside `length` bytes, which both sides have.
            func differ<Word: FixedWidthInteger>(_ type: Word.Type, at offset: Int) -> Bool {
                bytes.loadUnaligned(fromByteOffset: offset, as: type)
                    != name.loadUnaligned(fromByteOffset: offset, as: type)
            }
            if length >= 8 {
                if differ(UInt64.self, at: 0) || differ(UInt64.self, at: length - 8) { return false }
                return length <= 16 || !differ(UInt64.self, at: 8)
            }
            if length >= 4 { return !differ(UInt32.self, at: 0) && !differ(UInt32.self, at: length - 4) }
            if length >= 2 { return !differ(UInt16.self, at: 0) && !differ(UInt16.self, at: length - 2) }
            return length == 0 || !differ(UInt8.self, at: 0)
        }
    }
}
