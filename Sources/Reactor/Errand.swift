import GatewayCore
import Synchronization

/// Work that is done elsewhere, on a thread of its own or on other loops, and awaited on a loop.
///
///     let errand = Errand<Int>(on: loop)
///     detachThread { errand.bring(somethingThatBlocks()) }
///     let result = await errand.results(parking).first
///
/// - Isolation: ``bring(_:)`` from any thread; all else on the loop.
/// - Bounds: it holds as many results as it was made for.
package final class Errand<Result: Sendable>: Sendable {
    private let brought = Mutex<[Result]>([])
    private let count: Int
    private let bell: Doorbell

    /// - Parameter count: how many results there are to wait for.
    package init(on loop: EventLoop, results count: Int = 1) {
        guard let worker = loop.worker else { preconditionFailure("a loop without its worker") }
        self.count = count
        bell = Doorbell(worker)
    }

    /// Hands in a result. One that is more than was asked for is dropped.
    package func bring(_ result: Result) {
        let isLast = brought.withLock { brought in
            if brought.count < count { brought.append(result) }
            return brought.count == count
        }
        if isLast { bell.ring() }
    }

    /// Waits for the results, in the order in which they came.
    ///
    /// - Parameters:
    ///   - parking: where the task parks that calls this.
    ///   - isGivenUp: whether nobody wants them any more; asked whenever the parking was woken.
    /// - Returns: fewer than there should be if the deadline passed before, or nobody wanted them any more.
    package func results(
        _ parking: Parking, until deadline: Moment = .never, unless isGivenUp: () -> Bool = { false }
    ) async -> [Result] {
        bell.hook(parking)
        defer { bell.unhook() }
        while true {
            let results = brought.withLock { $0 }
            if results.count == count || parking.loop.now >= deadline || isGivenUp() { return results }
            _ = await parking.park(until: deadline)
        }
    }
}
