import COpenSSL
import Glibc

/// TLS on one socket: OpenSSL over the descriptor itself.
///
/// - Isolation: the loop's thread.
/// - Owns: the `SSL` object, freed at the end.
final class TLSSession {
    enum Progress { case done, wantsRead, wantsWrite, failed }
    enum Transfer { case bytes(Int), wantsRead, wantsWrite, end, failed }

    private let ssl: OpaquePointer
    var needsHandshake: Bool { SSL_is_init_finished(ssl) == 0 }
    /// What OpenSSL said last, for the log.
    private(set) var problem = ""

    init(ssl: OpaquePointer) { self.ssl = ssl }
    deinit { SSL_free(ssl) }

    func handshake() -> Progress {
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        if result == 1 { return .done }
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: return .wantsRead
        case SSL_ERROR_WANT_WRITE: return .wantsWrite
        default:
            noteProblem()
            return .failed
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
        ERR_clear_error()
        var count = 0
        let result = SSL_read_ex(ssl, buffer.baseAddress, buffer.count, &count)
        return result == 1 ? .bytes(count) : outcome(of: result)
    }

    func write(_ bytes: UnsafeRawBufferPointer) -> Transfer {
        ERR_clear_error()
        var count = 0
        let result = SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &count)
        return result == 1 ? .bytes(count) : outcome(of: result)
    }

    /// Sends `close_notify` once, without waiting for the peer's.
    func shutdown() {
        guard !needsHandshake else { return }
        ERR_clear_error()
        SSL_shutdown(ssl)
    }

    private func outcome(of result: Int32) -> Transfer {
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: return .wantsRead
        case SSL_ERROR_WANT_WRITE: return .wantsWrite
        case SSL_ERROR_ZERO_RETURN: return .end
        default:
            noteProblem()
            return .failed
        }
    }

    private func noteProblem() {
        let verdict = SSL_get_verify_result(ssl)
        if verdict != Int(X509_V_OK) {
            problem = "the certificate is refused: " + String(cString: X509_verify_cert_error_string(verdict))
            return
        }
        let code = ERR_peek_last_error()
        let reason = code == 0 ? nil : ERR_reason_error_string(code).map { String(cString: $0) } ?? "unknown"
        problem = reason ?? "connection closed"
    }
}
