import COpenSSL
import Glibc

/// Certificates and rules for TLS connections, shared by all loops; replaced as a whole on reload.
///
/// OpenSSL counts references to its context and locks inside, so the pointer may be used from every loop.
package final class TLSContext: Sendable {
    nonisolated(unsafe) private let context: OpaquePointer

    private init(_ context: OpaquePointer) { self.context = context }
    deinit { SSL_CTX_free(context) }

    /// For a listener: TLS 1.2 and 1.3, ALPN `http/1.1`.
    ///
    /// - Parameter clientAuthorityFile: when given, clients must show a certificate that it signed.
    package static func server(
        certificateFile: String, keyFile: String, clientAuthorityFile: String? = nil, minimumIs13: Bool = false
    ) throws(TLSProblem) -> TLSContext {
        guard let raw = SSL_CTX_new(TLS_server_method()) else { throw TLSProblem("no TLS context") }
        let made = TLSContext(raw)
        weir_ssl_set_minimum_version(raw, minimumIs13 ? TLS1_3_VERSION : TLS1_2_VERSION)
        weir_ssl_set_common_options(raw)
        guard SSL_CTX_use_certificate_chain_file(raw, certificateFile) == 1 else {
            throw TLSProblem("can't use the certificate file \(certificateFile)")
        }
        guard SSL_CTX_use_PrivateKey_file(raw, keyFile, SSL_FILETYPE_PEM) == 1 else {
            throw TLSProblem("can't use the key file \(keyFile)")
        }
        guard SSL_CTX_check_private_key(raw) == 1 else {
            throw TLSProblem("\(keyFile) is not the key of \(certificateFile)")
        }
        if let clientAuthorityFile {
            guard SSL_CTX_load_verify_locations(raw, clientAuthorityFile, nil) == 1 else {
                throw TLSProblem("can't use the certificate authority \(clientAuthorityFile)")
            }
            SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
            // Without a context of its own, OpenSSL refuses every resumed session of a client with a certificate.
            SSL_CTX_set_session_id_context(raw, "weir", 4)
        }
        weir_ssl_select_http11(raw)
        return made
    }

    /// For connections to replicas: the certificate must be valid for the host.
    package static func client(authorityFile: String? = nil) throws(TLSProblem) -> TLSContext {
        guard let raw = SSL_CTX_new(TLS_client_method()) else { throw TLSProblem("no TLS context") }
        let made = TLSContext(raw)
        weir_ssl_set_minimum_version(raw, TLS1_2_VERSION)
        weir_ssl_set_common_options(raw)
        if let authorityFile {
            guard SSL_CTX_load_verify_locations(raw, authorityFile, nil) == 1 else {
                throw TLSProblem("can't use the certificate authority \(authorityFile)")
            }
        } else {
            SSL_CTX_set_default_verify_paths(raw)
        }
        SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nil)
        return made
    }

    func accept(_ descriptor: Int32) throws(SocketError) -> TLSSession {
        guard let ssl = SSL_new(context), SSL_set_fd(ssl, descriptor) == 1 else {
            throw SocketError(ENOMEM, "TLS session")
        }
        SSL_set_accept_state(ssl)
        return TLSSession(ssl: ssl)
    }

    func connect(_ descriptor: Int32, host: String) throws(SocketError) -> TLSSession {
        guard let ssl = SSL_new(context), SSL_set_fd(ssl, descriptor) == 1 else {
            throw SocketError(ENOMEM, "TLS session")
        }
        weir_ssl_expect_host(ssl, host)
        SSL_set_connect_state(ssl)
        return TLSSession(ssl: ssl)
    }
}

/// Why certificates can't be used; the text names the file.
package struct TLSProblem: Error, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}
