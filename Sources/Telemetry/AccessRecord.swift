import GatewayCore
import Wire

/// What the access log says about one request: one JSON object on one line, members always in the same order.
///
/// Prompts, answers, credentials and user agents are never in it. Names and units are in docs/telemetry.md. Texts are
/// not in the record but passed to ``LineBuffer`` with it, because keeping one would cost more than writing it.
///
/// An object that a loop fills for each request anew, because a struct of that size would be copied for everybody who
/// reads it.
/// - Cost: no allocation; about 100 ns.
package final class AccessRecord {
    /// When the request's head was complete.
    package var time = WallTime(secondsSinceEpoch: 0)
    /// Why the credential was refused, if it was.
    package var tokenProblem: TokenProblem?
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

    package init() {}

    /// More than the longest line there can be: every byte of every text escaped as six.
    static let lineBytesMax = 12_288

    /// Appends the line with its line feed.
    ///
    /// - Parameter timestamp: belongs to the log, so that it keeps the second between lines.
    /// - Parameter requestID: at most 128 letters, digits and `._-`: what stands for itself in JSON.
    /// - Parameter principal: ``Principal/id`` as JSON; `null` before authentication.
    /// - Parameter request: ``LogText/init(method:path:model:)``.
    /// - Parameter fallback: the model that was asked instead of the one that the client named.
    /// - Parameter replica: the one that sent the end of the answer, or the last one tried.
    /// - Parameter client: the peer's address without its port, or what a trusted proxy named; as JSON.
    @inline(__always)
    func append(
        to out: inout ByteWriter, timestamp: inout TimestampText, requestID: Span<UInt8>,
        principal: Span<UInt8>, request: LogText, fallback: LogText?, replica: LogText, client: Span<UInt8>
    ) {
        out.append(upTo: Self.lineBytesMax) { line in
            line.put(upTo: 48) { run in
                run.put("{\"time\":\"")
                timestamp.put(time, on: &run)
                run.put("\",\"id\":\"")
            }
            line.put(requestID)
            line.put("\",\"principal\":")
            line.put(principal)
            if let tokenProblem {
                line.put(",\"token_problem\":")
                line.put(quoted: tokenProblem.label)
            }
            line.put(request.json)
            putAnswer(fallback, on: &line)
            line.put(replica.json)
            putAttempts(on: &line)
            // The names have 126 bytes together, eight numbers 148 at most.
            line.put(upTo: 288) { putNumbers(on: &$0) }
            line.put(client)
            line.put("}\n")
        }
    }

    /// What came of it, and by whom. Most requests are plain and answered by the first replica: one literal each.
    @inline(__always)
    private func putAnswer(_ fallback: LogText?, on line: inout ByteCursor) {
        if fallback == nil, !hasSession, !isStream, status == 200, outcome == .ok {
            line.put(
                ",\"fallback\":null,\"session\":false,\"stream\":false,\"status\":200,\"outcome\":\"ok\",\"replica\":")
        } else {
            line.put(",\"fallback\":")
            if let fallback { line.put(fallback.json) } else { line.put("null") }
            if hasSession { line.put(",\"session\":true") } else { line.put(",\"session\":false") }
            if isStream { line.put(",\"stream\":true") } else { line.put(",\"stream\":false") }
            line.put(",\"status\":")
            line.put(decimal: status)
            line.put(",\"outcome\":")
            line.put(quoted: outcome.label)
            line.put(",\"replica\":")
        }
    }

    @inline(__always)
    private func putAttempts(on line: inout ByteCursor) {
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
    private func putNumbers(on run: inout ByteRun) {
        if let usage {
            run.put(",\"prompt_tokens\":")
            run.put(decimal: usage.promptTokens)
            run.put(",\"completion_tokens\":")
            run.put(decimal: usage.completionTokens)
        } else {
            run.put(",\"prompt_tokens\":null,\"completion_tokens\":null")
        }
        run.put(",\"bytes_in\":")
        run.put(decimal: bytesIn)
        run.put(",\"bytes_out\":")
        run.put(decimal: bytesOut)
        run.put(",\"ttft_ms\":")
        if let timeToFirstToken { run.put(milliseconds: timeToFirstToken.nanoseconds) } else { run.put("null") }
        run.put(",\"duration_ms\":")
        run.put(milliseconds: duration.nanoseconds)
        run.put(",\"queue_ms\":")
        if queueWait == .zero { run.put("0.000") } else { run.put(milliseconds: queueWait.nanoseconds) }
        run.put(",\"overhead_ms\":")
        run.put(milliseconds: overhead?.nanoseconds ?? 0)
        run.put(",\"client\":")
    }
}
