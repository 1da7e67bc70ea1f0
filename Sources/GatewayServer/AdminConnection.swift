import GatewayConfig
import GatewayCore
import HTTPConnections
import Identity
import Reactor
import Wire

/// Through which listener an admin request came, and what it may do.
struct AdminDoor {
    /// The Unix socket: its file mode is the credential.
    let isLocal: Bool
    let settings: AdminSettings

    /// Whether the request names this host: a page in a browser could be made to resolve any name to our address.
    func accepts(host: String) -> Bool {
        if isLocal { return true }
        var name = host
        if let colon = name.lastIndex(of: ":"), !name.hasSuffix("]") { name = String(name[..<colon]) }
        if let own = settings.address?.host, name == own || name == "[\(own)]" { return true }
        return ["localhost", "127.0.0.1", "[::1]"].contains(name) || settings.allowedHosts.contains(name)
            || settings.allowedHosts.contains(host)
    }

    /// Whether this is an admin key; the Unix socket needs none.
    func accepts(bearer: String?) -> Bool {
        if isLocal { return true }
        guard let bearer else { return false }
        let digest = Identity.SHA256Digest(hashing: bearer)
        return settings.keys.contains { key in
            Identity.SHA256Digest(bytes: key.bytes.span).map { $0 == digest } ?? false
        }
    }
}

/// An answer of the admin API.
struct AdminReply {
    var status = 200
    var contentType: StaticString = "application/json"
    var body: [UInt8]

    static func json(_ status: Int = 200, _ write: (inout ByteWriter) -> Void) -> AdminReply {
        var writer = ByteWriter(capacity: 512)
        write(&writer)
        return AdminReply(status: status, body: writer.withUnsafeBytes { Array($0) })
    }

    static func problem(_ status: Int, _ code: String, _ message: String) -> AdminReply {
        json(status) { writer in
            writer.openObject()
            writer.member("error")
            writer.openObject()
            writer.member("message", string: message)
            writer.member("type", string: "invalid_request_error")
            writer.member("param", string: String?.none)
            writer.member("code", string: code)
            writer.closeObject()
            writer.closeObject()
        }
    }
}

/// Serves one admin connection.
struct AdminConnection {
    private let connection: ServerConnection
    private let api: AdminAPI
    private let door: AdminDoor

    init(_ connection: ServerConnection, api: AdminAPI, door: AdminDoor) {
        self.connection = connection
        self.api = api
        self.door = door
    }

    func serve() async {
        do throws(GatewayError) {
            while try await connection.receiveHead() {
                try await connection.receiveBody()
                send(await answer())
                try await connection.flush()
                guard connection.canContinue else { break }
            }
        } catch {
            let answer = error.answer
            send(.problem(answer.status, answer.code ?? "error", answer.message))
            _ = connection.sendUnsent()
        }
        await connection.close()
    }

    private func answer() async -> AdminReply {
        let text = connection.withRequest { bytes in
            (
                host: connection.head.host.map { bytes.extracting($0).text },
                path: bytes.extracting(connection.head.path).text,
                bearer: connection.head.first(.authorization).flatMap { Authenticator.bearerText(bytes.extracting($0)) }
            )
        }
        guard door.accepts(host: text.host ?? "") else {
            return .problem(421, "host_not_allowed", "This Host is not one of this admin listener.")
        }
        let method = connection.head.method
        let parts = AdminAPI.parts(of: text.path)
        if AdminAPI.needsKey(method, parts), !door.accepts(bearer: text.bearer) {
            return .problem(401, "invalid_api_key", "An admin key is needed.")
        }
        let body = connection.withRequest { bytes in
            bytes.extracting(connection.bodyRange).withUnsafeBufferPointer { Array($0) }
        }
        return await api.answer(method: method, parts, body: body)
    }

    private func send(_ reply: AdminReply) {
        var writer = ByteWriter(capacity: reply.body.count + 256)
        writer.appendStatusLine(reply.status)
        writer.appendField("content-type", reply.contentType)
        writer.appendContentLength(reply.body.count)
        writer.append("cache-control: no-store\r\nx-content-type-options: nosniff\r\n")
        if connection.announcesClose { writer.append("connection: close\r\n") }
        writer.appendHeadEnd()
        if !connection.head.method.isHead { writer.append(reply.body) }
        writer.withUnsafeBytes { connection.send($0) }
    }
}

extension Authenticator {
    /// The credential in an `Authorization` value, as text.
    fileprivate static func bearerText(_ value: Span<UInt8>) -> String? { bearerCredential(in: value)?.text }
}
