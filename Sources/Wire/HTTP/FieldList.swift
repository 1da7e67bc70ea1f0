/// The fields of one head, in their order, in memory that is used again for the next head.
///
/// An array would do, but for what it pays at each append for being shareable.
/// - Owns: one block of memory, freed at the end.
/// - Bound: the fields that a head may have (`http.fieldsMax`).
struct FieldList: ~Copyable {
    private var base: UnsafeMutablePointer<HTTPField>?
    private var capacity = 0
    private(set) var count = 0

    deinit { base?.deallocate() }

    @inline(__always)
    subscript(index: Int) -> HTTPField {
        get {
            precondition(index >= 0 && index < count)
            return base.unsafelyUnwrapped[index]
        }
        set {
            precondition(index >= 0 && index < count)
            base.unsafelyUnwrapped[index] = newValue
        }
    }

    @inline(__always)
    mutating func append(_ field: HTTPField) {
        if count == capacity { grow() }
        // There is room now, and a field is plain bytes: nothing has to be initialised or freed.
        base.unsafelyUnwrapped[count] = field
        count &+= 1
    }

    /// Forgets the fields, keeps the memory.
    mutating func removeAll() { count = 0 }

    /// The first field `id`.
    @inline(__always)
    func first(_ id: FieldID) -> HTTPField? {
        var index = 0
        while index < count {
            // Inside the block, as just checked.
            let field = base.unsafelyUnwrapped + index
            if field.pointee.id == id { return field.pointee }
            index &+= 1
        }
        return nil
    }

    /// A copy, for those who are in no hurry.
    var array: [HTTPField] { (0..<count).map { self[$0] } }

    @inline(never)
    private mutating func grow() {
        let larger = max(16, capacity * 2)
        let moved = UnsafeMutablePointer<HTTPField>.allocate(capacity: larger)
        if let base {
            moved.update(from: base, count: count)
            base.deallocate()
        }
        base = moved
        capacity = larger
    }
}
