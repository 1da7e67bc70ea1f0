#if Engine
import CLlama
import GatewayCore
import Glibc

/// One request on its way through the engine.
struct Job {
    let id: GenerationID
    let request: GenerationRequest
    let report: @Sendable (GenerationEvent) -> Void
}

/// Continuous batching: every step evaluates one batch with the next token of each running answer and, in the room that
/// is left, the next pieces of the prompts.
///
/// Each slot is a sequence of its own in the KV cache (`kv_unified = false`): measured, greedy answers are then the
/// same alone, beside others and after being resumed; with a unified cache they are not.
///
/// Bounds: the slots, `batchTokensMax` a step; who submits bounds the waiting.
/// Isolation: the engine's thread.
final class BatchScheduler {
    /// Tokens of one `llama_decode`: large enough for prompts, small enough that running answers go on meanwhile.
    private static let batchTokensMax = 256
    /// A shared beginning shorter than this does not decide which slot a request gets.
    private static let worthwhilePrefix = 16
    /// What `llama_decode` returns when it was told to give up.
    private static let aborted: Int32 = 2

    private let model: LlamaModel
    private let context: OpaquePointer
    private let batch = LlamaBatch(capacity: batchTokensMax)
    private var slots: [Slot]
    private var waiting: [Job] = []
    private var step = 0

    /// Requests that have a slot, and requests that wait for one.
    var running: Int { slots.count { $0.answer != nil } }
    var waitingCount: Int { waiting.count }
    var isIdle: Bool { waiting.isEmpty && running == 0 }

    /// - In: `abort`, asked by llama.cpp between two operations whether to give up a batch.
    init(
        _ model: LlamaModel, _ settings: EngineSettings, abort: ggml_abort_callback, abortData: UnsafeMutableRawPointer
    ) throws(ModelLoadFailure) {
        let threads = Int32(settings.threads ?? Self.sensibleThreads(for: model.facts))
        var parameters = llama_context_default_params()
        parameters.n_ctx = UInt32(model.facts.contextTokens * settings.slots)
        parameters.n_batch = UInt32(Self.batchTokensMax)
        parameters.n_ubatch = UInt32(Self.batchTokensMax)
        parameters.n_seq_max = UInt32(settings.slots)
        parameters.n_threads = threads
        parameters.n_threads_batch = threads
        parameters.kv_unified = false
        parameters.no_perf = true
        parameters.abort_callback = abort
        parameters.abort_callback_data = abortData
        guard let context = llama_init_from_model(model.pointer, parameters) else {
            let wanted = "\(settings.slots) slots of \(model.facts.contextTokens) tokens"
            throw ModelLoadFailure("no memory for \(wanted); try fewer or smaller ones")
        }
        self.model = model
        self.context = context
        slots = (0..<settings.slots).map { Slot(sequence: Int32($0)) }
    }

    deinit { llama_free(context) }

    private static func sensibleThreads(for facts: ModelFacts) -> Int {
        facts.bytes < 100_000_000 ? 1 : max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    }

    /// Evaluates one token, so that the weights are in memory before the first request comes.
    func warmUp() {
        batch.clear()
        _ = batch.add(model.harmlessToken, position: 0, sequence: 0, wantsLogits: true)
        _ = llama_decode(context, batch.batch)
        llama_memory_clear(llama_get_memory(context), true)
    }

    func add(_ job: Job) { waiting.append(job) }

    /// Forgets a request without a word to its caller.
    func cancel(_ id: GenerationID) {
        waiting.removeAll { $0.id == id }
        for index in slots.indices where slots[index].answer?.job.id == id { slots[index].answer = nil }
    }

    /// Ends everything with `failure`.
    func failAll(_ failure: GenerationFailure) {
        let jobs = waiting + slots.compactMap { $0.answer?.job }
        waiting = []
        for index in slots.indices { slots[index].answer = nil }
        for job in jobs { job.report(.failed(failure)) }
    }

    /// One turn: seats who waits, evaluates one batch, and reports the tokens that came out of it.
    func runStep() {
        step += 1
        seatWaiting()
        batch.clear()
        for index in slots.indices { slots[index].addNextToken(to: batch) }
        addPrompts()
        guard batch.count > 0 else { return }
        let code = llama_decode(context, batch.batch)
        guard code == 0 else { return failBatch(code) }
        for index in slots.indices where slots[index].answer?.logitsRow != nil { advance(index) }
    }
}

// Seating.
extension BatchScheduler {
    private func seatWaiting() {
        while !waiting.isEmpty, slots.contains(where: { $0.answer == nil }) {
            let job = waiting.removeFirst()
            do throws(GenerationFailure) {
                seat(job, prompt: try model.tokens(of: job.request.prompt))
            } catch {
                job.report(.failed(error))
            }
        }
    }

    /// Gives a request the free slot whose cache shares most with its prompt, else the one unused for longest.
    private func seat(_ job: Job, prompt: [Int32]) {
        func merit(_ index: Int) -> (Int, Int) {
            let shared = slots[index].sharedPrefix(with: prompt)
            return (shared >= Self.worthwhilePrefix ? shared : 0, -slots[index].lastUsed)
        }
        let free = slots.indices.filter { slots[$0].answer == nil }
        guard let index = free.max(by: { merit($0) < merit($1) }) else { preconditionFailure("a slot is free") }

        // At least one token is evaluated again, because the first pick needs its logits.
        var kept = min(slots[index].sharedPrefix(with: prompt), prompt.count - 1)
        let memory = llama_get_memory(context)
        if !llama_memory_seq_rm(memory, slots[index].sequence, Int32(kept), -1) {
            // Recurrent models can't go back in the middle.
            _ = llama_memory_seq_rm(memory, slots[index].sequence, -1, -1)
            kept = 0
        }
        slots[index].seat(Answer(job: job, prompt: prompt), kept: kept, step: step)
        job.report(.started(promptTokens: prompt, cachedTokens: kept))
    }

    /// Shares what is left of the batch among the prompts that are not evaluated yet.
    private func addPrompts() {
        var prompting = slots.indices.filter { slots[$0].promptLeft > 0 }
        while !prompting.isEmpty, batch.room > 0 {
            let share = max(1, batch.room / prompting.count)
            slots[prompting.removeFirst()].addPrompt(to: batch, tokensMax: min(share, batch.room))
        }
    }
}

// Results.
extension BatchScheduler {
    /// Picks the next token of a slot's answer and reports what can be said of it.
    private func advance(_ index: Int) {
        guard var answer = slots[index].answer, let row = answer.logitsRow else { return }
        answer.logitsRow = nil
        guard let logits = llama_get_logits_ith(context, row) else {
            return fail(index, .decodeFailed(code: -1))
        }
        // Valid until the next decode, which this thread does later.
        let weights = UnsafeBufferPointer(start: logits, count: model.facts.vocabularyTokens)
        let token = answer.sampler.pick(from: weights.span, position: slots[index].evaluated.count)
        let reason = answer.take(token, model, contextLeft: model.facts.contextTokens - slots[index].evaluated.count)
        if let reason {
            slots[index].answer = nil
            let rest = answer.assembler.finish()
            answer.job.report(
                .finished(
                    reason, text: rest.text, tokens: rest.tokens,
                    usage: Usage(promptTokens: answer.prompt.count, completionTokens: answer.generated)))
        } else {
            slots[index].answer = answer
        }
    }

    /// A batch that can't be evaluated fails every request in it, and their caches are of no more use.
    private func failBatch(_ code: Int32) {
        let failure = code == Self.aborted ? GenerationFailure.stopped : .decodeFailed(code: code)
        for index in slots.indices where slots[index].answer != nil { fail(index, failure) }
    }

    private func fail(_ index: Int, _ failure: GenerationFailure) {
        let job = slots[index].answer?.job
        _ = llama_memory_seq_rm(llama_get_memory(context), slots[index].sequence, -1, -1)
        slots[index] = Slot(sequence: slots[index].sequence)
        job?.report(.failed(failure))
    }
}
#endif
