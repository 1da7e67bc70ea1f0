import GatewayCore
import Glibc
import Reactor
import Wire

/// One HTTP/1.1 connection to a replica: sends a request, reads the reply's head, then its body piece by piece.
///
/// - Isolation: its loop. While idle in a pool it watches its socket itself; in use, whoever uses it does.
/// - Owns: the socket and bytes that were received and not read yet, until ``close()``.
package final class ClientConnection: ReadinessHandler {
    package let stream: Stream
    /// Requests that were answered on it before the current one: above 0, it may turn out to be stale.
    package private(set) var repliesBefore = 0
    package private(set) var head = ReplyHead()
    private var input = ByteWriter()
    private var consumed = 0
    /// Any byte of the current reply has arrived.
    package private(set) var hasReplyBytes = false
    /// Called once when the peer closes the idle connection.
    package var onIdleEnd: (() -> Void)?

    package var loop: EventLoop { stream.loop }

    package init(_ stream: Stream) { self.stream = stream }

    /// Makes a connection.
    ///
    /// - Throws: what the kernel or TLS said; `ETIMEDOUT` at the deadline.
    package static func open(
        to address: SocketAddress, tls: (context: TLSContext, host: String)?, parking: Parking, deadline: Moment
    ) async throws(SocketError) -> ClientConnection {
        let stream = try Stream.connect(to: address, on: parking.loop, tls: tls)
        do throws(SocketError) {
            try await stream.waitUntilConnected(parking: parking, deadline: deadline)
        } catch {
            stream.close()
            throw error
        }
        return ClientConnection(stream)
    }

    /// Reads what is there into the connection's buffer.
    package func receive() -> Stream.ReadResult {
        let result = stream.read(into: loop.scratch)
        if case .bytes(let count) = result {
            hasReplyBytes = true
            input.append(UnsafeRawBufferPointer(rebasing: loop.scratch[..<count]))
        }
        return result
    }

    /// Parses the head from what has been received. Interim replies (1xx) are skipped, at most so many as the parser
    /// allows.
    ///
    /// - Returns: whether the head is there.
    package func parseHead(limits: HeadLimits, method: HTTPMethod) throws(HTTPViolation) -> Bool {
        while input.count > consumed {
            let progress = try input.withBytes { bytes throws(HTTPViolation) in
                try head.parse(bytes, from: consumed, limits: limits, requestMethod: method)
            }
            switch progress {
            case .incomplete: return false
            case .interim(let end): consumed = end
            case .complete(let end):
                consumed = end
                return true
            }
        }
        return false
    }

    /// The bytes received so far; the head's ranges are ranges of them until the body is read.
    package func withReply<Result, Failure: Error>(
        _ read: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try input.withBytes(nil, read)
    }

    /// Received bytes behind the head that nobody has read: gives them to `body` and takes off what it says it used.
    package func consume<Failure: Error>(_ use: (Span<UInt8>) throws(Failure) -> Int) throws(Failure) {
        consumed += try input.withBytes(consumed..<input.count, use)
        if consumed == input.count {
            input.removeAll()
            consumed = 0
        }
    }

    package var hasUnread: Bool { input.count > consumed }

    // MARK: Pooling

    /// The reply was read to its end: the connection waits for its next use and watches for the peer's end meanwhile.
    package func becomeIdle(onEnd: @escaping () -> Void) {
        repliesBefore += 1
        hasReplyBytes = false
        input.release()
        consumed = 0
        onIdleEnd = onEnd
        stream.handler = self
    }

    /// Takes it out of idleness. - Returns: false when the peer has closed it, or sent bytes that nobody asked for.
    package func take(handler: any ReadinessHandler) -> Bool {
        onIdleEnd = nil
        stream.handler = handler
        return !stream.isClosed && !stream.peerHungUp && !stream.canRead
    }

    /// While idle: any byte or end from the peer makes it useless.
    package func becameReady(_ stream: Stream) {
        guard stream.canRead || stream.peerHungUp, let onIdleEnd else { return }
        self.onIdleEnd = nil
        onIdleEnd()
    }

    package func close(reset: Bool = false) {
        onIdleEnd = nil
        stream.close(reset: reset)
        input.release()
        consumed = 0
    }
}
