import CCurl
import Glibc
import Wire

/// What the gateway answered.
struct AdminReply {
    let bytes: [UInt8]
    let value: JSONValue
}

/// Calls the admin API of a gateway on this machine, over its Unix socket.
///
/// - Cost: blocks for one exchange; a reply is at most ``replyBytesMax`` long and ``secondsMax`` away.
struct AdminClient {
    static let replyBytesMax = 64 << 20
    static let secondsMax = 60

    let location: AdminSocket

    func get(_ path: String) throws(CommandFailure) -> AdminReply { try call("GET", path, body: nil) }
    func delete(_ path: String) throws(CommandFailure) -> AdminReply { try call("DELETE", path, body: nil) }

    func post(_ path: String, _ body: [UInt8] = Array("{}".utf8)) throws(CommandFailure) -> AdminReply {
        try call("POST", path, body: body)
    }

    private func call(_ method: String, _ path: String, body: [UInt8]?) throws(CommandFailure) -> AdminReply {
        let socket = try location.path()
        guard let handle = curl_easy_init() else { throw CommandFailure(.software, "libcurl could not start") }
        defer { curl_easy_cleanup(handle) }
        let headers = curl_slist_append(nil, "Content-Type: application/json")
        defer { curl_slist_free_all(headers) }
        let received = ReplyBytes(limit: Self.replyBytesMax)

        weir_curl_set_text(handle, CURLOPT_UNIX_SOCKET_PATH, socket)
        weir_curl_set_text(handle, CURLOPT_URL, "http://localhost/admin/v1/\(path)")
        // A replica may be named `..`.
        weir_curl_set_long(handle, CURLOPT_PATH_AS_IS, 1)
        weir_curl_set_text(handle, CURLOPT_CUSTOMREQUEST, method)
        // Variables such as `http_proxy` are not about a socket of ours.
        weir_curl_set_text(handle, CURLOPT_PROXY, "")
        weir_curl_set_long(handle, CURLOPT_NOSIGNAL, 1)
        weir_curl_set_long(handle, CURLOPT_TIMEOUT, Self.secondsMax)
        weir_curl_set_writer(handle) { bytes, size, count, context in
            guard let bytes, let context else { return 0 }
            let buffer = UnsafeRawBufferPointer(start: bytes, count: size * count)
            return Unmanaged<ReplyBytes>.fromOpaque(context).takeUnretainedValue().append(buffer)
        }
        weir_curl_set_pointer(handle, CURLOPT_WRITEDATA, Unmanaged.passUnretained(received).toOpaque())

        let code = withExtendedLifetime(received) {
            (body ?? []).withUnsafeBytes { bytes in
                if body != nil {
                    weir_curl_set_pointer(handle, CURLOPT_HTTPHEADER, headers)
                    weir_curl_set_long(handle, CURLOPT_POSTFIELDSIZE, bytes.count)
                    // libcurl only reads from it, and only until `perform` returns.
                    weir_curl_set_pointer(
                        handle, CURLOPT_POSTFIELDS, UnsafeMutableRawPointer(mutating: bytes.baseAddress))
                }
                return curl_easy_perform(handle)
            }
        }
        guard code == CURLE_OK else { throw failure(code, socket) }
        var status = 0
        weir_curl_get_long(handle, CURLINFO_RESPONSE_CODE, &status)
        return try reply(status: status, received.bytes)
    }

    private func failure(_ code: CURLcode, _ socket: String) -> CommandFailure {
        let reason = String(cString: curl_easy_strerror(code))
        if code == CURLE_COULDNT_CONNECT {
            return CommandFailure(
                .unavailable,
                access(socket, R_OK | W_OK) == 0
                    ? "no gateway listens on the admin socket \(socket) any more" : location.unreachable(socket))
        }
        if code == CURLE_OPERATION_TIMEDOUT {
            return CommandFailure(
                .unavailable, "the gateway behind \(socket) did not answer within \(Self.secondsMax) s")
        }
        return CommandFailure(.unavailable, "the gateway behind \(socket) broke off: \(reason)")
    }

    /// - Throws: `.problem` with the gateway's own message for a refusal, `.software` for what can't be understood.
    private func reply(status: Int, _ bytes: [UInt8]) throws(CommandFailure) -> AdminReply {
        let value = try? JSONValue.read(bytes.span)
        if (200..<300).contains(status), let value { return AdminReply(bytes: bytes, value: value) }
        guard let message = value?["error"]?["message"]?.string else {
            throw CommandFailure(.software, "the gateway answered \(status) with something that is no JSON of ours")
        }
        throw CommandFailure(status >= 500 && status != 503 ? .software : .problem, message)
    }
}

/// What libcurl hands over, piece by piece.
private final class ReplyBytes {
    private(set) var bytes: [UInt8] = []
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    /// How much was taken; less than given tells libcurl to stop.
    func append(_ more: UnsafeRawBufferPointer) -> Int {
        guard bytes.count + more.count <= limit else { return 0 }
        bytes.append(contentsOf: more)
        return more.count
    }
}
