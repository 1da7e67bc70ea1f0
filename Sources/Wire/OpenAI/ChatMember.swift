/// The members of a request body that the gateway reads or edits. Each may occur once.
package enum ChatMember: UInt8, Equatable, Sendable, CaseIterable {
    case model, messages, stream, streamOptions, maxTokens, maxCompletionTokens, n, sessionID, stop, seed
    case temperature, responseFormat, tools, toolChoice, functions, functionCall, logprobs, topLogprobs
    case presencePenalty, frequencyPenalty, repetitionPenalty, minTokens, prompt, input, addGenerationPrompt
    case continueFinalMessage, echo, returnTokenIDs, user, store
    /// Whatever binds the output to a grammar in some engine's dialect; several of these may stand together.
    case grammar

    @inline(__always)
    package var name: StaticString {
        switch self {
        case .model: "model"
        case .messages: "messages"
        case .stream: "stream"
        case .streamOptions: "stream_options"
        case .maxTokens: "max_tokens"
        case .maxCompletionTokens: "max_completion_tokens"
        case .n: "n"
        case .sessionID: "session_id"
        case .stop: "stop"
        case .seed: "seed"
        case .temperature: "temperature"
        case .responseFormat: "response_format"
        case .tools: "tools"
        case .toolChoice: "tool_choice"
        case .functions: "functions"
        case .functionCall: "function_call"
        case .logprobs: "logprobs"
        case .topLogprobs: "top_logprobs"
        case .presencePenalty: "presence_penalty"
        case .frequencyPenalty: "frequency_penalty"
        case .repetitionPenalty: "repetition_penalty"
        case .minTokens: "min_tokens"
        case .prompt: "prompt"
        case .input: "input"
        case .addGenerationPrompt: "add_generation_prompt"
        case .continueFinalMessage: "continue_final_message"
        case .echo: "echo"
        case .returnTokenIDs: "return_token_ids"
        case .user: "user"
        case .store: "store"
        case .grammar: "grammar"
        }
    }

    /// Which member `name` is, after unescaping; `nil` for one that passes through unread.
    package static func named(_ name: JSONString, in body: Span<UInt8>) -> ChatMember? {
        if !name.hasEscapes { return named(body.extracting(unchecked: name.raw.range)) }
        // Longer than any name of ours, even with each byte escaped.
        guard name.raw.count <= 160 else { return nil }
        var plain = ByteWriter(capacity: Int(name.raw.count))
        JSONText.unescape(body.extracting(name.raw), into: &plain)
        return named(plain.bytes)
    }

    /// By length, then by words: a name costs two or three comparisons.
    @inline(__always)
    static func named(_ name: Span<UInt8>) -> ChatMember? {
        switch name.count {
        case 1:
            if name.isName("n") { return .n }
        case 4:
            if name.isName("stop") { return .stop }
            if name.isName("user") { return .user }
            if name.isName("seed") { return .seed }
            if name.isName("echo") { return .echo }
        case 5:
            if name.isName("model") { return .model }
            if name.isName("tools") { return .tools }
            if name.isName("input") { return .input }
            if name.isName("store") { return .store }
        case 6:
            if name.isName("stream") { return .stream }
            if name.isName("prompt") { return .prompt }
        case 8:
            if name.isName("messages") { return .messages }
            if name.isName("logprobs") { return .logprobs }
        case 9:
            if name.isName("functions") { return .functions }
        case 10:
            if name.isName("max_tokens") { return .maxTokens }
            if name.isName("session_id") { return .sessionID }
            if name.isName("min_tokens") { return .minTokens }
        case 11:
            if name.isName("temperature") { return .temperature }
            if name.isName("tool_choice") { return .toolChoice }
        case 12:
            if name.isName("top_logprobs") { return .topLogprobs }
        case 13:
            if name.isName("function_call") { return .functionCall }
        case 14:
            if name.isName("stream_options") { return .streamOptions }
        case 15:
            if name.isName("response_format") { return .responseFormat }
        case 16:
            if name.isName("presence_penalty") { return .presencePenalty }
            if name.isName("return_token_ids") { return .returnTokenIDs }
        case 17:
            if name.isName("frequency_penalty") { return .frequencyPenalty }
        case 18:
            if name.isName("repetition_penalty") { return .repetitionPenalty }
        case 21:
            if name.isName("max_completion_tokens") { return .maxCompletionTokens }
            if name.isName("add_generation_prompt") { return .addGenerationPrompt }
        case 22:
            if name.isName("continue_final_message") { return .continueFinalMessage }
        default:
            break
        }
        return isGrammar(name) ? .grammar : nil
    }

    /// llama.cpp's `grammar` and `json_schema`, SGLang's `regex` and `ebnf`, vLLM's `structured_outputs` and all of its
    /// `guided_json`, `guided_regex`, `guided_choice`, `guided_grammar`, …
    private static func isGrammar(_ name: Span<UInt8>) -> Bool {
        switch name.count {
        case 4: if name.isName("ebnf") { return true }
        case 5: if name.isName("regex") { return true }
        case 7: if name.isName("grammar") { return true }
        case 11: if name.isName("json_schema") { return true }
        case 18: if name.isName("structured_outputs") { return true }
        default: break
        }
        return name.count > 7 && name.extracting(0..<7).isName("guided_")
    }
}
