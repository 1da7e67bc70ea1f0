/// What was spent in a window's older slots, the oldest first.
///
/// Up to four numbers lie in place, because most callers ask seldom: nothing is allocated for them, and with many
/// callers an array would be one more cache miss. What a fifth begins is an array, until that is empty.
///
/// - Bound: its window's, 128.
struct OlderSpending: Sendable {
    private static let fewMax = 4

    private var many: [UInt32] = []
    private var few = InlineArray<4, UInt32>(repeating: 0)
    private var fewCount: UInt32 = 0

    var count: Int { fewCount > 0 ? Int(fewCount) : many.count }
    var isEmpty: Bool { fewCount == 0 && many.isEmpty }

    subscript(place: Int) -> UInt32 {
        get { fewCount > 0 ? few[place] : many[place] }
        set {
            if fewCount > 0 { few[place] = newValue } else { many[place] = newValue }
        }
    }

    mutating func append(_ spent: UInt32) {
        if !many.isEmpty {
            many.append(spent)
        } else if fewCount < Self.fewMax {
            few[Int(fewCount)] = spent
            fewCount += 1
        } else {
            many.reserveCapacity(2 * Self.fewMax)
            for place in 0..<Self.fewMax { many.append(few[place]) }
            many.append(spent)
            fewCount = 0
        }
    }

    /// - Precondition: there are as many.
    mutating func removeFirst(_ gone: Int) {
        guard fewCount > 0 else {
            if gone == many.count { return many = [] }
            return many.removeFirst(gone)
        }
        precondition(gone <= fewCount)
        for place in gone..<Int(fewCount) { few[place - gone] = few[place] }
        fewCount -= UInt32(gone)
    }
}
