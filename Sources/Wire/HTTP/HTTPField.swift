/// One field line of a head.
public struct HTTPField: Equatable, BitwiseCopyable, Sendable {
    /// As it was sent: its case is kept.
    public var name: ByteRange
    /// Without white space around it; may be empty. Holds no control bytes but HTAB; bytes above 0x7F are opaque.
    public var value: ByteRange
    public var id: FieldID
    /// `Connection` lists this name, so the field ends here: it must not be forwarded.
    public var isNamedByConnection = false

    init(name: ByteRange, value: ByteRange, id: FieldID) {
        self.name = name
        self.value = value
        self.id = id
    }
}

/// The fields that the gateway reads, edits or withholds; every other name is ``other``.
///
/// At most 64 cases: sets of them are one word.
public enum FieldID: UInt8, BitwiseCopyable, Sendable, CaseIterable {
    // This connection only.
    case connection, keepAlive, proxyConnection, te, trailer, transferEncoding, upgrade, http2Settings
    case proxyAuthorization, proxyAuthenticate
    // The request and its body.
    case host, expect, contentLength, contentType, contentEncoding, accept, acceptEncoding, userAgent
    case authorization, cookie, origin, accessControlRequestMethod, accessControlRequestHeaders, lastEventID
    // Who it came through.
    case xForwardedFor, xForwardedProto, xForwardedHost, xForwardedPort, xRealIP, forwarded, via
    // What the gateway does with it.
    case xRequestID, xSessionID, xSessionDegraded, idempotencyKey, xStainlessRetryCount, traceparent, tracestate
    /// Any name that begins with `x-ratelimit-`.
    case xRateLimit
    /// Any name that begins with `x-weir-`.
    case xWeir
    // Replies.
    case retryAfter, retryAfterMs, xShouldRetry, server, date, setCookie, location, wwwAuthenticate, cacheControl
    case other

    /// In lower case; empty for ``other`` and for the two that stand for many names.
    package var name: StaticString {
        switch self {
        case .connection: "connection"
        case .keepAlive: "keep-alive"
        case .proxyConnection: "proxy-connection"
        case .te: "te"
        case .trailer: "trailer"
        case .transferEncoding: "transfer-encoding"
        case .upgrade: "upgrade"
        case .http2Settings: "http2-settings"
        case .proxyAuthorization: "proxy-authorization"
        case .proxyAuthenticate: "proxy-authenticate"
        case .host: "host"
        case .expect: "expect"
        case .contentLength: "content-length"
        case .contentType: "content-type"
        case .contentEncoding: "content-encoding"
        case .accept: "accept"
        case .acceptEncoding: "accept-encoding"
        case .userAgent: "user-agent"
        case .authorization: "authorization"
        case .cookie: "cookie"
        case .origin: "origin"
        case .accessControlRequestMethod: "access-control-request-method"
        case .accessControlRequestHeaders: "access-control-request-headers"
        case .lastEventID: "last-event-id"
        case .xForwardedFor: "x-forwarded-for"
        case .xForwardedProto: "x-forwarded-proto"
        case .xForwardedHost: "x-forwarded-host"
        case .xForwardedPort: "x-forwarded-port"
        case .xRealIP: "x-real-ip"
        case .forwarded: "forwarded"
        case .via: "via"
        case .xRequestID: "x-request-id"
        case .xSessionID: "x-session-id"
        case .xSessionDegraded: "x-session-degraded"
        case .idempotencyKey: "idempotency-key"
        case .xStainlessRetryCount: "x-stainless-retry-count"
        case .traceparent: "traceparent"
        case .tracestate: "tracestate"
        case .retryAfter: "retry-after"
        case .retryAfterMs: "retry-after-ms"
        case .xShouldRetry: "x-should-retry"
        case .server: "server"
        case .date: "date"
        case .setCookie: "set-cookie"
        case .location: "location"
        case .wwwAuthenticate: "www-authenticate"
        case .cacheControl: "cache-control"
        case .xRateLimit, .xWeir, .other: ""
        }
    }

    /// Meant for this connection only, whether `Connection` lists it or not.
    ///
    /// Source: RFC 9110 §7.6.1.
    public var isHopByHop: Bool { rawValue <= FieldID.proxyAuthenticate.rawValue }
}
