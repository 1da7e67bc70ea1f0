import GatewayCore
import Wire

/// What the access log says about one request: one JSON object on one line, members always in the same order.
///
/// Prompts, answers, credentials and user agents are never in it. Names and units are in docs/telemetry.md. Texts are
/// not in the record but passed to ``append``, because keeping one would cost more than writing it.
/// - Cost: no allocation; about 100 ns.
package struct AccessRecord {
    /// When the request's head was complete.
    package var time: WallTime
    /// Why the credential was refused, if it was.
    package var tokenProblem: TokenProblem?
    package var method: StaticString
    /// What was asked for, from a fixed list such as `chat_completions`; never the URL.
    package var path: StaticString
    package var hasSession = false
    package var isStream = false
    /// 0 when nothing was sent.
    package var status = 0
    package var outcome = Outcome.ok
    package var attempts = 0
    package var resumes = 0
    /// How the stream was continued to its end.
    package var resumedBy: ResumeResult?
    package var usage: Usage?
    package var bytesIn = 0
    package var bytesOut = 0
    package var timeToFirstToken: Interval?
    package var duration: Interval = .zero
    package var queueWait: Interval = .zero
    /// The part of the time that was no replica's, where one was asked.
    package var overhead: Interval?

    package init(time: WallTime, method: StaticString, path: StaticString) {
        self.time = time
        self.method = method
        self.path = path
    }

    /// More than the longest line there can be: every byte of every text escaped as six.
    static let lineBytesMax = 12_288

    /// Appends the line with its line feed.
    ///
    /// - Parameter timestamp: belongs to the log, so that it keeps the second between lines.
    /// - Parameter requestID: cut at 128 bytes, as the model is: the client may have chosen them.
    /// - Parameter model: as the client wrote it; empty for null.
    /// - Parameter principal: ``Principal/id``; as JSON; `null` before authentication.
    /// - Parameter fallback: the model that was asked instead of the one that the client named.
    /// - Parameter replica: the one that sent the end of the answer, or the last one tried.
    /// - Parameter client: the peer's address without its port, or what a trusted proxy named.
    package func append(
        to out: inout ByteWriter, timestamp: inout TimestampText, requestID: Span<UInt8>, model: Span<UInt8>,
        principal: Span<UInt8>, pool: LogText?, fallback: LogText?, replica: LogText?, client: LogText
    ) {
        out.append(upTo: Self.lineBytesMax) { line in
            line.put("{\"time\":\"")
            timestamp.put(time, on: &line)
            line.put("\",\"id\":")
            line.put(quoted: requestID, limit: 128)
            line.put(",\"principal\":")
            line.put(principal)
            if let tokenProblem {
                line.put(",\"token_problem\":")
                line.put(quoted: tokenProblem.label)
            }
            line.put(",\"method\":\"")
            line.put(method)
            line.put("\",\"path\":\"")
            line.put(path)
            line.put("\",\"model\":")
            if model.isEmpty { line.put("null") } else { line.put(quoted: model, limit: 128) }
            line.put(",\"pool\":")
            line.put(pool)
            putAnswer(fallback, replica, on: &line)
            putNumbers(on: &line)
            line.put(",\"client\":")
            line.put(client)
            line.put("}\n")
        }
    }

    /// What came of it, and by whom. Most requests are plain and answered by the first replica: one literal each.
    @inline(__always)
    private func putAnswer(_ fallback: LogText?, _ replica: LogText?, on line: inout ByteCursor) {
        if fallback == nil, !hasSession, !isStream, status == 200, outcome == .ok {
            line.put(
                ",\"fallback\":null,\"session\":false,\"stream\":false,\"status\":200,\"outcome\":\"ok\",\"replica\":")
        } else {
            line.put(",\"fallback\":")
            line.put(fallback)
            if hasSession { line.put(",\"session\":true") } else { line.put(",\"session\":false") }
            if isStream { line.put(",\"stream\":true") } else { line.put(",\"stream\":false") }
            line.put(",\"status\":")
            line.put(decimal: status)
            line.put(",\"outcome\":")
            line.put(quoted: outcome.label)
            line.put(",\"replica\":")
        }
        line.put(replica)
        if attempts == 1, resumes == 0, resumedBy == nil {
            line.put(",\"attempts\":1,\"resumes\":0,\"resumed_by\":null")
        } else {
            line.put(",\"attempts\":")
            line.put(decimal: attempts)
            line.put(",\"resumes\":")
            line.put(decimal: resumes)
            line.put(",\"resumed_by\":")
            if let resumedBy { line.put(quoted: resumedBy.label) } else { line.put("null") }
        }
    }

    @inline(__always)
    private func putNumbers(on line: inout ByteCursor) {
        if let usage {
            line.put(",\"prompt_tokens\":")
            line.put(decimal: usage.promptTokens)
            line.put(",\"completion_tokens\":")
            line.put(decimal: usage.completionTokens)
        } else {
            line.put(",\"prompt_tokens\":null,\"completion_tokens\":null")
        }
        line.put(",\"bytes_in\":")
        line.put(decimal: bytesIn)
        line.put(",\"bytes_out\":")
        line.put(decimal: bytesOut)
        line.put(",\"ttft_ms\":")
        if let timeToFirstToken { line.put(milliseconds: timeToFirstToken.nanoseconds) } else { line.put("null") }
        line.put(",\"duration_ms\":")
        line.put(milliseconds: duration.nanoseconds)
        line.put(",\"queue_ms\":")
        if queueWait == .zero { line.put("0.000") } else { line.put(milliseconds: queueWait.nanoseconds) }
        line.put(",\"overhead_ms\":")
        line.put(milliseconds: overhead?.nanoseconds ?? 0)
    }
}
