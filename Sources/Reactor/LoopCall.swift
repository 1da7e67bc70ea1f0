import CLinux
import Glibc
import Synchronization

extension Worker {
    /// Runs `body` on the loop, without waiting for it.
    package nonisolated func post(_ body: @escaping @Sendable (EventLoop) -> Void) {
        Task(executorPreference: executor) { await self.run(body) }
    }

    /// Runs `body` on the loop while the calling thread waits. Never from a loop: it would wait for itself.
    package nonisolated func call<Result: Sendable>(
        _ body: @escaping @Sendable (EventLoop) throws -> Result
    ) throws -> Result {
        let answer = Answer<Result>()
        Task(executorPreference: executor) {
            do {
                answer.set(.success(try await self.run(body)))
            } catch {
                answer.set(.failure(error))
            }
        }
        return try answer.wait().get()
    }

    /// One result that a thread waits for.
    private final class Answer<Value: Sendable>: Sendable {
        private let value = Mutex<Result<Value, any Error>?>(nil)
        private let descriptor = weir_eventfd()

        deinit { close(descriptor) }

        func set(_ result: Result<Value, any Error>) {
            value.withLock { $0 = result }
            eventfd_write(descriptor, 1)
        }

        func wait() -> Result<Value, any Error> {
            while true {
                if let result = value.withLock({ $0 }) { return result }
                var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                poll(&poller, 1, -1)
            }
        }
    }
}
