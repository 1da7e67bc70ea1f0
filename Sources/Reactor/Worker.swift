import CLinux
import Glibc

/// One loop and its thread. Everything under a worker is plain non-`Sendable` classes that never leave it.
///
/// - Owns: the ``EventLoop``, its executor and, after ``start(name:)``, a thread that ends when the loop is stopped.
package actor Worker {
    package nonisolated let executor: LoopExecutor
    package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }
    package let loop: EventLoop

    package init() {
        let executor = LoopExecutor()
        self.executor = executor
        loop = EventLoop(executor: executor)
        loop.worker = self
    }

    /// Starts the thread. Jobs enqueued before run as soon as it is up.
    ///
    /// - Throws: nothing; a process that can't start one thread a core has no use: it ends with a message.
    package nonisolated func start(name: String) {
        var thread = pthread_t()
        let start = ThreadStart(worker: self, name: name)
        let result = pthread_create(
            &thread, nil,
            { argument in
                let start = Unmanaged<ThreadStart>.fromOpaque(argument.unsafelyUnwrapped).takeRetainedValue()
                _ = pthread_setname_np(pthread_self(), String(start.name.prefix(15)))
                start.worker.executor.adoptCurrentThread()
                start.worker.assumeIsolated { $0.loop.run() }
                return nil
            }, Unmanaged.passRetained(start).toOpaque())
        precondition(result == 0, "can't start the thread \(name): error \(result)")
        pthread_detach(thread)
    }

    /// Runs `body` on the loop and hands its result back.
    package func run<Result: Sendable, Failure: Error>(
        _ body: @Sendable (EventLoop) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(loop)
    }

    /// The same for a body that suspends. It runs with the loop's executor preferred: without that, each call of an
    /// `async` function is a job of its own.
    package nonisolated func run<Result: Sendable>(
        _ body: @escaping @Sendable (EventLoop) async throws -> Result
    ) async throws -> Result {
        let task = Task(executorPreference: executor) { try await self.perform(body) }
        return try await task.value
    }

    private func perform<Result: Sendable>(
        _ body: @escaping @Sendable (EventLoop) async throws -> Result
    ) async throws -> Result {
        try await body(loop)
    }

    private final class ThreadStart {
        let worker: Worker
        let name: String
        init(worker: Worker, name: String) {
            self.worker = worker
            self.name = name
        }
    }
}
