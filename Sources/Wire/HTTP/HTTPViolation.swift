import GatewayCore

/// Every way in which bytes fail to be the HTTP/1.1 that is accepted here; docs/http.md has them with their sources.
///
/// The framing of what follows is unknown then, so the connection is closed.
package enum HTTPViolation: UInt8, Error, Equatable, Sendable, CaseIterable {
    // Lines.
    case bareCarriageReturn, bareLineFeed, controlByte, emptyLines
    // The request line.
    case requestLine, requestLineTooLong, method, connectMethod
    case target, targetForm, asteriskTarget, userinfo
    case version, unsupportedVersion, http2Preface
    // Fields.
    case headTooLarge, tooManyFields
    case foldedField, missingColon, spaceBeforeColon, emptyFieldName, fieldName, underscoredFieldName, duplicateField
    case missingHost, host, connectionOptions, protectedConnectionOption, expectation
    // Framing.
    case contentLength, duplicateContentLength, transferCoding, duplicateTransferEncoding, lengthAndTransferEncoding
    case transferEncodingInHTTP10
    // Replies.
    case statusLine, statusLineTooLong, status, switchingProtocols, bodyOnBodilessStatus, interimReplies
    // Chunks.
    case chunkSize, chunkExtension, chunkExtensionsTooLong, chunkEnd, trailer, trailersTooLarge

    /// What the answer to such a request is.
    ///
    /// Source: RFC 9110 §15.5, §15.6; RFC 6585 §5.
    package var status: Int {
        switch self {
        case .requestLineTooLong: 414
        case .expectation: 417
        case .headTooLarge, .tooManyFields, .trailersTooLarge: 431
        case .connectMethod, .transferCoding: 501
        case .unsupportedVersion, .http2Preface: 505
        default: 400
        }
    }

    package var gatewayError: GatewayError {
        switch self {
        case .requestLineTooLong: .targetTooLong
        case .expectation: .unsupportedHTTP(.expectation, reason: reason)
        case .connectMethod, .transferCoding: .unsupportedHTTP(.codingOrMethod, reason: reason)
        case .unsupportedVersion, .http2Preface: .unsupportedHTTP(.version, reason: reason)
        case .headTooLarge, .tooManyFields, .trailersTooLarge: .headTooLarge
        default: .malformedRequest(reason: reason)
        }
    }

    /// A clause in lower case, without a full stop; says nothing that the peer sent.
    package var reason: String {
        switch self {
        case .bareCarriageReturn: "a carriage return without a line feed"
        case .bareLineFeed: "a line feed without a carriage return"
        case .controlByte: "a control byte in the head"
        case .emptyLines: "too many empty lines before the request line"
        case .requestLine: "the request line is not a method, a target and a version with one space between them"
        case .requestLineTooLong: "the request line is too long"
        case .method: "the method is not a token"
        case .connectMethod: "CONNECT is not supported"
        case .target: "the request target has a byte that a URL can't have"
        case .targetForm: "the request target is neither a path nor an http URL"
        case .asteriskTarget: "only OPTIONS may have the target *"
        case .userinfo: "the request target has user information"
        case .version: "the version is not well-formed"
        case .unsupportedVersion: "only HTTP/1.0 and HTTP/1.1 are supported"
        case .http2Preface: "HTTP/2 is not supported on this port"
        case .headTooLarge: "the head is too large"
        case .tooManyFields: "the head has too many fields"
        case .foldedField: "a field is folded over several lines"
        case .missingColon: "a field line has no colon"
        case .spaceBeforeColon: "white space stands before a field's colon"
        case .emptyFieldName: "a field has no name"
        case .fieldName: "a field's name is not a token"
        case .underscoredFieldName: "a field's name would be a known one if _ were read as -"
        case .duplicateField: "a field stands twice that may stand once"
        case .missingHost: "there is no Host"
        case .host: "the Host is not a name or an address with an optional port"
        case .connectionOptions: "Connection is not a list of at most 32 tokens"
        case .protectedConnectionOption: "Connection names a field that is meant for more than this connection"
        case .expectation: "only the expectation 100-continue is supported"
        case .contentLength: "Content-Length is not a number up to 2^53"
        case .duplicateContentLength: "Content-Length stands twice"
        case .transferCoding: "only the transfer coding chunked is supported"
        case .duplicateTransferEncoding: "Transfer-Encoding stands twice"
        case .lengthAndTransferEncoding: "both Content-Length and Transfer-Encoding are there"
        case .transferEncodingInHTTP10: "HTTP/1.0 has no Transfer-Encoding"
        case .statusLine: "the status line is not a version, a status and a reason"
        case .statusLineTooLong: "the status line is too long"
        case .status: "the status is not between 100 and 599"
        case .switchingProtocols: "the protocol was switched without being asked"
        case .bodyOnBodilessStatus: "a reply that has no body announces one"
        case .interimReplies: "too many interim replies"
        case .chunkSize: "a chunk's size is not a hexadecimal number up to 2^53"
        case .chunkExtension: "a chunk's extension is malformed"
        case .chunkExtensionsTooLong: "the chunk extensions are too long"
        case .chunkEnd: "a chunk does not end where its size says"
        case .trailer: "a trailer field is malformed"
        case .trailersTooLarge: "the trailer fields are too large"
        }
    }
}
