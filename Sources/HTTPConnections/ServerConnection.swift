import GatewayCore
import Reactor
import Wire

/// One connection with a client: reads request after request, and writes what answers them, in order.
///
///     while try await connection.receiveHead() {     one request
///         try await connection.receiveBody(…)        its body, whole
///         connection.send(…)                         the reply; what the socket does not take waits here
///         try await connection.flush()
///     }
///     await connection.close()
///
/// The stages see the current request through this class, and never the socket behind it.
/// - Isolation: its loop; one task.
/// - Owns: the socket, the bytes of the current request and unsent bytes of its reply, until ``close()``.
public final class ServerConnection {
    /// A buffer up to this size stays with an idle connection; a larger one is given back.
    private static let keptBytes = 4_096

    package let stream: Stream
    package let parking: Parking
    package let settings: ConnectionSettings
    package let memory: LoopBodyMemory
    private let rooms: BodyRooms
    package var loop: EventLoop { stream.loop }

    /// The current request's head; its ranges are valid for ``withRequest(_:)``.
    public let head: RequestHead
    private var input = ByteWriter()
    private var headEnd = 0
    private var body = 0..<0
    /// Bytes of `input` that belong to the current request; those behind them are the next one's.
    private var requestEnd = 0
    var isBodyRead = true
    private var reservedBytes = 0
    /// When the head must be there; later, when the body must.
    private var deadline = Moment.never
    /// When the first byte of the current request arrived.
    package private(set) var receivedAt = Moment.zero
    package private(set) var bytesReceived = 0
    package private(set) var bytesSent = 0

    private var unsent = ByteWriter()
    private var unsentStart = 0
    /// When the client's socket last took bytes, or could have: what `writeStall` counts from while some are unsent.
    package private(set) var tookBytesAt = Moment.zero
    /// Once closed: whether its TLS handshake was over; true without TLS.
    package internal(set) var isSecured = true
    var isBroken = false
    /// It counts as gone because it took nothing for `writeStall`.
    package private(set) var hasStalled = false
    /// Asked to end after the current request: an idle connection ends at once.
    package private(set) var isDraining = false
    /// The next request is the last one.
    private var isLeaving = false
    /// The reply in progress says `Connection: close`, or its framing ends with the connection.
    package var closesAfterReply = false

    /// - Parameters:
    ///   - rooms: the loop's, for large bodies.
    ///   - recent: what heads of the loop's clients looked like.
    package init(
        _ stream: Stream, settings: ConnectionSettings, memory: LoopBodyMemory, rooms: BodyRooms,
        recent: RequestHead.Recent? = nil
    ) {
        self.stream = stream
        head = RequestHead(recent: recent)
        self.settings = settings
        self.memory = memory
        self.rooms = rooms
        parking = Parking(on: stream.loop)
        stream.handler = parking
    }

    /// Takes over another client's socket, after ``close(reset:)``. Nothing is known of the client before any more;
    /// what is kept is memory.
    package func reopen(_ descriptor: Int32, tls: TLSContext?) throws(SocketError) {
        try stream.accept(descriptor, tls: tls)
        stream.handler = parking
        head.forget()
        isSecured = true
        isBroken = false
        hasStalled = false
        isDraining = false
        isLeaving = false
        closesAfterReply = false
    }

    // MARK: Receiving

    /// Forgets the request before: the time for the next one's head runs from now.
    package func expectRequest() {
        forgetRequest()
        // A handshake is on the head's clock: who has not finished it has no connection to keep idle.
        deadline = loop.now + (stream.isHandshaking ? settings.headTimeout : settings.idleTimeout)
        if !input.isEmpty { beginRequest() }
    }

    /// Looks for the head in what is there: ``receiveHead()`` without the waiting, and it throws the same.
    package func lookForHead() throws(GatewayError) -> HeadLook {
        while true {
            if !input.isEmpty, try hasHead() { return .complete }
            switch receive() {
            case .bytes: if receivedAt == .zero { beginRequest() }
            case .end, .failed: return .over
            case .wouldBlock:
                if isDraining, input.isEmpty { return .over }
                guard loop.now >= deadline else { return .incomplete(until: deadline) }
                if input.isEmpty { return .over }
                closesAfterReply = true
                throw .headTimeout
            }
        }
    }

    private func hasHead() throws(GatewayError) -> Bool {
        do throws(HTTPViolation) {
            let progress = try input.withBytes { bytes throws(HTTPViolation) in
                try head.parse(bytes, from: 0, limits: settings.head)
            }
            guard case .complete(let end) = progress else { return false }
            headEnd = end
            requestEnd = end
            body = end..<end
            isBodyRead = head.framing.isEmpty
            if isLeaving { closesAfterReply = true }
            return true
        } catch {
            requestEnd = input.count
            closesAfterReply = true
            throw error.gatewayError
        }
    }

    private func beginRequest() {
        receivedAt = loop.now
        deadline = receivedAt + settings.headTimeout
    }

    /// Takes the body if all of it came with the head, as small ones do: nothing has to be waited for then.
    ///
    /// - Returns: whether the body is read; if not, ``receiveBody(until:)`` is to.
    package func takeBody() throws(GatewayError) -> Bool {
        if isBodyRead { return true }
        guard case .length(let count) = head.framing, count <= settings.bodyBytesMax, headEnd + count <= input.count
        else { return false }
        try reserve(upTo: headEnd + count)
        body = headEnd..<headEnd + count
        requestEnd = body.upperBound
        isBodyRead = true
        return true
    }

    /// Reads the body, whole; it is at ``withRequest(_:)`` then. Answers `Expect: 100-continue` first.
    ///
    /// - Parameter deadline: when all of it must be there, however it trickles.
    /// - Throws: `.bodyTooLarge` (413, at once when its length says so), `.bodyMemoryExhausted` (503), `.bodyTimeout`
    ///   (408), `.malformedRequest` (400), `.clientGone`.
    package func receiveBody(until deadline: Moment = .never) async throws(GatewayError) {
        guard !isBodyRead else { return }
        self.deadline = deadline
        switch head.framing {
        case .none, .untilClose: break
        case .length(let count): try await receiveBody(count: count)
        case .chunked: try await receiveChunks()
        }
        isBodyRead = true
    }

    private func receiveBody(count: Int) async throws(GatewayError) {
        guard count <= settings.bodyBytesMax else { throw .bodyTooLarge(limitBytes: settings.bodyBytesMax) }
        let end = headEnd + count
        try reserve(upTo: min(end, input.count))
        if input.count < end { try await inviteBody() }
        while input.count < end {
            var result = Stream.ReadResult.wouldBlock
            // Room for all of a common body at once; for more only as it comes, because announcing it is free. A byte
            // more than is wanted, so that the read comes back short: the socket is empty, and that is known.
            let wanted = 1 + min(end - input.count, max(BodyRooms.roomBytes, input.count - headEnd))
            if end > loop.scratch.count, input.capacity < BodyRooms.roomBytes { rooms.lend(to: &input) }
            input.appendUninitialized(wanted) { room in
                result = stream.read(into: UnsafeMutableRawBufferPointer(rebasing: room[..<wanted]))
                if case .bytes(let count) = result { return count }
                return 0
            }
            if case .bytes(let count) = result { bytesReceived += count }
            // What is announced costs nothing until it comes: else a few heads without bodies would shut others out.
            try reserve(upTo: min(end, input.count))
            try await handle(result)
        }
        // Only now: whoever looks at a body that did not come whole must find it empty.
        body = headEnd..<end
        requestEnd = end
    }

    private func receiveChunks() async throws(GatewayError) {
        var decoder = ChunkedDecoder(limits: settings.chunks)
        var raw = headEnd
        var end = headEnd
        if input.count == headEnd { try await inviteBody() }
        var isOver = false
        while true {
            do throws(HTTPViolation) {
                decoding: while !isOver {
                    let piece = try input.withBytes { bytes throws(HTTPViolation) in
                        try decoder.next(bytes, at: &raw)
                    }
                    switch piece {
                    case .data(let range):
                        input.move(range, to: end)
                        end += range.count
                    case .needMore: break decoding
                    case .end: isOver = true
                    }
                }
            } catch {
                closesAfterReply = true
                throw error.gatewayError
            }
            // A chunk that says that it is too long is not waited for.
            guard end - headEnd + decoder.announced <= settings.bodyBytesMax else {
                throw .bodyTooLarge(limitBytes: settings.bodyBytesMax)
            }
            try reserve(upTo: end)
            if isOver {
                body = headEnd..<end
                requestEnd = raw
                return
            }
            // What is decoded already gives its framing's room back, so that tiny chunks take no more than their bytes.
            input.move(raw..<input.count, to: end)
            input.truncate(to: end + input.count - raw)
            raw = end
            try await handle(receive())
        }
    }

    private func handle(_ result: Stream.ReadResult) async throws(GatewayError) {
        switch result {
        case .bytes: break
        case .end, .failed:
            isBroken = true
            throw .clientGone
        case .wouldBlock:
            if await parking.park(until: min(loop.now + settings.bodyStall, deadline)) == .deadline {
                closesAfterReply = true
                throw .bodyTimeout
            }
        }
    }

    /// Takes of the process's budget what the body has grown by.
    private func reserve(upTo end: Int) throws(GatewayError) {
        let count = end - headEnd - reservedBytes
        guard count > 0 else { return }
        guard memory.reserve(count) else { throw .bodyMemoryExhausted }
        reservedBytes += count
    }

    private func inviteBody() async throws(GatewayError) {
        guard head.expectsContinue else { return }
        send("HTTP/1.1 100 Continue\r\n\r\n")
        try await flush()
    }

    private func receive() -> Stream.ReadResult {
        let result = stream.read(into: loop.scratch)
        if case .bytes(let count) = result {
            bytesReceived += count
            // More than fits at once is a large body's beginning: it has its room before, and is not moved after.
            if count == loop.scratch.count, input.isEmpty { rooms.lend(to: &input) }
            input.append(UnsafeRawBufferPointer(rebasing: loop.scratch[..<count]))
        }
        return result
    }

    /// The bytes of the current request; ranges of ``head`` are ranges of them.
    public func withRequest<Result, Failure: Error>(
        _ read: (Span<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try input.withBytes(nil, read)
    }

    /// Forgets the current request's head but for its method, version and framing: an open stream needs none of it.
    package func forgetHead() {
        guard headEnd > 0, isBodyRead else { return }
        input.removeFirst(headEnd)
        input.shrink()
        body = body.lowerBound - headEnd..<body.upperBound - headEnd
        requestEnd -= headEnd
        headEnd = 0
        head.releaseFields()
    }

    /// Where the body lies among the request's bytes. Empty before ``receiveBody()``.
    public var bodyRange: Range<Int> { body }

    /// The body's bytes, for a write to a replica.
    public func withBody<Result>(_ use: (UnsafeRawBufferPointer) -> Result) -> Result {
        input.withUnsafeBytes { use(UnsafeRawBufferPointer(rebasing: $0[body])) }
    }

    /// A client that has left, or half-closed: nobody will read an answer.
    package var isClientGone: Bool { isBroken || stream.peerHungUp }

    /// Ends the connection after the current request; at once if it is idle.
    package func drain() {
        isDraining = true
        parking.wake()
    }

    /// Ends the connection with the next request, whose reply says so: nothing is closed under a client that is about
    /// to send one.
    package func endAfterNextRequest() { isLeaving = true }

    /// Ends the connection whatever runs on it: its task finds the client gone.
    package func abort() {
        isBroken = true
        parking.wake()
    }

    // MARK: Sending

    /// Sends what the socket takes of a head and its body, or of anything; the rest waits for ``flush()`` or
    /// ``sendUnsent()``.
    package func send(_ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer = .init(start: nil, count: 0)) {
        var sent = 0
        if !hasUnsent, !isBroken {
            tookBytesAt = loop.now
            switch stream.write(head, body) {
            case .wrote(let count): sent = count
            case .wouldBlock: break
            case .failed: isBroken = true
            }
            bytesSent += sent
        }
        guard sent < head.count + body.count, !isBroken else { return }
        if sent < head.count { unsent.append(UnsafeRawBufferPointer(rebasing: head[sent...])) }
        unsent.append(UnsafeRawBufferPointer(rebasing: body[max(0, sent - head.count)...]))
    }

    /// Something is left for ``flush()`` to do or to say.
    package var needsFlush: Bool { isBroken || hasUnsent }

    package var hasUnsent: Bool { unsent.count > unsentStart }

    /// Goes on with what waits. Returns whether all of it is sent.
    package func sendUnsent() -> Bool {
        while hasUnsent, !isBroken {
            let result = unsent.withUnsafeBytes { stream.write(UnsafeRawBufferPointer(rebasing: $0[unsentStart...])) }
            switch result {
            case .wrote(let count):
                bytesSent += count
                unsentStart += count
                tookBytesAt = loop.now
            case .wouldBlock: return false
            case .failed: isBroken = true
            }
        }
        unsent.release()
        unsentStart = 0
        return true
    }

    /// Waits until everything is sent.
    ///
    /// - Throws: `.clientGone` when the client left or took nothing for `writeStall`.
    package func flush() async throws(GatewayError) {
        while !sendUnsent() {
            // What else wakes us, such as bytes of the next request, does not prove that the client reads.
            if await parking.park(until: tookBytesAt + settings.writeStall) == .deadline {
                giveUpStalled()
                isBroken = true
            }
        }
        if isBroken { throw .clientGone }
    }

    /// The client took nothing for `writeStall`: to us it has left, and what is logged says how.
    package func giveUpStalled() { hasStalled = true }

    // MARK: Ending

    /// Whether the connection can carry another request after this reply.
    package var canContinue: Bool {
        head.keepsAlive && isBodyRead && !closesAfterReply && !isBroken && !isDraining
    }

    /// Whether a reply sent now must say `Connection: close`.
    package var announcesClose: Bool { !canContinue }

    /// The current request, and whatever the client sent or was to be sent besides.
    func forgetAll() {
        requestEnd = input.count
        forgetRequest()
        if input.capacity > Self.keptBytes { rooms.takeBack(&input) }
        unsent.release()
        unsentStart = 0
    }

    private func forgetRequest() {
        input.removeFirst(requestEnd)
        // So many small ones at once that they had a room leave it, too.
        if requestEnd > Self.keptBytes || input.isEmpty && input.capacity >= BodyRooms.roomBytes {
            head.release()
            leaveRoom()
        }
        requestEnd = 0
        headEnd = 0
        body = 0..<0
        isBodyRead = true
        receivedAt = .zero
        bytesReceived = input.count
        bytesSent = 0
        if reservedBytes > 0 {
            memory.release(reservedBytes)
            reservedBytes = 0
        }
    }

    private func leaveRoom() {
        var next = ByteWriter()
        next.append(input.bytes)
        swap(&next, &input)
        rooms.takeBack(&next)
    }
}
