/// How a chat template arranges messages: fixed text of the template and, between it, the contents.
///
/// The template is rendered with a mark in place of each content, and the result is cut at the marks. So only the
/// template's own text is read for special tokens: a user who writes `<|im_end|>` writes eight characters and no end.
package struct ChatLayout: Equatable {
    package enum Part: Equatable {
        case template(String)
        case content(String)
    }

    package private(set) var parts: [Part] = []

    /// What to render in place of the content of message `index`. No template trims or looks for it.
    package static func mark(_ index: Int) -> String { "\u{1}weir-content-\(index)\u{1}" }

    /// - In: `rendered`, the template's output for `messages` with marks as contents.
    /// - Out: `nil` if a mark is missing, because the template drops or reorders messages.
    package init?(rendered: String, messages: [ChatTurn], ending: ChatEnding) {
        var rest = rendered.utf8[...]
        for (index, message) in messages.enumerated() {
            guard let found = Self.range(of: Array(Self.mark(index).utf8), in: rest) else { return nil }
            append(.template(String(decoding: rest[..<found.lowerBound], as: UTF8.self)))
            append(.content(message.content))
            rest = rest[found.upperBound...]
        }
        if ending != .continuation {
            append(.template(String(decoding: rest, as: UTF8.self)))
        }
    }

    private mutating func append(_ part: Part) {
        switch part {
        case .template(""), .content(""): break
        default: parts.append(part)
        }
    }

    private static func range(
        of mark: [UInt8], in text: Substring.UTF8View
    ) -> Range<Substring.UTF8View.Index>? {
        var start = text.startIndex
        while let candidate = text[start...].firstIndex(of: mark[0]) {
            if text[candidate...].starts(with: mark) {
                return candidate..<text.index(candidate, offsetBy: mark.count)
            }
            start = text.index(after: candidate)
        }
        return nil
    }
}
