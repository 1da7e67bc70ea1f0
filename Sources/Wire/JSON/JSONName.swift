extension Span where Element == UInt8 {
    /// The word at `offset`, whatever its alignment, first byte lowest. - Precondition: all of it is there.
    @inline(__always)
    func uncheckedWord<Word: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: Word.Type) -> Word {
        Word(littleEndian: bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: type))
    }

    /// Whether these are exactly the bytes of `text`, a constant.
    ///
    /// The dispatch on member names is made of these.
    @inline(__always)
    func isName(_ text: StaticString) -> Bool {
        count == text.utf8CodeUnitCount && holdsUnchecked(text, at: 0)
    }

    /// Whether the bytes of `text`, a constant, stand at `offset`. - Precondition: there are as many.
    ///
    /// Compares words that overlap instead of bytes; those of a constant are immediate operands.
    @inline(__always)
    func holdsUnchecked(_ text: StaticString, at offset: Int) -> Bool {
        let length = text.utf8CodeUnitCount
        let wanted = UnsafeRawPointer(text.utf8Start)
        // Every load lies inside `length` bytes, which both sides have.
        func agrees<Word: FixedWidthInteger & BitwiseCopyable>(_ type: Word.Type, at index: Int) -> Bool {
            uncheckedWord(at: offset &+ index, as: type)
                == Word(littleEndian: wanted.loadUnaligned(fromByteOffset: index, as: type))
        }
        if length >= 8 {
            var index = 0
            while index &+ 8 <= length {
                if !agrees(UInt64.self, at: index) { return false }
                index &+= 8
            }
            return index == length || agrees(UInt64.self, at: length &- 8)
        }
        if length >= 4 { return agrees(UInt32.self, at: 0) && agrees(UInt32.self, at: length &- 4) }
        if length >= 2 { return agrees(UInt16.self, at: 0) && agrees(UInt16.self, at: length &- 2) }
        return length == 0 || agrees(UInt8.self, at: 0)
    }
}
