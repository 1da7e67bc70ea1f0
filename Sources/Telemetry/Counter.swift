import Synchronization

/// A number that one thread counts up and any thread may read.
///
/// The writer is always the loop that owns it, so an addition is a plain load and a plain store, without the locked
/// instruction that an atomic addition costs. A second writer would lose additions, never corrupt anything.
/// - Cost: one nanosecond; no fence.
package struct Counter: ~Copyable, Sendable {
    private let cell = Atomic<Int>(0)

    package init() {}

    /// Adds `amount`. Only the owning loop may call it.
    package func add(_ amount: Int = 1) {
        cell.store(cell.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// What has been counted so far, as any thread sees it: at most a moment old.
    package var value: Int { cell.load(ordering: .relaxed) }
}
