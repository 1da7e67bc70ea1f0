/// The members of a request body that the gateway reads or edits. Each may occur once.
package enum ChatMember: UInt8, Equatable, Sendable, CaseIterable {
    case model, messages, stream, streamOptions, maxTokens, maxCompletionTokens, n, sessionID, stop, seed
    case temperature, responseFormat, tools, toolChoice, functions, functionCall, logprobs, topLogprobs
    case presencePenalty, frequencyPenalty, repetitionPenalty, minTokens, prompt, input, addGenerationPrompt
    case continueFinalMessage, echo, returnTokenIDs, user, store
    /// Whatever binds the output to a grammar in some engine's dialect; several of these may stand together.
    case grammar

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
        guard name.hasEscapes else { return named(body.extracting(name.raw)) }
        // Longer than any name of ours, even with each byte escaped.
        guard name.raw.count <= 160 else { return nil }
        var plain = ByteWriter(capacity: Int(name.raw.count))
        JSONText.unescape(body.extracting(name.raw), into: &plain)
        return named(plain.bytes)
    }

    private static func named(_ name: Span<UInt8>) -> ChatMember? {
        switch name.count {
        case 1: first(of: .n, is: name)
        case 4: first(of: .stop, .seed, is: name) ?? first(of: .user, .echo, is: name) ?? grammar("ebnf", is: name)
        case 5: first(of: .model, .tools, is: name) ?? first(of: .input, .store, is: name) ?? grammar("regex", is: name)
        case 6: first(of: .stream, .prompt, is: name)
        case 7: grammar("grammar", is: name)
        case 8: first(of: .messages, .logprobs, is: name)
        case 9: first(of: .functions, is: name)
        case 10: first(of: .maxTokens, .sessionID, is: name) ?? first(of: .minTokens, is: name)
        case 11: first(of: .temperature, .toolChoice, is: name) ?? guided(name) ?? grammar("json_schema", is: name)
        case 12: first(of: .topLogprobs, is: name) ?? guided(name)
        case 13: first(of: .functionCall, is: name) ?? guided(name)
        case 14: first(of: .streamOptions, is: name) ?? guided(name)
        case 15: first(of: .responseFormat, is: name) ?? guided(name)
        case 16: first(of: .presencePenalty, .returnTokenIDs, is: name) ?? guided(name)
        case 17: first(of: .frequencyPenalty, is: name) ?? guided(name)
        case 18: first(of: .repetitionPenalty, is: name) ?? guided(name) ?? grammar("structured_outputs", is: name)
        case 21: first(of: .maxCompletionTokens, .addGenerationPrompt, is: name) ?? guided(name)
        case 22: first(of: .continueFinalMessage, is: name) ?? guided(name)
        default: guided(name)
        }
    }

    /// vLLM's `guided_json`, `guided_regex`, `guided_choice`, `guided_grammar`, …
    private static func guided(_ name: Span<UInt8>) -> ChatMember? {
        name.count > 7 && name.extracting(0..<7).equals("guided_") ? .grammar : nil
    }

    /// llama.cpp's `grammar` and `json_schema`, SGLang's `regex` and `ebnf`, vLLM's `structured_outputs`.
    private static func grammar(_ dialect: StaticString, is name: Span<UInt8>) -> ChatMember? {
        name.equals(dialect) ? .grammar : nil
    }

    private static func first(of one: ChatMember, is name: Span<UInt8>) -> ChatMember? {
        name.equals(one.name) ? one : nil
    }
    private static func first(of one: ChatMember, _ other: ChatMember, is name: Span<UInt8>) -> ChatMember? {
        name.equals(one.name) ? one : name.equals(other.name) ? other : nil
    }
}
