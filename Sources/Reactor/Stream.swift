import CLinux
import GatewayCore
import Glibc

/// A connected socket on a loop, plain or TLS.
///
/// Edge-triggered: `canRead` and `canWrite` say what the kernel last reported, so a call that would only return "would
/// block" is not made. Reads and writes never suspend; whoever waits parks until ``ReadinessHandler/becameReady(_:)``.
///
/// What is written in short pieces leaves at the end of the loop's turn (``SendQueue``). A socket that then takes less
/// is full for whoever writes next, and a socket that is broken says so to whoever reads.
///
/// - Isolation: the loop's thread.
/// - Owns: the descriptor and the TLS session, until ``close()``.
package final class Stream: EventSource {
    package enum ReadResult: Equatable {
        case bytes(Int)
        case wouldBlock
        /// The peer sent everything it will send.
        case end
        case failed(Int32)
    }
    package enum WriteResult: Equatable {
        case wrote(Int)
        case wouldBlock
        case failed(Int32)
    }

    package let loop: EventLoop
    /// Told of every change; cleared by ``close()``.
    package var handler: (any ReadinessHandler)?
    package private(set) var canRead = false
    package private(set) var canWrite = false
    /// The peer shut down its side, or the connection broke: reads go on until they say how.
    package private(set) var peerHungUp = false
    package private(set) var isClosed = true
    private var isConnecting = false
    private var tls: TLSSession?
    /// What was written and the socket did not take at the end of the turn; at most what one turn wrote.
    private var rest: [UInt8] = []
    private var isEnding = false
    /// Which sockets' sends belong together.
    private var lane = SendQueue.lanes - 1

    /// Closed to begin with.
    private init(on loop: EventLoop) {
        self.loop = loop
        super.init(descriptor: -1)
    }

    /// Takes over a non-blocking socket.
    private func open(_ descriptor: Int32, isConnected: Bool, tls: TLSSession?) throws(SocketError) {
        self.descriptor = descriptor
        try loop.add(self)
        isClosed = false
        isConnecting = !isConnected
        canRead = false
        canWrite = isConnected
        peerHungUp = false
        self.tls = tls
        rest = []
        isEnding = false
    }

    /// Takes over an accepted socket. Closes it when that fails.
    package static func accepted(_ descriptor: Int32, on loop: EventLoop, tls context: TLSContext?) throws(SocketError)
        -> Stream
    {
        let stream = Stream(on: loop)
        try stream.accept(descriptor, tls: context)
        return stream
    }

    /// The same for a stream that was closed: it becomes that of another socket.
    package func accept(_ descriptor: Int32, tls context: TLSContext?) throws(SocketError) {
        precondition(isClosed, "an open stream has a socket")
        Self.setNoDelay(descriptor)
        do throws(SocketError) {
            var session: TLSSession?
            if let context { session = try context.accept(descriptor) }
            try open(descriptor, isConnected: true, tls: session)
        } catch {
            Glibc.close(descriptor)
            throw error
        }
    }

    /// Starts to connect. Await the end with ``waitUntilConnected(parking:deadline:)``.
    package static func connect(
        to address: SocketAddress, on loop: EventLoop, tls: (context: TLSContext, host: String)? = nil
    ) throws(SocketError) -> Stream {
        let descriptor = socket(
            address.family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SocketError(errno, "socket") }
        if address.family != AF_UNIX { setNoDelay(descriptor) }
        do throws(SocketError) {
            let result = try address.withRaw { Glibc.connect(descriptor, $0, $1) }
            if result != 0, errno != EINPROGRESS { throw SocketError(errno, "connect") }
            var session: TLSSession?
            if let tls { session = try tls.context.connect(descriptor, host: tls.host) }
            let stream = Stream(on: loop)
            try stream.open(descriptor, isConnected: result == 0, tls: session)
            stream.lane = Int(address.port) % (SendQueue.lanes - 1)
            return stream
        } catch {
            Glibc.close(descriptor)
            throw error
        }
    }

    /// Waits until the connection (and its TLS handshake) stands.
    ///
    /// - Throws: `ETIMEDOUT` at the deadline, otherwise what the kernel or TLS said.
    package func waitUntilConnected(parking: Parking, deadline: Moment) async throws(SocketError) {
        handler = parking
        while try !isConnected() {
            if await parking.park(until: deadline) == .deadline { throw SocketError(ETIMEDOUT, "connect") }
        }
    }

    /// Whether the connection (and its TLS handshake) stands by now.
    ///
    /// - Throws: what the kernel or TLS said.
    package func isConnected() throws(SocketError) -> Bool {
        if isConnecting {
            guard canWrite || peerHungUp else { return false }
            var code: Int32 = 0
            var size = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
            guard code == 0 else { throw SocketError(code, "connect") }
            isConnecting = false
        }
        guard let tls, tls.needsHandshake else { return true }
        switch tls.handshake() {
        case .done: return true
        case .failed: throw SocketError(EPROTO, "TLS handshake: \(tls.problem)")
        case .wantsRead: canRead = false
        case .wantsWrite: canWrite = false
        }
        return false
    }

    /// The TLS handshake has not ended yet; never for a plain connection.
    package var isHandshaking: Bool { tls?.needsHandshake ?? false }

    /// Whether the peer of an idle connection has neither sent anything nor left. Reads what TLS has for itself, as
    /// session tickets; a byte of data that is there is lost, and the connection with it.
    package var isQuiet: Bool {
        guard !isClosed, !peerHungUp else { return false }
        guard canRead else { return true }
        return withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { read(into: $0) == .wouldBlock }
    }

    /// Receives what is there, at most `buffer.count` bytes.
    package func read(into buffer: UnsafeMutableRawBufferPointer) -> ReadResult {
        guard canRead else { return .wouldBlock }
        if let tls { return readSecured(tls, buffer) }
        while true {
            let count = weir_receive(descriptor, buffer.baseAddress, buffer.count)
            if count > 0 {
                // A short read emptied the socket, unless an end or an error is waiting behind the bytes.
                if count < buffer.count, !peerHungUp { canRead = false }
                return .bytes(count)
            }
            if count == 0 { return .end }
            if errno == EINTR { continue }
            guard errno == EAGAIN else { return .failed(errno) }
            canRead = false
            return .wouldBlock
        }
    }

    /// Sends as much as the socket takes now, or all of it at the end of the turn if it is short.
    package func write(_ bytes: UnsafeRawBufferPointer) -> WriteResult {
        guard canWrite else { return .wouldBlock }
        guard tls == nil, bytes.count <= SendQueue.bytesMax else { return writeNow(bytes) }
        loop.sendLater(bytes, to: self, lane: lane)
        return .wrote(bytes.count)
    }

    @inline(never)
    private func writeNow(_ bytes: UnsafeRawBufferPointer) -> WriteResult {
        if let tls { return writeSecured(tls, bytes) }
        guard sendGathered() else { return .wouldBlock }
        let sent = SendQueue.send(bytes, to: descriptor)
        guard sent >= 0 else { return .failed(errno) }
        if sent < bytes.count { canWrite = false }
        return sent > 0 ? .wrote(sent) : .wouldBlock
    }

    /// Sends two blocks as one: a head and its body.
    package func write(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> WriteResult {
        guard canWrite else { return .wouldBlock }
        let count = first.count &+ second.count
        guard tls == nil, count <= SendQueue.bytesMax else { return writeNow(first, second) }
        loop.sendLater(first, second, to: self, lane: lane)
        return .wrote(count)
    }

    @inline(never)
    private func writeNow(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) -> WriteResult {
        if first.isEmpty { return write(second) }
        if second.isEmpty { return write(first) }
        if let tls { return writeSecured(tls, first, second) }
        guard sendGathered() else { return .wouldBlock }
        var blocks = (
            iovec(iov_base: UnsafeMutableRawPointer(mutating: first.baseAddress), iov_len: first.count),
            iovec(iov_base: UnsafeMutableRawPointer(mutating: second.baseAddress), iov_len: second.count)
        )
        while true {
            let count = withUnsafeMutablePointer(to: &blocks) { pointer in
                pointer.withMemoryRebound(to: iovec.self, capacity: 2) { vector in
                    var message = msghdr()
                    message.msg_iov = vector
                    message.msg_iovlen = 2
                    return sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
                }
            }
            if count >= 0 {
                if count < first.count + second.count { canWrite = false }
                return .wrote(count)
            }
            if errno == EINTR { continue }
            guard errno == EAGAIN else { return .failed(errno) }
            canWrite = false
            return .wouldBlock
        }
    }

    /// Gives the kernel what was written and still waits here. - Returns: whether it took all of it.
    package func sendAll() -> Bool {
        _ = sendGathered()
        return rest.isEmpty
    }

    /// Says that nothing more will be sent; what comes in can still be read.
    package func shutdownWrite() {
        guard !isClosed else { return }
        isEnding = true
        guard sendAll() else { return }
        tls?.shutdown()
        shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Closes the socket. With `reset`, the peer sees a connection reset instead of an orderly end.
    package func close(reset: Bool = false) {
        guard !isClosed else { return }
        _ = sendGathered()
        isClosed = true
        canRead = false
        canWrite = false
        handler = nil
        loop.remove(self)
        if reset {
            var option = linger(l_onoff: 1, l_linger: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        } else {
            tls?.shutdown()
        }
        tls = nil
        Glibc.close(descriptor)
    }

    /// Who is on the other side.
    package var peer: SocketAddress? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                getpeername(descriptor, raw, &size) == 0 ? SocketAddress(raw: raw) : nil
            }
        }
    }

    override func ready(_ events: UInt32) {
        if events & (WEIR_EPOLLIN | WEIR_EPOLLRDHUP | WEIR_EPOLLHUP | WEIR_EPOLLERR) != 0 {
            canRead = true
        }
        // What could be written to has nothing left from before.
        if !canWrite, events & (WEIR_EPOLLOUT | WEIR_EPOLLHUP | WEIR_EPOLLERR) != 0 {
            canWrite = rest.isEmpty || sendRest()
        }
        if events & (WEIR_EPOLLRDHUP | WEIR_EPOLLHUP | WEIR_EPOLLERR) != 0 { peerHungUp = true }
        // Taken out while it is called and put back, which counts no reference.
        guard let called = handler.take() else { return }
        called.becameReady(self)
        if handler == nil, !isClosed { handler = called }
    }

    // MARK: What was written before

    /// Lets go what was gathered for this socket. - Returns: whether it takes more.
    private func sendGathered() -> Bool {
        loop.sendGathered(for: self)
        return canWrite
    }

    /// The socket did not take this at the end of the turn; nil if it is broken, which its reader will find.
    func keep(_ rest: UnsafeRawBufferPointer?) {
        guard let rest else {
            shutdown(descriptor, Int32(SHUT_RDWR))
            return
        }
        canWrite = false
        self.rest.append(contentsOf: rest)
    }

    /// - Returns: whether all is sent.
    private func sendRest() -> Bool {
        let sent = rest.withUnsafeBytes { SendQueue.send($0, to: descriptor) }
        if sent >= 0, sent < rest.count {
            rest.removeFirst(sent)
            return false
        }
        rest = []
        if isEnding { shutdown(descriptor, Int32(SHUT_WR)) }
        return true
    }

    private func readSecured(_ tls: TLSSession, _ buffer: UnsafeMutableRawBufferPointer) -> ReadResult {
        switch tls.read(into: buffer) {
        case .bytes(let count): return .bytes(count)
        case .end: return .end
        case .wantsWrite:
            canWrite = false
            return .wouldBlock
        case .wantsRead:
            canRead = peerHungUp
            return peerHungUp ? .end : .wouldBlock
        case .failed: return .failed(EPROTO)
        }
    }

    /// OpenSSL takes one record at a time. As with a plain socket, less than all means that the socket is full: whoever
    /// waits after a short write is told when there is room again.
    private func writeSecured(_ tls: TLSSession, _ bytes: UnsafeRawBufferPointer) -> WriteResult {
        var sent = 0
        while sent < bytes.count {
            switch tls.write(UnsafeRawBufferPointer(rebasing: bytes[sent...])) {
            case .bytes(let count): sent += count
            case .wantsRead: return sent > 0 ? .wrote(sent) : .wouldBlock
            case .wantsWrite:
                canWrite = false
                return sent > 0 ? .wrote(sent) : .wouldBlock
            case .end, .failed: return .failed(EPROTO)
            }
        }
        return .wrote(sent)
    }

    /// Short blocks in one record.
    private func writeSecured(
        _ tls: TLSSession, _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer
    ) -> WriteResult {
        if first.count + second.count <= SendQueue.bytesMax {
            return withUnsafeTemporaryAllocation(byteCount: first.count + second.count, alignment: 1) { both in
                both.copyMemory(from: first)
                UnsafeMutableRawBufferPointer(rebasing: both[first.count...]).copyMemory(from: second)
                return writeSecured(tls, UnsafeRawBufferPointer(both))
            }
        }
        let result = write(first)
        guard result == .wrote(first.count) else { return result }
        switch write(second) {
        case .wrote(let count): return .wrote(first.count + count)
        case .wouldBlock: return .wrote(first.count)
        case .failed(let code): return .failed(code)
        }
    }

    private static func setNoDelay(_ descriptor: Int32) {
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }
}
