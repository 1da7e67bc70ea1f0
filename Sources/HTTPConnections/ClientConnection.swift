import GatewayCore
import Glibc
import Reactor
import Wire

/// One HTTP/1.1 connection to a replica: sends a request, reads the reply's head, then its body piece by piece.
///
/// - Isolation: its loop. While idle in a pool it watches its socket itself; in use, whoever uses it does.
/// - Owns: the socket and bytes that were received and not read yet, until ``close()``.
public final class ClientConnection: ReadinessHandler {
    package let stream: Stream
    /// Requests that were answered on it before the current one: above 0, it may turn out to be stale.
    package private(set) var repliesBefore = 0
    public let head: ReplyHead
    private let spare: SpareRoom
    /// With so much room a reply is read where it stays; else it is read elsewhere first, and room made for it then.
    private static let roomBytes = 4_096
    private var input = ByteWriter()
    private var consumed = 0
    /// Where in the input a body lies that came whole; empty otherwise.
    private var wholeBody = 0..<0
    /// Any byte of the current reply has arrived.
    package private(set) var hasReplyBytes = false
    private var decoder = ChunkedDecoder(
        limits: ChunkedDecoder.Limits(extensionBytes: 0, trailerBytes: 0, trailerFields: 0))
    private var bodyLeft = 0
    private var hasBegunBody = false
    private var isBodyOver = false
    /// Bytes came behind the reply's end.
    package private(set) var hasSurplus = false
    /// The request was not sent whole, or bytes came that no request asked for.
    package var isSpoiled = false
    /// Where a reply that is kept whole is read to.
    package var body = ByteWriter()
    /// Nobody uses it.
    private var isIdle = false
    /// Told when the peer closes the idle connection. Mostly the same one each time, so it stays when it is not.
    private var keeper: (any IdleKeeper)?

    package var loop: EventLoop { stream.loop }
    public var status: Int { head.status }
    public func first(_ id: FieldID) -> ByteRange? { head.first(id) }

    /// - Parameters:
    ///   - spare: what replies are received into.
    ///   - recent: what the heads of the loop's other replies looked like.
    package init(_ stream: Stream, spare: SpareRoom, recent: ReplyHead.Recent? = nil) {
        self.stream = stream
        self.spare = spare
        head = ReplyHead(recent: recent)
    }

    /// Begins to connect; `handler` is told when something changes. It can be used when `stream.isConnected()`.
    package convenience init(
        connectingTo address: SocketAddress, tls: (context: TLSContext, host: String)?, handler: Parking,
        spare: SpareRoom, recent: ReplyHead.Recent
    ) throws(SocketError) {
        let stream = try Stream.connect(to: address, on: handler.loop, tls: tls)
        stream.handler = handler
        self.init(stream, spare: spare, recent: recent)
    }

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
        return ClientConnection(stream, spare: SpareRoom())
    }

    /// Reads what is there into the connection's buffer.
    package func receive() -> Stream.ReadResult {
        guard stream.canRead else { return .wouldBlock }
        spare.lend(to: &input)
        var result = Stream.ReadResult.wouldBlock
        if input.room >= Self.roomBytes {
            input.appendUninitialized(Self.roomBytes) { room in
                result = stream.read(into: room)
                if case .bytes(let count) = result { return count }
                return 0
            }
        } else {
            result = stream.read(into: loop.scratch)
            if case .bytes(let count) = result {
                input.append(UnsafeRawBufferPointer(rebasing: loop.scratch[..<count]))
            }
        }
        if case .bytes = result { hasReplyBytes = true } else if input.isEmpty { spare.takeBack(&input) }
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

    /// Gives the memory of the head's fields back: nobody asks for them any more while the body is read.
    package func forgetHead() { head.releaseFields() }

    /// The bytes received so far; the head's ranges are ranges of them until the body is read.
    public func withReply<Result, Failure: Error>(
        _ read: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try input.withBytes(nil, read)
    }

    // MARK: The body

    /// Takes the body where it lies, if its length is known and all of it came with the head.
    ///
    /// - Returns: whether ``withBody(_:)`` has it; if not, ``readBody(into:limits:)`` is to read it.
    package func takeBody() -> Bool {
        guard case .length(let count) = head.framing, !hasBegunBody, input.count - consumed >= count else {
            return false
        }
        hasBegunBody = true
        wholeBody = consumed..<consumed + count
        _ = finishBody(surplus: input.count > wholeBody.upperBound)
        return true
    }

    package enum BodyRead: Equatable {
        /// Some came; there is more to come.
        case bytes
        /// The body is over.
        case ended
        case wouldBlock
        /// The connection ended or broke before the body did.
        case cut
    }

    /// Reads what is there of the body, without its framing, into `writer`. Call again until it says how it ended.
    ///
    /// - Throws: what is wrong with the framing; the connection is of no use after that.
    package func readBody(
        into writer: inout ByteWriter, limits: ChunkedDecoder.Limits
    ) throws(HTTPViolation) -> BodyRead {
        if !hasBegunBody {
            hasBegunBody = true
            beginBody(limits)
            if isBodyOver { return finishBody(surplus: input.count > consumed) }
            if input.count > consumed {
                try input.withBytes(consumed..<input.count) { bytes throws(HTTPViolation) in
                    try take(bytes, into: &writer)
                }
                // The head was read; an open stream need not keep its bytes.
                spare.takeBack(&input)
                consumed = 0
                return isBodyOver ? .ended : .bytes
            }
        }
        switch stream.read(into: loop.scratch) {
        case .bytes(let count):
            let bytes = UnsafeRawBufferPointer(rebasing: loop.scratch[..<count])
            try take(bytes.bindMemory(to: UInt8.self).span, into: &writer)
            return isBodyOver ? .ended : .bytes
        case .wouldBlock: return .wouldBlock
        case .end where head.framing == .untilClose:
            isSpoiled = true
            return finishBody()
        case .end, .failed: return .cut
        }
    }

    private func beginBody(_ limits: ChunkedDecoder.Limits) {
        isBodyOver = false
        switch head.framing {
        case .none, .length(0): isBodyOver = true
        case .length(let count): bodyLeft = count
        case .chunked: decoder = ChunkedDecoder(limits: limits)
        case .untilClose: bodyLeft = .max
        }
    }

    private func take(_ bytes: Span<UInt8>, into writer: inout ByteWriter) throws(HTTPViolation) {
        guard case .chunked = head.framing else {
            let count = min(bodyLeft, bytes.count)
            writer.append(bytes.extracting(0..<count))
            bodyLeft -= count
            if bodyLeft == 0 { _ = finishBody(surplus: count < bytes.count) }
            return
        }
        var offset = 0
        while true {
            switch try decoder.next(bytes, at: &offset) {
            case .data(let range): writer.append(bytes.extracting(range))
            case .needMore: return
            case .end: return _ = finishBody(surplus: offset < bytes.count)
            }
        }
    }

    private func finishBody(surplus: Bool = false) -> BodyRead {
        isBodyOver = true
        hasSurplus = surplus
        isSpoiled = isSpoiled || surplus
        return .ended
    }

    /// The body that was taken, or what ``body`` holds.
    public func withBody<Result, Failure: Error>(
        _ read: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        if !wholeBody.isEmpty { return try input.withBytes(wholeBody, read) }
        return try body.withBytes(nil, read)
    }

    /// The reply was read to its end and the connection can carry another request.
    package var isReusable: Bool {
        isBodyOver && hasBegunBody && !isSpoiled && head.keepsAlive && !stream.isClosed && !stream.peerHungUp
    }

    // MARK: Pooling

    /// The reply was read to its end: the connection waits for its next use and watches for the peer's end meanwhile.
    package func becomeIdle(keptBy keeper: any IdleKeeper) {
        repliesBefore += 1
        hasReplyBytes = false
        hasBegunBody = false
        isBodyOver = false
        forgetBytes()
        isIdle = true
        if self.keeper !== keeper { self.keeper = keeper }
        stream.handler = self
    }

    /// Takes it out of idleness. - Returns: false when the peer has closed it, or sent bytes that nobody asked for.
    package func take(handler: any ReadinessHandler) -> Bool {
        isIdle = false
        stream.handler = handler
        return stream.isQuiet
    }

    /// While idle: any byte or end from the peer makes it useless.
    package func becameReady(_ stream: Stream) {
        guard isIdle, let keeper, !stream.isQuiet else { return }
        isIdle = false
        keeper.idleEnded(self)
    }

    package func close(reset: Bool = false) {
        isIdle = false
        keeper = nil
        stream.close(reset: reset)
        forgetBytes()
    }

    private func forgetBytes() {
        spare.takeBack(&input)
        spare.takeBack(&body)
        wholeBody = 0..<0
        consumed = 0
    }
}

/// Who keeps connections while nobody uses them.
package protocol IdleKeeper: AnyObject {
    /// The peer closed it, or sent what nobody asked for: it is of no use any more.
    func idleEnded(_ connection: ClientConnection)
}
