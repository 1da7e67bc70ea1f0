/// The sources of a loop, by descriptor.
///
/// Plain memory, and no reference is counted to call a source: each event would pay for both.
/// - Owns: the sources in it, and those that left until ``exchangeLeavers(_:)``: one that closes itself while it is
///   being called lives on until then.
/// - Bounds: as many places as the process has descriptors.
struct SourceTable: ~Copyable {
    private struct Place {
        var source: Unmanaged<EventSource>?
        /// Keeps late events of a closed source away from the next one with its descriptor.
        var generation: UInt32
    }

    private var places = UnsafeMutableBufferPointer<Place>.allocate(capacity: 0)
    private var generation: UInt32 = 0
    private var leavers: [EventSource] = []

    deinit {
        for place in places { place.source?.release() }
        places.deallocate()
    }

    /// - Returns: what the kernel is to say with each event of the source.
    mutating func add(_ source: EventSource, _ descriptor: Int32) -> UInt64 {
        let index = Int(descriptor)
        if index >= places.count { grow(toHold: index) }
        places[index].source?.release()
        generation &+= 1
        places[index] = Place(source: .passRetained(source), generation: generation)
        return UInt64(generation) << 32 | UInt64(UInt32(bitPattern: descriptor))
    }

    mutating func remove(_ source: EventSource, _ descriptor: Int32) {
        guard let found = self[descriptor], found.toOpaque() == Unmanaged.passUnretained(source).toOpaque() else {
            return
        }
        places[Int(descriptor)].source = nil
        leavers.append(found.takeRetainedValue())
    }

    /// The source that an event is for; nil for one that has left.
    func find(_ data: UInt64) -> Unmanaged<EventSource>? {
        let index = Int(UInt32(truncatingIfNeeded: data))
        guard index < places.count else { return nil }
        let place = places.baseAddress.unsafelyUnwrapped + index
        return place.pointee.generation == UInt32(truncatingIfNeeded: data >> 32) ? place.pointee.source : nil
    }

    subscript(descriptor: Int32) -> Unmanaged<EventSource>? {
        Int(descriptor) < places.count ? places[Int(descriptor)].source : nil
    }

    var hasLeavers: Bool { !leavers.isEmpty }

    /// Hands over those that left, for room for the next ones. To be called while no source is.
    mutating func exchangeLeavers(_ room: inout [EventSource]) { swap(&leavers, &room) }

    private mutating func grow(toHold index: Int) {
        let larger = UnsafeMutableBufferPointer<Place>.allocate(capacity: max(64, 2 * places.count, index + 1))
        larger.initialize(repeating: Place(source: nil, generation: 0))
        for (index, place) in places.enumerated() { larger[index] = place }
        places.deallocate()
        places = larger
    }
}
