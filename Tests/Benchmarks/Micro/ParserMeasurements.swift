import Wire

/// What every request and every event passes through.
func parserMeasurements() -> [Measurement] {
    let request = Array(
        ("POST /v1/chat/completions HTTP/1.1\r\nHost: weir.example:8080\r\nAccept-Encoding: gzip, deflate\r\n"
            + "Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
            + "User-Agent: OpenAI/Python 3.52.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Async: false\r\n"
            + "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0.eyJpc3MiOiJiZW5jaCJ9.c2ln\r\n"
            + "X-Stainless-Retry-Count: 0\r\nContent-Length: 1024\r\n\r\n").utf8)
    let reply = Array(
        ("HTTP/1.1 200 OK\r\ndate: Sat, 01 Jan 2028 00:00:00 GMT\r\nserver: uvicorn\r\n"
            + "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n").utf8)
    let text = (0..<20).reduce(into: "") { text, _ in text += "the quick brown fox jumps over a lazy dog " }
    let body = Array(
        (#"{"model":"m","messages":[{"role":"system","content":"You are brief."},{"role":"user","content":""# + text
            + #""}],"temperature":0.7,"max_tokens":256,"stream":true}"#).utf8)
    let event = Array(
        (#"data: {"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,"model":"m","#
            + #""choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}"# + "\n\n").utf8)
    let chunk = Array(event.dropFirst(6).dropLast(2))
    let framed = Array("\(String(event.count, radix: 16))\r\n".utf8) + event + [13, 10]
    let limits = HeadLimits(headBytes: 32_768, requestLineBytes: 8_192, fields: 100)
    let chunkLimits = ChunkedDecoder.Limits(extensionBytes: 1_024, trailerBytes: 8_192, trailerFields: 32)
    let requestHead = RequestHead()
    let replyHead = ReplyHead()
    return [
        .of("request head, \(request.count) bytes, 12 fields") { _ in
            (try? requestHead.parse(request.span, from: 0, limits: limits)) == nil ? 0 : requestHead.fields.count
        },
        .of("reply head, \(reply.count) bytes, 4 fields") { _ in
            (try? replyHead.parse(reply.span, from: 0, limits: limits, requestMethod: .post)) == nil
                ? 0 : replyHead.fields.count
        },
        .of("chat body, \(body.count) bytes") { _ in
            (try? ChatRequest.read(body.span, kind: .chat))?.messages.count ?? 0
        },
        .of("a chunk's framing, \(framed.count) bytes") { _ in
            var decoder = ChunkedDecoder(limits: chunkLimits)
            var offset = 0
            while let piece = try? decoder.next(framed.span, at: &offset), piece != .needMore {}
            return offset
        },
        .of("finding an event, \(event.count) bytes") { _ in
            var scanner = SSEScanner(limit: 65_536)
            var at = 0
            _ = scanner.next(event.span, at: &at)
            return at
        },
        .of("reading an event's chunk, \(chunk.count) bytes") { _ in
            (try? ChatChunk.read(chunk.span))?.choiceCount ?? 0
        },
    ]
}
