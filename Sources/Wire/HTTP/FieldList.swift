/// The fields of one head, in their order, in memory that is used again for the next head.
///
/// An array would do, but for what it pays at each append for being shareable.
/// - Owns: one block of memory, freed at the end: the number of the first field of each name, then the fields.
/// - Bound: the fields that a head may have (`http.headFields`), at most ``fieldsMax``.
struct FieldList: ~Copyable {
    /// Numbers of fields have sixteen bits.
    private static var fieldsMax: Int { 1 << 16 }
    /// One number for each ``FieldID`` that there could be.
    private static var firstsBytes: Int { 64 * MemoryLayout<UInt16>.stride }

    private var block: UnsafeMutableRawPointer?
    private var capacity = 0
    private(set) var count = 0
    /// Which names are there at least once; only for those the block knows the first one.
    private(set) var present: UInt64 = 0
    /// The number of the ``HeadPattern`` that they were taken from; 0 for those that were parsed.
    var source = 0

    deinit { block?.deallocate() }

    private var firsts: UnsafeMutablePointer<UInt16> {
        @inline(__always) get { block.unsafelyUnwrapped.assumingMemoryBound(to: UInt16.self) }
    }

    private var base: UnsafeMutablePointer<HTTPField> {
        @inline(__always) get {
            (block.unsafelyUnwrapped + Self.firstsBytes).assumingMemoryBound(to: HTTPField.self)
        }
    }

    @inline(__always)
    subscript(index: Int) -> HTTPField {
        get {
            precondition(index >= 0 && index < count)
            return base[index]
        }
        set {
            precondition(index >= 0 && index < count)
            base[index] = newValue
        }
    }

    @inline(__always)
    mutating func append(_ field: HTTPField) {
        if count == capacity { grow(to: count &+ 1) }
        let bit = field.id.bit
        if present & bit == 0 {
            present |= bit
            firsts[Int(field.id.rawValue)] = UInt16(truncatingIfNeeded: count)
        }
        // There is room now, and a field is plain bytes: nothing has to be initialised or freed.
        base[count] = field
        count &+= 1
    }

    /// Forgets the fields, keeps the memory.
    mutating func removeAll() {
        count = 0
        present = 0
        source = 0
    }

    @inline(__always)
    func has(_ id: FieldID) -> Bool { present & id.bit != 0 }

    /// The first field `id`.
    @inline(__always)
    func first(_ id: FieldID) -> HTTPField? {
        // What is present has its number in the block, and the field with that number is there.
        has(id) ? base[Int(firsts[Int(id.rawValue)])] : nil
    }

    /// Becomes a copy of `other` with each field moved.
    ///
    /// - In: `move`, called for each number in turn: what is added to the name's start and length and the value's.
    @inline(__always)
    mutating func take(_ other: borrowing FieldList, _ move: (Int) -> SIMD4<Int32>) {
        removeAll()
        guard other.count > 0 else { return }
        if other.count > capacity { grow(to: other.count) }
        count = other.count
        present = other.present
        block.unsafelyUnwrapped.copyMemory(from: other.firsts, byteCount: Self.firstsBytes)
        // A field is four numbers, then an id and a flag in four bytes; both blocks have `count` of them.
        var from = UnsafeRawPointer(other.base)
        var to = UnsafeMutableRawPointer(base)
        for index in 0..<other.count {
            to.storeBytes(of: from.loadUnaligned(as: SIMD4<Int32>.self) &+ move(index), as: SIMD4<Int32>.self)
            to.storeBytes(of: from.load(fromByteOffset: 16, as: UInt32.self), toByteOffset: 16, as: UInt32.self)
            from += MemoryLayout<HTTPField>.stride
            to += MemoryLayout<HTTPField>.stride
        }
    }

    /// A copy, for those who are in no hurry.
    var array: [HTTPField] { (0..<count).map { self[$0] } }

    @inline(never)
    private mutating func grow(to needed: Int) {
        precondition(needed <= Self.fieldsMax)
        let larger = max(16, capacity * 2, needed)
        let fieldsBytes = MemoryLayout<HTTPField>.stride
        let moved = UnsafeMutableRawPointer.allocate(
            byteCount: Self.firstsBytes + larger * fieldsBytes, alignment: MemoryLayout<HTTPField>.alignment)
        if let block {
            moved.copyMemory(from: block, byteCount: Self.firstsBytes + count * fieldsBytes)
            block.deallocate()
        }
        block = moved
        capacity = larger
    }
}
