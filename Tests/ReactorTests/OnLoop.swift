import Reactor

/// Runs `work` on a loop of its own, which ends with it.
func onLoop<Result: Sendable>(
    _ work: @escaping @Sendable (EventLoop) async throws -> Result
) async throws -> Result {
    let worker = Worker()
    worker.start(name: "test-loop")
    defer { worker.post { $0.stop() } }
    return try await worker.run(work)
}
