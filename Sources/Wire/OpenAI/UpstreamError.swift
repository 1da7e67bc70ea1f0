/// A replica's error reply in OpenAI's form, fit for the client: strings only, and nothing about our insides.
///
/// vLLM's `code` is an integer and its `type` a class name, llama.cpp has types of its own, FastAPI says `detail`, and
/// proxies say HTML.
package struct UpstreamError: Equatable, Sendable {
    package var message: String
    package var type: String
    package var param: String?
    package var code: String?

    /// Makes sense of an error reply.
    ///
    /// - In: the reply's status and as much of its body as was kept.
    /// - Cost: builds a tree; not for the hot path.
    package static func normalise(status: Int, body: Span<UInt8>) -> UpstreamError {
        let document = try? JSONValue.read(body)
        let error = document.flatMap { $0["error"] }.flatMap { $0.isNull ? nil : $0 } ?? document
        var result = generic(status: status)
        guard let error, result.type != "server_error" else { return result }
        let kind = error["type"]?.string ?? ""
        if let message = message(in: error, of: document), isPresentable(message) { result.message = message }
        if let param = error["param"]?.string, isPresentable(param), param.utf8.count <= 128 { result.param = param }
        if let code = error["code"]?.string, isCode(code) { result.code = code }
        if let place = validationPlace(document) { result.param = place }
        if isContextLength(kind, result) {
            result.code = "context_length_exceeded"
            result.param = result.param ?? "messages"
        }
        return result
    }

    /// Whether the words of an error reply blame the continuation of a message, so that the replica would refuse every
    /// such request: vLLM, SGLang and llama.cpp, and what checks bodies strictly.
    package static func blamesPrefill(_ body: Span<UInt8>) -> Bool {
        let words = body.text.lowercased()
        return ["continue_final_message", "add_generation_prompt", "prefill", "prefix", "final message", "last message"]
            .contains { words.contains($0) }
    }

    /// What is said when the reply says nothing that a client may see.
    static func generic(status: Int) -> UpstreamError {
        func refused(_ message: String, code: String? = nil) -> UpstreamError {
            UpstreamError(message: message, type: "invalid_request_error", param: nil, code: code)
        }
        switch status {
        case 404: return refused("The model or the resource does not exist.", code: "model_not_found")
        case 408: return refused("The request took too long.")
        case 413: return refused("The request is too large.", code: "request_too_large")
        case 429:
            return UpstreamError(
                message: "The model is overloaded; please try again.", type: "requests", param: nil,
                code: "rate_limit_exceeded")
        case 400, 402, 405..<500: return refused("The model refused the request.")
        case 503:
            return UpstreamError(
                message: "The model is not available now.", type: "server_error", param: nil, code: "overloaded")
        default:
            // 401 and 403 too: what was refused is the gateway's own credential.
            return UpstreamError(message: "The model failed.", type: "server_error", param: nil, code: nil)
        }
    }

    /// The message, wherever this engine puts it.
    private static func message(in error: JSONValue, of document: JSONValue?) -> String? {
        if let text = error.string ?? error["message"]?.string { return text }
        guard let detail = document?["detail"] else { return nil }
        if let text = detail.string { return text }
        return detail.array?.first?["msg"]?.string
    }

    /// FastAPI's `{"detail":[{"loc":["body","messages",0,"role"],"msg":"…"}]}` as a path.
    private static func validationPlace(_ document: JSONValue?) -> String? {
        guard let steps = document?["detail"]?.array?.first?["loc"]?.array else { return nil }
        var path = ""
        for step in steps.prefix(8) {
            if let index = step.int {
                path += "[\(index)]"
            } else if let name = step.string, name != "body" {
                path += path.isEmpty ? name : ".\(name)"
            }
        }
        return path.isEmpty || path.utf8.count > 128 || !isPresentable(path) ? nil : path
    }

    private static func isContextLength(_ kind: String, _ error: UpstreamError) -> Bool {
        kind == "exceed_context_size_error" || error.code == "context_length_exceeded"
            || error.message.contains("maximum context length") || error.message.contains("context size")
    }

    /// A word such as `context_length_exceeded`.
    private static func isCode(_ code: String) -> Bool {
        !code.isEmpty && code.utf8.count <= 64
            && code.utf8.allSatisfy { byte in
                byte &- UInt8(ascii: "a") < 26 || byte == UInt8(ascii: "_") || byte &- UInt8(ascii: "0") < 10
            } && !code.utf8.allSatisfy { $0 &- UInt8(ascii: "0") < 10 }
    }

    /// Whether a client may read `text`: no markup, no trace, no address, no path of a replica's.
    static func isPresentable(_ text: String) -> Bool {
        guard !text.isEmpty, text.utf8.count <= 2_000, text.first != "<" else { return false }
        for word in internalWords where text.contains(word) { return false }
        return !containsAddress(text)
    }

    private static let internalWords = [
        "://", "Traceback", ".py", ".cpp", ".so", "localhost", "/usr/", "/opt/", "/home/", "/var/", "[::",
    ]

    /// An IPv4 address, a name with a port, or a pointer.
    private static func containsAddress(_ text: String) -> Bool {
        var groups = 0
        var digits = 0
        var isPort = false
        var previous: UInt8 = 0
        for byte in text.utf8 {
            if byte &- UInt8(ascii: "0") < 10 {
                digits += 1
                if digits == 1 { isPort = previous == UInt8(ascii: ":") }
                if groups == 3 || isPort && digits == 4 { return true }
            } else {
                if byte == UInt8(ascii: "x"), previous == UInt8(ascii: "0"), digits == 1 { return true }
                let endsGroup = byte == UInt8(ascii: ".") && digits > 0 && digits <= 3
                groups = endsGroup ? groups + 1 : 0
                digits = 0
            }
            previous = byte
        }
        return false
    }
}
