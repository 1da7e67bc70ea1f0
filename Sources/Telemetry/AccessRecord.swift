import GatewayCore
import Wire

/// What the access log says about one request: one JSON object on one line, members always in the same order.
///
/// Prompts, answers, credentials and user agents are never in it. Names and units are in docs/telemetry.md. What the
/// client chose (request id, model) is passed to ``append(to:timestamp:requestID:model:)`` as bytes and cut at 128.
/// - Cost: no allocation for ASCII; about 200 ns.
package struct AccessRecord {
    /// When the request's head was complete.
    package var time: WallTime
    /// ``Principal/id``; `nil` before authentication.
    package var principal: String?
    /// Why the credential was refused, if it was.
    package var tokenProblem: TokenProblem?
    package var method: StaticString
    /// What was asked for, from a fixed list such as `chat_completions`; never the URL.
    package var path: StaticString
    package var pool: String?
    package var hasSession = false
    package var isStream = false
    /// 0 when nothing was sent.
    package var status = 0
    package var outcome = Outcome.ok
    /// The replica that sent the end of the answer, or the last one tried.
    package var replica: String?
    package var attempts = 0
    package var resumes = 0
    package var usage: Usage?
    package var bytesIn = 0
    package var bytesOut = 0
    package var timeToFirstToken: Interval?
    package var duration: Interval = .zero
    package var queueWait: Interval = .zero
    package var overhead: Interval = .zero
    /// The peer's address without its port, or what a trusted proxy named.
    package var client: String

    package init(time: WallTime, method: StaticString, path: StaticString, client: String) {
        self.time = time
        self.method = method
        self.path = path
        self.client = client
    }

    /// Appends the line with its line feed. `timestamp` belongs to the log, so that it keeps the second between lines.
    package func append(
        to out: inout ByteWriter, timestamp: inout TimestampText, requestID: Span<UInt8>, model: Span<UInt8>
    ) {
        out.reserve(640)
        out.append("{\"time\":\"")
        timestamp.append(time, to: &out)
        out.append("\",\"id\":")
        out.append(quoted: requestID, limit: 128)
        out.append(",\"principal\":")
        Self.append(principal, to: &out)
        if let tokenProblem {
            out.append(",\"token_problem\":\"")
            out.append(tokenProblem.label)
            out.append(0x22)
        }
        out.append(",\"method\":\"")
        out.append(method)
        out.append("\",\"path\":\"")
        out.append(path)
        out.append("\",\"model\":")
        if model.isEmpty { out.append("null") } else { out.append(quoted: model, limit: 128) }
        out.append(",\"pool\":")
        Self.append(pool, to: &out)
        out.append(hasSession ? ",\"session\":true" : ",\"session\":false")
        out.append(isStream ? ",\"stream\":true" : ",\"stream\":false")
        out.append(",\"status\":")
        out.append(decimal: status)
        out.append(",\"outcome\":\"")
        out.append(outcome.label)
        out.append("\",\"replica\":")
        Self.append(replica, to: &out)
        appendNumbers(to: &out)
        out.append(",\"client\":")
        out.append(quoted: client, limit: 64)
        out.append("}\n")
    }

    private func appendNumbers(to out: inout ByteWriter) {
        out.append(",\"attempts\":")
        out.append(decimal: attempts)
        out.append(",\"resumes\":")
        out.append(decimal: resumes)
        if let usage {
            out.append(",\"prompt_tokens\":")
            out.append(decimal: usage.promptTokens)
            out.append(",\"completion_tokens\":")
            out.append(decimal: usage.completionTokens)
        } else {
            out.append(",\"prompt_tokens\":null,\"completion_tokens\":null")
        }
        out.append(",\"bytes_in\":")
        out.append(decimal: bytesIn)
        out.append(",\"bytes_out\":")
        out.append(decimal: bytesOut)
        out.append(",\"ttft_ms\":")
        if let timeToFirstToken {
            Self.append(milliseconds: timeToFirstToken, to: &out)
        } else {
            out.append("null")
        }
        out.append(",\"duration_ms\":")
        Self.append(milliseconds: duration, to: &out)
        out.append(",\"queue_ms\":")
        Self.append(milliseconds: queueWait, to: &out)
        out.append(",\"overhead_ms\":")
        Self.append(milliseconds: overhead, to: &out)
    }

    private static func append(_ text: String?, to out: inout ByteWriter) {
        if let text { out.append(quoted: text) } else { out.append("null") }
    }

    /// Milliseconds with three decimals.
    private static func append(milliseconds interval: Interval, to out: inout ByteWriter) {
        let microseconds = max(0, Int(interval.nanoseconds / 1000))
        out.append(decimal: microseconds / 1000)
        let rest = microseconds % 1000
        out.append(0x2E)
        out.append(UInt8(truncatingIfNeeded: 0x30 + rest / 100))
        out.append(UInt8(truncatingIfNeeded: 0x30 + rest / 10 % 10))
        out.append(UInt8(truncatingIfNeeded: 0x30 + rest % 10))
    }
}
