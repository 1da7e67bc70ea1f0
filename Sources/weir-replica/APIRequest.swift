import Engine
import Wire

/// A request for an answer, as OpenAI's API has it, read and checked.
struct APIRequest: Equatable, Sendable {
    /// Which of the two dialects the answer is in.
    enum Kind: Equatable, Sendable {
        case chat, completion

        /// The member of the body that holds the prompt.
        var promptName: String {
            switch self {
            case .chat: "messages"
            case .completion: "prompt"
            }
        }
    }

    var kind: Kind
    var model: String
    var isStream: Bool
    /// `stream_options.include_usage`.
    var includesUsage: Bool
    /// `return_token_ids`, an extension of vLLM.
    var returnsTokenIDs: Bool
    /// `echo` of completions: the prompt's text comes first.
    var echo: String?
    var generation: GenerationRequest

    /// Reads a body.
    ///
    /// Members that would change the answer and that this engine can't honour are refused; members that only offer
    /// something (`tools` without a forced choice) are not, because front ends send them with every request.
    ///
    /// - Throws: ``APIError`` (400).
    static func read(_ body: Span<UInt8>, kind: Kind) throws(APIError) -> APIRequest {
        let value: JSONValue
        do {
            value = try JSONValue.read(body)
        } catch {
            throw .invalid("We could not parse the JSON body of your request: \(error.sentence).")
        }
        guard value.object != nil else { throw .invalid("The JSON body of your request must be an object.") }
        let members = Members(value)
        try refuseUnsupported(members)
        guard let model = try members.string("model"), !model.isEmpty else {
            throw .invalid("Missing required parameter: 'model'.", param: "model")
        }
        let isStream = try members.bool("stream") ?? false
        let options = try members.object("stream_options")
        var generation = GenerationRequest(
            prompt: kind == .chat ? try ChatReader.prompt(members) : try completionPrompt(members))
        let (newer, older) = ("max_completion_tokens", "max_tokens")
        generation.tokensMax = try members[newer] != nil
            ? members.integer(newer, 1...Int.max) : members.integer(older, 1...Int.max)
        generation.sampling = try sampling(members)
        generation.stops = try stops(members)
        return APIRequest(
            kind: kind, model: model, isStream: isStream,
            includesUsage: isStream ? try options?.bool("include_usage") ?? false : true,
            returnsTokenIDs: try members.bool("return_token_ids") ?? false,
            echo: try echo(members, kind), generation: generation)
    }

    private static func sampling(_ members: Members) throws(APIError) -> Sampling {
        Sampling(
            temperature: Float(try members.number("temperature", 0...2) ?? 1),
            topP: max(.leastNormalMagnitude, Float(try members.number("top_p", 0...1) ?? 1)),
            seed: try members.integer("seed", Int.min...Int.max).map { UInt64(bitPattern: Int64($0)) })
    }

    private static func stops(_ members: Members) throws(APIError) -> [String] {
        guard let value = members["stop"] else { return [] }
        if let text = value.string { return text.isEmpty ? [] : [text] }
        guard let elements = value.array, elements.count <= 16 else {
            throw .invalid("'stop' must be a string or an array of at most 16 strings.", param: "stop")
        }
        var stops: [String] = []
        for element in elements {
            guard let text = element.string, !text.isEmpty else {
                throw .invalid("'stop' must hold strings that are not empty.", param: "stop")
            }
            stops.append(text)
        }
        return stops
    }

    private static func completionPrompt(_ members: Members) throws(APIError) -> GenerationRequest.Prompt {
        var value = members["prompt"]
        // A list of one prompt is that prompt; more would need more answers.
        if let only = value?.array, only.count == 1, only[0].int == nil { value = only[0] }
        if let text = value?.string { return .text(text) }
        guard let elements = value?.array else {
            throw .invalid("'prompt' must be a string or an array of token ids.", param: "prompt")
        }
        var tokens: [Int32] = []
        tokens.reserveCapacity(elements.count)
        for element in elements {
            guard let id = element.int.flatMap({ Int32(exactly: $0) }) else {
                throw .unsupported("prompt", "One prompt a request: a string or an array of token ids.")
            }
            tokens.append(id)
        }
        return .tokens(tokens)
    }

    private static func echo(_ members: Members, _ kind: Kind) throws(APIError) -> String? {
        guard kind == .completion, try members.bool("echo") ?? false else { return nil }
        guard let text = members["prompt"]?.string else {
            throw .unsupported("echo", "'echo' needs a prompt that is a string.")
        }
        return text
    }

    private static func refuseUnsupported(_ members: Members) throws(APIError) {
        if let n = try members.integer("n", 1...128), n > 1 { throw .unsupported("n", "'n' can only be 1 here.") }
        if let best = try members.integer("best_of", 1...128), best > 1 {
            throw .unsupported("best_of", "'best_of' can only be 1 here.")
        }
        for name in ["presence_penalty", "frequency_penalty"] {
            if let penalty = try members.number(name, -2...2), penalty != 0 {
                throw .unsupported(name, "'\(name)' is not supported by this engine.")
            }
        }
        if let logprobs = members["logprobs"], logprobs != .bool(false) {
            throw .unsupported("logprobs", "'logprobs' is not supported by this engine.")
        }
        if let bias = members["logit_bias"], bias != .object([]) {
            throw .unsupported("logit_bias", "'logit_bias' is not supported by this engine.")
        }
        if let format = members["response_format"], format["type"]?.string != "text" {
            throw .unsupported("response_format", "Only 'text' is supported as response format by this engine.")
        }
        switch members["tool_choice"] {
        case nil, .string("none"), .string("auto"): break
        default: throw .unsupported("tool_choice", "This engine cannot be made to call a tool.")
        }
    }
}
