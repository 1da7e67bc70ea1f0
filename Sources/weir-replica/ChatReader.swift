import Engine
import Wire

/// Reads `messages` and what says how they end.
enum ChatReader {
    /// - Throws: ``APIError`` (400).
    static func prompt(_ members: Members) throws(APIError) -> GenerationRequest.Prompt {
        guard let elements = members["messages"]?.array, !elements.isEmpty else {
            throw .invalid("'messages' must be an array with at least one message.", param: "messages")
        }
        var turns: [ChatTurn] = []
        turns.reserveCapacity(elements.count)
        for (index, element) in elements.enumerated() { turns.append(try turn(element, "messages[\(index)]")) }
        return .chat(turns, ending: try ending(members, turns))
    }

    /// What vLLM's two members say together.
    private static func ending(_ members: Members, _ turns: [ChatTurn]) throws(APIError) -> ChatEnding {
        let continues = try members.bool("continue_final_message") ?? false
        let opens = try members.bool("add_generation_prompt") ?? !continues
        guard continues else { return opens ? .newAnswer : .closed }
        guard !opens else {
            throw .invalid(
                "Cannot set both 'continue_final_message' and 'add_generation_prompt' to true.",
                param: "continue_final_message")
        }
        guard turns.last?.role == "assistant" else {
            throw .invalid(
                "'continue_final_message' needs a last message of the assistant.", param: "continue_final_message")
        }
        return .continuation
    }

    private static func turn(_ value: JSONValue, _ place: String) throws(APIError) -> ChatTurn {
        guard value.object != nil, let role = value["role"]?.string else {
            throw .invalid("'\(place)' must be an object with a 'role'.", param: place)
        }
        let known = ["system", "user", "assistant", "tool", "developer", "function"]
        guard known.contains(role) else { throw .invalid("Unknown role at '\(place)'.", param: "\(place).role") }
        let content = try text(value["content"] ?? .null, "\(place).content")
        switch role {
        case "developer": return ChatTurn(role: "system", content: content)
        case "function": return ChatTurn(role: "tool", content: content)
        default: return ChatTurn(role: role, content: content)
        }
    }

    /// Text, or the texts of an array of text parts; nothing for null, which assistants that call tools have.
    private static func text(_ value: JSONValue, _ place: String) throws(APIError) -> String {
        switch value {
        case .string(let text): return text
        case .null: return ""
        case .array(let parts):
            var whole = ""
            for part in parts {
                guard let text = part["text"]?.string ?? part["refusal"]?.string else {
                    throw .unsupported(place, "This model reads text only.")
                }
                whole += text
            }
            return whole
        default:
            throw .invalid("Invalid type for '\(place)': expected a string or an array of parts.", param: place)
        }
    }
}
