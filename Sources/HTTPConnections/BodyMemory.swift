import Synchronization

/// Memory that request bodies may take in the whole process; shared by all loops, each through a ``LoopBodyMemory``.
package final class BodyMemory: Sendable {
    /// From this limit on, what loops hold ahead is too little to matter.
    private static let limitForSteps = 64 << 20

    package let limitBytes: Int
    /// What a loop takes ahead, so that it seldom has to ask: 64 KiB, nothing where the limit is small.
    let stepBytes: Int
    private let used = Atomic<Int>(0)

    package init(limitBytes: Int) {
        self.limitBytes = limitBytes
        stepBytes = limitBytes >= Self.limitForSteps ? 64 << 10 : 0
    }

    package var usedBytes: Int { used.load(ordering: .relaxed) }

    /// Takes `count` bytes of the budget. - Returns: false, with nothing taken, when they are not left.
    func reserve(_ count: Int) -> Bool {
        let before = used.wrappingAdd(count, ordering: .relaxed).oldValue
        if before + count <= limitBytes { return true }
        release(count)
        return false
    }

    func release(_ count: Int) { used.wrappingSubtract(count, ordering: .relaxed) }
}

/// One loop's part of the ``BodyMemory``. Small bodies come and go in what it holds, and no other loop is met at the
/// process's count.
///
/// - Bound: the process's limit; besides what its bodies take a loop holds at most three steps of 64 KiB, and nothing
///   while it has no bodies.
/// - Isolation: its loop.
package final class LoopBodyMemory {
    private let process: BodyMemory
    private var held = 0
    private var used = 0

    package init(of process: BodyMemory) { self.process = process }

    /// Takes `count` bytes of the budget. - Returns: false, with nothing taken, when they are not left.
    func reserve(_ count: Int) -> Bool {
        let missing = used + count - held
        if missing > 0 {
            if process.reserve(missing + process.stepBytes) {
                held += process.stepBytes
            } else if !process.reserve(missing) {
                return false
            }
            held += missing
        }
        used += count
        return true
    }

    func release(_ count: Int) {
        used -= count
        let ahead = held - used
        if used == 0 || ahead > 3 * process.stepBytes {
            let kept = used == 0 ? 0 : process.stepBytes
            process.release(ahead - kept)
            held = used + kept
        }
    }
}
