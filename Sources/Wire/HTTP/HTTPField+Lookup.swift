extension FieldID {
    /// The field with the name at `start..<end`, in any case; ``other`` if it is none of ours or not a name.
    ///
    /// - In: bytes without control bytes.
    /// - Cost: a jump by length and one to four comparisons of words.
    static func named(_ bytes: Span<UInt8>, from start: Int, to end: Int) -> FieldID {
        let id = known(bytes, start, end &- start)
        return id == .other ? family(bytes, start, end &- start) : id
    }

    private static func known(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> FieldID {
        switch count {
        case 2: return bytes.holdsIgnoringCase("te", at: start) ? .te : .other
        case 3: return bytes.holdsIgnoringCase("via", at: start) ? .via : .other
        case 4:
            if bytes.holdsIgnoringCase("host", at: start) { return .host }
            return bytes.holdsIgnoringCase("date", at: start) ? .date : .other
        case 6: return ofSix(bytes, start)
        case 7:
            if bytes.holdsIgnoringCase("trailer", at: start) { return .trailer }
            return bytes.holdsIgnoringCase("upgrade", at: start) ? .upgrade : .other
        case 8: return bytes.holdsIgnoringCase("location", at: start) ? .location : .other
        case 9:
            if bytes.holdsIgnoringCase("x-real-ip", at: start) { return .xRealIP }
            return bytes.holdsIgnoringCase("forwarded", at: start) ? .forwarded : .other
        case 10: return ofTen(bytes, start)
        case 11:
            if bytes.holdsIgnoringCase("traceparent", at: start) { return .traceparent }
            return bytes.holdsIgnoringCase("retry-after", at: start) ? .retryAfter : .other
        case 12:
            if bytes.holdsIgnoringCase("content-type", at: start) { return .contentType }
            if bytes.holdsIgnoringCase("x-request-id", at: start) { return .xRequestID }
            return bytes.holdsIgnoringCase("x-session-id", at: start) ? .xSessionID : .other
        case 13:
            if bytes.holdsIgnoringCase("authorization", at: start) { return .authorization }
            if bytes.holdsIgnoringCase("cache-control", at: start) { return .cacheControl }
            return bytes.holdsIgnoringCase("last-event-id", at: start) ? .lastEventID : .other
        case 14: return ofFourteen(bytes, start)
        case 15:
            if bytes.holdsIgnoringCase("accept-encoding", at: start) { return .acceptEncoding }
            if bytes.holdsIgnoringCase("x-forwarded-for", at: start) { return .xForwardedFor }
            return bytes.holdsIgnoringCase("idempotency-key", at: start) ? .idempotencyKey : .other
        case 16: return ofSixteen(bytes, start)
        default: return long(bytes, start, count)
        }
    }

    private static func ofSix(_ bytes: Span<UInt8>, _ start: Int) -> FieldID {
        if bytes.holdsIgnoringCase("accept", at: start) { return .accept }
        if bytes.holdsIgnoringCase("origin", at: start) { return .origin }
        if bytes.holdsIgnoringCase("expect", at: start) { return .expect }
        if bytes.holdsIgnoringCase("cookie", at: start) { return .cookie }
        return bytes.holdsIgnoringCase("server", at: start) ? .server : .other
    }

    private static func ofTen(_ bytes: Span<UInt8>, _ start: Int) -> FieldID {
        if bytes.holdsIgnoringCase("user-agent", at: start) { return .userAgent }
        if bytes.holdsIgnoringCase("connection", at: start) { return .connection }
        if bytes.holdsIgnoringCase("keep-alive", at: start) { return .keepAlive }
        if bytes.holdsIgnoringCase("tracestate", at: start) { return .tracestate }
        if bytes.holdsIgnoringCase("set-cookie", at: start) { return .setCookie }
        return .other
    }

    private static func ofFourteen(_ bytes: Span<UInt8>, _ start: Int) -> FieldID {
        if bytes.holdsIgnoringCase("content-length", at: start) { return .contentLength }
        if bytes.holdsIgnoringCase("http2-settings", at: start) { return .http2Settings }
        if bytes.holdsIgnoringCase("retry-after-ms", at: start) { return .retryAfterMs }
        if bytes.holdsIgnoringCase("x-should-retry", at: start) { return .xShouldRetry }
        return .other
    }

    private static func ofSixteen(_ bytes: Span<UInt8>, _ start: Int) -> FieldID {
        if bytes.holdsIgnoringCase("content-encoding", at: start) { return .contentEncoding }
        if bytes.holdsIgnoringCase("proxy-connection", at: start) { return .proxyConnection }
        if bytes.holdsIgnoringCase("x-forwarded-host", at: start) { return .xForwardedHost }
        if bytes.holdsIgnoringCase("x-forwarded-port", at: start) { return .xForwardedPort }
        if bytes.holdsIgnoringCase("www-authenticate", at: start) { return .wwwAuthenticate }
        return .other
    }

    private static func long(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> FieldID {
        switch count {
        case 17:
            if bytes.holdsIgnoringCase("transfer-encoding", at: start) { return .transferEncoding }
            if bytes.holdsIgnoringCase("x-forwarded-proto", at: start) { return .xForwardedProto }
        case 18:
            if bytes.holdsIgnoringCase("x-session-degraded", at: start) { return .xSessionDegraded }
            if bytes.holdsIgnoringCase("proxy-authenticate", at: start) { return .proxyAuthenticate }
        case 19:
            if bytes.holdsIgnoringCase("proxy-authorization", at: start) { return .proxyAuthorization }
        case 23:
            if bytes.holdsIgnoringCase("x-stainless-retry-count", at: start) { return .xStainlessRetryCount }
        case 29:
            let isIt = bytes.holdsIgnoringCase("access-control-request-method", at: start)
            return isIt ? .accessControlRequestMethod : .other
        case 30:
            let isIt = bytes.holdsIgnoringCase("access-control-request-headers", at: start)
            return isIt ? .accessControlRequestHeaders : .other
        default: break
        }
        return .other
    }

    /// Whether the name belongs to one of the two families that are known by their prefix.
    private static func family(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> FieldID {
        if count >= 12, bytes.holdsIgnoringCase("x-ratelimit-", at: start) { return .xRateLimit }
        if count >= 7, bytes.holdsIgnoringCase("x-weir-", at: start) { return .xWeir }
        return .other
    }

    /// Whether reading `_` as `-` would make the name at `range` one of ours, as CGI and WSGI servers do.
    ///
    /// - Cost: a comparison per known name of that length; only names with `_` come here.
    static func isDisguised(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
        for id in allCases {
            let name = id.name
            if name.utf8CodeUnitCount == range.count, unfolds(bytes, range.lowerBound, name) { return true }
        }
        return unfolds(bytes, range, prefix: "x-ratelimit-") || unfolds(bytes, range, prefix: "x-weir-")
    }

    private static func unfolds(_ bytes: Span<UInt8>, _ range: Range<Int>, prefix: StaticString) -> Bool {
        range.count >= prefix.utf8CodeUnitCount && unfolds(bytes, range.lowerBound, prefix)
    }

    private static func unfolds(_ bytes: Span<UInt8>, _ start: Int, _ name: StaticString) -> Bool {
        var at = 0
        while at < name.utf8CodeUnitCount {
            let byte = bytes.lowercased(at: start + at)
            if (byte == ASCII.underscore ? ASCII.hyphen : byte) != name.utf8Start[at] { return false }
            at += 1
        }
        return true
    }
}
