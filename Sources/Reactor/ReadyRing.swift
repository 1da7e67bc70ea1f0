/// What a loop runs when its sockets have had their turn.
enum ReadyWork {
    /// A job of the Swift runtime's.
    case job(UnownedJob)
    /// A parked task that was called. Not a counted reference: whoever is parked holds the parking.
    case parked(Unmanaged<Parking>)
}

/// The work that is ready, in the order in which it became so.
///
/// A ring in plain memory, because something is put into it and taken out of it several times a request.
/// - Bounds: a task is in it at most once, so it holds no more than the loop has tasks; it doubles when it is full.
struct ReadyRing: ~Copyable {
    private var room = UnsafeMutablePointer<ReadyWork>.allocate(capacity: 256)
    /// Always a power of two.
    private var capacity = 256
    private var first = 0
    private(set) var count = 0

    deinit { room.deallocate() }

    var isEmpty: Bool { count == 0 }

    @inline(__always)
    mutating func append(_ work: ReadyWork) {
        if count == capacity { grow() }
        (room + ((first &+ count) & (capacity &- 1))).initialize(to: work)
        count &+= 1
    }

    @inline(__always)
    mutating func popFirst() -> ReadyWork? {
        if count == 0 { return nil }
        let work = room[first]
        first = (first &+ 1) & (capacity &- 1)
        count &-= 1
        return work
    }

    @inline(never)
    private mutating func grow() {
        let larger = UnsafeMutablePointer<ReadyWork>.allocate(capacity: 2 * capacity)
        for index in 0..<count { (larger + index).initialize(to: room[(first + index) & (capacity - 1)]) }
        room.deallocate()
        room = larger
        capacity *= 2
        first = 0
    }
}
