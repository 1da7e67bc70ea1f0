#if Engine
import CLlama
import Glibc

/// A loaded GGUF model: its facts, its tokens and its chat template.
///
/// Owns: the `llama_model`, freed with the object.
/// Isolation: the engine's thread, which creates, uses and drops it.
final class LlamaModel {
    let facts: ModelFacts
    let pointer: OpaquePointer
    private let vocabulary: OpaquePointer
    private let chatTemplate: String?
    /// Bytes of the longest token.
    private let tokenBytesMax: Int

    /// - Throws: ``ModelLoadFailure`` when the file is missing or llama.cpp can't use it.
    init(_ settings: EngineSettings) throws(ModelLoadFailure) {
        guard access(settings.modelFile, R_OK) == 0 else {
            throw ModelLoadFailure("cannot read \(settings.modelFile): \(String(cString: strerror(errno)))")
        }
        guard let pointer = llama_model_load_from_file(settings.modelFile, llama_model_default_params()) else {
            throw ModelLoadFailure("llama.cpp cannot load \(settings.modelFile); its message is above")
        }
        guard llama_model_has_decoder(pointer), !llama_model_has_encoder(pointer),
            let vocabulary = llama_model_get_vocab(pointer), llama_vocab_n_tokens(vocabulary) > 0
        else {
            llama_model_free(pointer)
            throw ModelLoadFailure("\(settings.modelFile) is not a model that generates text")
        }
        self.pointer = pointer
        self.vocabulary = vocabulary
        chatTemplate = llama_model_chat_template(pointer, nil).map { String(cString: $0) }
        tokenBytesMax = (0..<llama_vocab_n_tokens(vocabulary))
            .reduce(1) { max($0, Self.bytes(of: $1, vocabulary).count) }
        let trained = Int(llama_model_n_ctx_train(pointer))
        facts = ModelFacts(
            name: Self.metadata(pointer, "general.name") ?? Self.stem(of: settings.modelFile),
            contextTokens: trained > 0 ? min(settings.contextTokens, trained) : settings.contextTokens,
            trainedContextTokens: trained,
            vocabularyTokens: Int(llama_vocab_n_tokens(vocabulary)),
            parameters: llama_model_n_params(pointer),
            bytes: llama_model_size(pointer))
    }

    deinit { llama_model_free(pointer) }

    private static func metadata(_ model: OpaquePointer, _ key: String) -> String? {
        let length = llama_model_meta_val_str(model, key, nil, 0)
        guard length > 0 else { return nil }
        let bytes = [UInt8](unsafeUninitializedCapacity: Int(length) + 1) { buffer, count in
            buffer.withMemoryRebound(to: CChar.self) { text in
                count = max(0, Int(llama_model_meta_val_str(model, key, text.baseAddress, text.count)))
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func stem(of path: String) -> String {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        return name.hasSuffix(".gguf") ? String(name.dropLast(5)) : name
    }
}

/// Why a model could not be loaded, in words for the operator.
struct ModelLoadFailure: Error {
    let message: String

    init(_ message: String) { self.message = message }
}

// Tokens.
extension LlamaModel {
    /// Whether the model ends its answer with this token.
    func isEnd(_ token: Int32) -> Bool { llama_vocab_is_eog(vocabulary, token) }

    func has(_ token: Int32) -> Bool { token >= 0 && token < llama_vocab_n_tokens(vocabulary) }

    /// Any token that may be evaluated, for the warm-up.
    var harmlessToken: Int32 { max(0, llama_vocab_eos(vocabulary)) }

    /// The bytes of a token; none for control tokens.
    func bytes(of token: Int32) -> [UInt8] { Self.bytes(of: token, vocabulary) }

    private static func bytes(of token: Int32, _ vocabulary: OpaquePointer) -> [UInt8] {
        var capacity = 32
        while true {
            var needed = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
                buffer.withMemoryRebound(to: CChar.self) { text in
                    needed = Int(
                        llama_token_to_piece(vocabulary, token, text.baseAddress, Int32(capacity), 0, false))
                    count = max(0, needed)
                }
            }
            if needed >= 0 { return bytes }
            capacity = -needed
        }
    }

    /// The tokens of `text`.
    ///
    /// - In: `readsSpecials`, whether names of special tokens count as those; `addsBegin`, whether the tokens come
    ///   first with which the model wants every text to begin.
    func tokens(of text: String, readsSpecials: Bool, addsBegin: Bool) -> [Int32] {
        var text = text
        return text.withUTF8 { utf8 in
            // A token is at least one byte long, so one more per byte than there are bytes is room for the extras, too.
            let capacity = utf8.count + 8
            return [Int32](unsafeUninitializedCapacity: capacity) { buffer, count in
                count = utf8.withMemoryRebound(to: CChar.self) { characters in
                    let made = llama_tokenize(
                        vocabulary, characters.baseAddress, Int32(characters.count), buffer.baseAddress,
                        Int32(capacity), addsBegin, readsSpecials)
                    return max(0, Int(made))
                }
            }
        }
    }
}

// Prompts.
extension LlamaModel {
    /// The tokens that a request begins with.
    func tokens(of prompt: GenerationRequest.Prompt) throws(GenerationFailure) -> [Int32] {
        let tokens: [Int32]
        switch prompt {
        case .tokens(let given):
            if let unknown = given.first(where: { !has($0) }) { throw .unknownToken(unknown) }
            tokens = given
        case .text(let text):
            try refuseHopeless(bytes: text.utf8.count)
            tokens = self.tokens(of: text, readsSpecials: true, addsBegin: true)
        case .chat(let messages, let ending):
            try refuseHopeless(bytes: messages.reduce(0) { $0 + $1.content.utf8.count })
            tokens = chatTokens(messages, ending)
        }
        guard !tokens.isEmpty else { throw .emptyPrompt }
        guard tokens.count < facts.contextTokens else {
            throw .contextTooLong(promptTokens: tokens.count, contextTokens: facts.contextTokens)
        }
        return tokens
    }

    /// Refuses a text that can't fit however it is cut into tokens: cutting megabytes would hold up every answer.
    private func refuseHopeless(bytes: Int) throws(GenerationFailure) {
        let least = bytes / tokenBytesMax
        guard least < facts.contextTokens else {
            throw .contextTooLong(promptTokens: least, contextTokens: facts.contextTokens)
        }
    }

    private func chatTokens(_ messages: [ChatTurn], _ ending: ChatEnding) -> [Int32] {
        var tokens: [Int32] = []
        if llama_vocab_get_add_bos(vocabulary) { tokens.append(llama_vocab_bos(vocabulary)) }
        for part in layout(messages, ending).parts {
            switch part {
            case .template(let text):
                let made = self.tokens(of: text, readsSpecials: true, addsBegin: false)
                // Some templates begin with the token that the vocabulary asks for as well.
                tokens += tokens.count == 1 && made.first == tokens[0] ? Array(made.dropFirst()) : made
            case .content(let text):
                tokens += self.tokens(of: text, readsSpecials: false, addsBegin: false)
            }
        }
        return tokens
    }

    /// The messages in the model's template; in ChatML where the model has none that llama.cpp knows.
    private func layout(_ messages: [ChatTurn], _ ending: ChatEnding) -> ChatLayout {
        for template in [chatTemplate, "chatml"] {
            guard let template, let rendered = Self.render(template, messages, ending) else { continue }
            if let layout = ChatLayout(rendered: rendered, messages: messages, ending: ending) { return layout }
        }
        preconditionFailure("ChatML keeps every message in its place")
    }

    private static func render(_ template: String, _ messages: [ChatTurn], _ ending: ChatEnding) -> String? {
        let strings = messages.enumerated().map { (strdup($1.role), strdup(ChatLayout.mark($0))) }
        defer {
            for (role, content) in strings {
                free(role)
                free(content)
            }
        }
        let chat = strings.map { llama_chat_message(role: $0.0, content: $0.1) }
        var capacity = 4096 + 128 * messages.count
        while true {
            var needed = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
                buffer.withMemoryRebound(to: CChar.self) { text in
                    needed = Int(
                        llama_chat_apply_template(
                            template, chat, chat.count, ending == .newAnswer, text.baseAddress, Int32(capacity)))
                    count = min(max(0, needed), capacity)
                }
            }
            if needed < 0 { return nil }
            if needed <= capacity { return String(decoding: bytes, as: UTF8.self) }
            capacity = needed
        }
    }
}
#endif
