#if Engine
/// An answer in the making.
struct Answer {
    let job: Job
    let prompt: [Int32]
    let sampler: TokenSampler
    var assembler: TextAssembler
    /// Tokens picked so far.
    var generated = 0
    /// The token that was picked last and is not evaluated yet; `nil` while the prompt is.
    var next: Int32?
    /// Where in the running batch the logits for the next pick will be.
    var logitsRow: Int32?

    init(job: Job, prompt: [Int32]) {
        self.job = job
        self.prompt = prompt
        sampler = TokenSampler(job.request.sampling)
        assembler = TextAssembler(stops: job.request.stops)
    }

    /// Takes a picked token and reports the text that it completes.
    ///
    /// - In: `contextLeft`, how many more tokens the slot can evaluate.
    /// - Out: why the answer ends with this token, `nil` if it goes on.
    mutating func take(_ token: Int32, _ model: LlamaModel, contextLeft: Int) -> EndReason? {
        generated += 1
        next = token
        if model.isEnd(token) {
            assembler.appendEnd(token)
            return .stop
        }
        if let piece = assembler.append(token, model.bytes(of: token)) {
            job.report(.text(piece.text, tokens: piece.tokens))
        }
        if assembler.isStopped { return .stop }
        if generated >= job.request.tokensMax ?? .max || contextLeft <= 0 { return .length }
        return nil
    }
}

/// A place for one conversation in the KV cache.
struct Slot {
    let sequence: Int32
    /// The tokens whose keys and values the cache holds. They stay after an answer, for a request that begins alike.
    private(set) var evaluated: [Int32] = []
    /// The scheduler's step in which the slot was last given away.
    private(set) var lastUsed = 0
    var answer: Answer?

    init(sequence: Int32) { self.sequence = sequence }

    /// How much of the running answer's prompt is not evaluated yet.
    var promptLeft: Int {
        guard let answer, answer.next == nil else { return 0 }
        return answer.prompt.count - evaluated.count
    }

    func sharedPrefix(with prompt: [Int32]) -> Int {
        zip(evaluated, prompt).prefix { $0 == $1 }.count
    }

    mutating func seat(_ answer: Answer, kept: Int, step: Int) {
        self.answer = answer
        evaluated.removeSubrange(kept...)
        lastUsed = step
    }

    /// Adds the token that was picked last, if the answer is past its prompt.
    mutating func addNextToken(to batch: LlamaBatch) {
        guard let token = answer?.next else { return }
        answer?.logitsRow = batch.add(token, position: evaluated.count, sequence: sequence, wantsLogits: true)
        evaluated.append(token)
    }

    /// Adds the next piece of the prompt; its last token asks for logits.
    mutating func addPrompt(to batch: LlamaBatch, tokensMax: Int) {
        guard let prompt = answer?.prompt else { return }
        for _ in 0..<min(tokensMax, promptLeft) {
            let position = evaluated.count
            let isLast = position == prompt.count - 1
            let row = batch.add(prompt[position], position: position, sequence: sequence, wantsLogits: isLast)
            if isLast { answer?.logitsRow = row }
            evaluated.append(prompt[position])
        }
    }
}
#endif
