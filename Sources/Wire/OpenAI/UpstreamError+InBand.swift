// An error that came with a 200.

extension UpstreamError {
    /// The 4xx status that an error inside a 200 should have had, if the request is to blame for it: another replica
    /// would say the same. `nil` for everything else: the replica failed.
    ///
    /// - In: an error event's data, or a whole reply: `{"error":{…}}` or what `error` holds.
    /// - Cost: builds a tree; not for the hot path.
    package static func statusOfRefusal(inBand data: Span<UInt8>) -> Int? {
        guard let document = try? JSONValue.read(data) else { return nil }
        let error = document["error"].flatMap { $0.isNull ? nil : $0 } ?? document
        if let code = error["code"]?.int { return [400, 413, 422].contains(code) ? code : nil }
        let words = [error["code"]?.string, error["type"]?.string]
        return words.contains { $0.map(refusals.contains) ?? false } ? 400 : nil
    }

    private static let refusals: Set<String> = [
        "context_length_exceeded", "exceed_context_size_error", "content_policy_violation", "content_filter",
        "invalid_request_error", "BadRequestError",
    ]
}
