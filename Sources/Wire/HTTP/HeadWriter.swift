/// Writing heads and chunks. No value can end its line early: a control byte in it becomes a space.
extension ByteWriter {
    /// `HTTP/1.1 200 OK` and the line end.
    ///
    /// - Precondition: `status` is between 100 and 999.
    package mutating func appendStatusLine(_ status: Int) {
        if status == 200 { return append("HTTP/1.1 200 OK\r\n") }
        precondition((100...999).contains(status))
        append("HTTP/1.1 ")
        append(decimal: status)
        append(0x20)
        append(Self.reasonPhrase(status))
        appendLineEnd()
    }

    package mutating func appendField(_ name: StaticString, _ value: StaticString) {
        append(name)
        append(": ")
        append(value)
        appendLineEnd()
    }

    package mutating func appendField(_ name: StaticString, _ value: String) {
        append(name)
        append(": ")
        var value = value
        value.withUTF8 { appendValue($0.span) }
        appendLineEnd()
    }

    package mutating func appendField(_ name: StaticString, _ value: borrowing Span<UInt8>) {
        append(name)
        append(": ")
        appendValue(value)
        appendLineEnd()
    }

    package mutating func appendField(_ name: StaticString, decimal value: Int) {
        append(name)
        append(": ")
        append(decimal: value)
        appendLineEnd()
    }

    /// A field of a parsed head, with the name as it was sent.
    package mutating func appendField(_ field: HTTPField, of bytes: borrowing Span<UInt8>) {
        append(upTo: Int(field.name.count) + Int(field.value.count) + 4) { line in
            if Int(field.value.start) == field.name.end + 2, bytes[field.name.end + 1] == 0x20 {
                // As most are written: in one piece.
                line.put(bytes.extracting(Int(field.name.start)..<field.value.end))
            } else {
                line.put(bytes.extracting(field.name))
                line.put(": ")
                line.put(bytes.extracting(field.value))
            }
            line.put("\r\n")
        }
    }

    package mutating func appendContentLength(_ length: Int) {
        appendField("content-length", decimal: length)
    }

    /// The empty line behind the fields.
    package mutating func appendHeadEnd() { appendLineEnd() }

    package mutating func appendLineEnd() { append("\r\n") }

    // MARK: Chunks

    /// The size line of a chunk; its `count` bytes and ``appendChunkEnd()`` must follow.
    ///
    /// - Precondition: `count > 0`: an empty chunk would end the body.
    package mutating func appendChunkStart(_ count: Int) {
        precondition(count > 0)
        append(hex: UInt64(count))
        appendLineEnd()
    }

    package mutating func appendChunkEnd() { appendLineEnd() }

    /// The end of a chunked body, without trailer fields.
    package mutating func appendLastChunk() { append("0\r\n\r\n") }

    // MARK: Parts

    /// `value` with every control byte but HTAB turned into a space.
    private mutating func appendValue(_ value: borrowing Span<UInt8>) {
        var start = 0
        while start < value.count {
            let control = value.firstControl(from: start, to: value.count)
            append(value.extracting(start..<control))
            if control < value.count { append(0x20) }
            start = control + 1
        }
    }

    /// Source: RFC 9110 §15; RFC 6585 for 428 to 431; RFC 8297 for 103. nginx for 499.
    static func reasonPhrase(_ status: Int) -> StaticString {
        switch status {
        case 100: "Continue"
        case 103: "Early Hints"
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 206: "Partial Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 402: "Payment Required"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 406: "Not Acceptable"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 410: "Gone"
        case 411: "Length Required"
        case 412: "Precondition Failed"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 415: "Unsupported Media Type"
        case 416: "Range Not Satisfiable"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 422: "Unprocessable Content"
        case 426: "Upgrade Required"
        case 428: "Precondition Required"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 499: "Client Closed Request"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: ""
        }
    }
}

/// Chunks whose size is known only when they are full: room is left in front, and the size line put right before the
/// bytes.
extension ByteWriter {
    /// Bytes that ``openChunk()`` leaves free: a size below 2^32 and its line end.
    private static var chunkStartMax: Int { 10 }

    /// Leaves room for a size line. - Returns: what ``closeChunk(_:)`` wants.
    package mutating func openChunk() -> Int {
        append("          ")
        return count
    }

    /// Frames the bytes since `start` as one chunk. - Returns: where the chunk begins.
    ///
    /// - Precondition: there are bytes, fewer than 2^32, and `start` came from ``openChunk()``.
    package mutating func closeChunk(_ start: Int) -> Int {
        var size = count - start
        precondition(size > 0 && size >> 32 == 0 && start >= Self.chunkStartMax)
        appendLineEnd()
        var at = start - 2
        overwrite(at: at, with: 0x0D)
        overwrite(at: at + 1, with: 0x0A)
        repeat {
            at -= 1
            let digit = UInt8(truncatingIfNeeded: size & 15)
            overwrite(at: at, with: digit < 10 ? 0x30 + digit : 0x57 + digit)
            size >>= 4
        } while size > 0
        return at
    }
}
