#if Engine
import Engine
import GatewayCore
import Glibc
import Synchronization

/// The tiny model of this repository, for tests.
enum TinyModel {
    static var file: String {
        #filePath.split(separator: "/").dropLast(3).reduce(into: "") { $0 += "/" + $1 } + "/Models/tiny/weir-tiny.gguf"
    }
    static var isThere: Bool { access(file, R_OK) == 0 }

    static func start(slots: Int, context: Int, waitingMax: Int) async throws -> LlamaEngine {
        let settings = EngineSettings(
            modelFile: file, slots: slots, contextTokens: context, waitingMax: waitingMax)
        // The engine is handed over through a lock, because it may be ready before its initialiser returns.
        return await withCheckedContinuation { continuation in
            let meeting = Mutex<(engine: LlamaEngine?, isReady: Bool)>((nil, false))
            let engine = LlamaEngine(settings) { state in
                guard case .ready = state else { return }
                let early = meeting.withLock { box in
                    box.isReady = true
                    return box.engine
                }
                if let early { continuation.resume(returning: early) }
            }
            let isReady = meeting.withLock { box in
                box.engine = engine
                return box.isReady
            }
            if isReady { continuation.resume(returning: engine) }
        }
    }

    /// Runs `body` with an engine that is stopped afterwards.
    static func run(
        slots: Int = 1, context: Int = 2048, waitingMax: Int = 16, _ body: (LlamaEngine) async throws -> Void
    ) async throws {
        let engine = try await start(slots: slots, context: context, waitingMax: waitingMax)
        defer { engine.stop() }
        try await body(engine)
    }
}

/// All that was reported about one request.
struct CollectedAnswer: Sendable {
    var prompt: [Int32] = []
    var cached = 0
    var text = ""
    var tokens: [Int32] = []
    var reason: EndReason?
    var usage: Usage?
    var failure: GenerationFailure?
}

extension LlamaEngine {
    func answer(_ request: GenerationRequest) async -> CollectedAnswer {
        let collected = Mutex(CollectedAnswer())
        return await withCheckedContinuation { continuation in
            do {
                _ = try submit(request) { event in
                    let whole = collected.withLock { answer -> CollectedAnswer? in
                        answer.add(event)
                        return answer.reason != nil || answer.failure != nil ? answer : nil
                    }
                    if let whole { continuation.resume(returning: whole) }
                }
            } catch {
                continuation.resume(returning: CollectedAnswer(failure: .stopped))
            }
        }
    }
}

extension CollectedAnswer {
    mutating func add(_ event: GenerationEvent) {
        switch event {
        case .started(let promptTokens, let cachedTokens):
            prompt = promptTokens
            cached = cachedTokens
        case .text(let more, let ids):
            text += more
            tokens += ids
        case .finished(let why, let rest, let ids, let used):
            text += rest
            tokens += ids
            reason = why
            usage = used
        case .failed(let why):
            failure = why
        }
    }
}

extension GenerationRequest {
    static func asking(_ question: String) -> GenerationRequest {
        GenerationRequest(
            prompt: .chat([ChatTurn(role: "user", content: question)], ending: .newAnswer),
            sampling: Sampling(temperature: 0))
    }
}
#endif
