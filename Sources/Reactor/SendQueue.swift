import CLinux
import Glibc

/// The small sends of a loop's turn, made together at its end.
///
/// A send wakes its receiver, and to wake a process that sleeps costs more than to hand bytes to one that is awake.
/// Sends that follow each other closely, those to one receiver first, find it awake but for the first of them: on one
/// machine that halves the wake-ups and takes a tenth off a request's CPU time. Sends to one socket become one, and
/// those to replicas go first.
///
/// Plain memory: to append is a copy, and to make a send is a system call.
/// - Isolation: the loop's thread.
/// - Bounds: `roomBytes` of bytes and `sendsMax` sends; a turn with more makes its sends in pieces.
struct SendQueue: ~Copyable {
    private struct Send {
        let descriptor: Int32
        /// The next one of the same lane; -1 after the last.
        var next: Int32 = -1
        let start: Int32
        var count: Int32
    }

    private struct Lane {
        var first: Int32 = -1
        var last: Int32 = -1
    }

    /// Longer ones go out at once: they are worth a wake-up, and not a copy.
    static let bytesMax = 16 << 10
    /// Sockets of one lane are served one after the other; what they have in common is their address.
    static let lanes = 8
    private static let roomBytes = 256 << 10
    private static let sendsMax = 2_048

    private let room = UnsafeMutableRawPointer.allocate(byteCount: Self.roomBytes, alignment: 64)
    private let sends = UnsafeMutablePointer<Send>.allocate(capacity: Self.sendsMax)
    private var lanes = InlineArray<8, Lane>(repeating: Lane())
    private var used = 0
    private(set) var count = 0

    deinit {
        room.deallocate()
        sends.deallocate()
    }

    var isEmpty: Bool { count == 0 }

    @inline(__always)
    func hasRoom(for bytes: Int) -> Bool { used &+ bytes <= Self.roomBytes && count < Self.sendsMax }

    func holds(_ descriptor: Int32) -> Bool { (0..<count).contains { sends[$0].descriptor == descriptor } }

    /// - Precondition: there is room, and `lane` is below ``lanes``.
    @inline(__always)
    mutating func append(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, lane: Int) {
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return }
        (room + used).copyMemory(from: base, byteCount: bytes.count)
        let last = sends + (count &- 1)
        if count > 0, last.pointee.descriptor == descriptor {
            last.pointee.count &+= Int32(truncatingIfNeeded: bytes.count)
        } else {
            (sends + count).initialize(
                to: Send(
                    descriptor: descriptor, start: Int32(truncatingIfNeeded: used),
                    count: Int32(truncatingIfNeeded: bytes.count)))
            let index = Int32(truncatingIfNeeded: count)
            if lanes[lane].last >= 0 {
                sends[Int(lanes[lane].last)].next = index
            } else {
                lanes[lane].first = index
            }
            lanes[lane].last = index
            count &+= 1
        }
        used &+= bytes.count
    }

    /// Makes the sends, lane by lane.
    ///
    /// - Parameter fellShort: told of a socket that did not take all, and what it did not take: nil when it is broken.
    ///   Called again for what else was meant for that socket.
    mutating func makeAll(fellShort: (Int32, UnsafeRawBufferPointer?) -> Void) {
        for lane in 0..<Self.lanes where lanes[lane].first >= 0 {
            var index = lanes[lane].first
            while index >= 0 {
                let send = sends + Int(index)
                index = send.pointee.next
                let bytes = bytes(of: send)
                if bytes.isEmpty { continue }
                let sent = Self.send(bytes, to: send.pointee.descriptor)
                if sent < bytes.count { fell(short: send, after: sent, fellShort) }
            }
            lanes[lane] = Lane()
        }
        used = 0
        count = 0
    }

    private func bytes(of send: UnsafeMutablePointer<Send>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: room + Int(send.pointee.start), count: Int(send.pointee.count))
    }

    /// The socket took only `sent` bytes, or is broken (-1): what else there is for it is not sent.
    private func fell(
        short send: UnsafeMutablePointer<Send>, after sent: Int, _ fellShort: (Int32, UnsafeRawBufferPointer?) -> Void
    ) {
        let descriptor = send.pointee.descriptor
        fellShort(descriptor, sent < 0 ? nil : UnsafeRawBufferPointer(rebasing: bytes(of: send)[sent...]))
        var index = send.pointee.next
        while index >= 0 {
            let later = sends + Int(index)
            index = later.pointee.next
            guard later.pointee.descriptor == descriptor else { continue }
            if sent >= 0 { fellShort(descriptor, bytes(of: later)) }
            later.pointee.count = 0
        }
    }

    /// - Returns: how many bytes the socket took, or -1 if it is broken; `errno` says why.
    static func send(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Int {
        while true {
            let count = weir_send(descriptor, bytes.baseAddress, bytes.count)
            if count >= 0 { return count }
            if errno == EINTR { continue }
            return errno == EAGAIN ? 0 : -1
        }
    }
}
