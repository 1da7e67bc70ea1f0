import Glibc

/// The small sends of a loop's turn, made together at its end.
///
/// A send wakes its receiver, and to wake a process that sleeps costs more than to hand bytes to one that is awake.
/// Sends that follow each other closely, those to one receiver first, find it awake but for the first of them: on one
/// machine that halves the wake-ups and takes a tenth off a request's CPU time. Sends to one socket become one, and
/// those to replicas go first.
///
/// - Isolation: the loop's thread.
/// - Bounds: `roomBytes` of bytes; a turn that sends more makes its sends in pieces.
struct SendQueue: ~Copyable {
    private struct Send {
        var descriptor: Int32
        var lane: UInt8
        var start: Int
        var count: Int
    }

    /// Longer ones go out at once: they are worth a wake-up, and not a copy.
    static let bytesMax = 16 << 10
    /// Sockets of one lane are served one after the other; what they have in common is their address.
    static let lanes: UInt8 = 8
    private static let roomBytes = 256 << 10

    private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.roomBytes, alignment: 64)
    private var used = 0
    private var sends: [Send] = []

    deinit { room.deallocate() }

    var isEmpty: Bool { sends.isEmpty }

    func hasRoom(for count: Int) -> Bool { used + count <= room.count }

    func holds(_ descriptor: Int32) -> Bool { sends.contains { $0.descriptor == descriptor } }

    /// - Precondition: there is room.
    mutating func append(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, lane: UInt8) {
        UnsafeMutableRawBufferPointer(rebasing: room[used...]).copyMemory(from: bytes)
        if let last = sends.indices.last, sends[last].descriptor == descriptor {
            sends[last].count += bytes.count
        } else {
            sends.append(Send(descriptor: descriptor, lane: lane, start: used, count: bytes.count))
        }
        used += bytes.count
    }

    /// Makes the sends, lane by lane.
    ///
    /// - Parameter fellShort: told of a socket that did not take all, and what it did not take: nil when it is broken.
    ///   Called again for what else was meant for that socket.
    mutating func makeAll(fellShort: (Int32, UnsafeRawBufferPointer?) -> Void) {
        for lane in 0..<Self.lanes {
            for index in sends.indices where sends[index].lane == lane && sends[index].count > 0 {
                let bytes = UnsafeRawBufferPointer(rebasing: room[sends[index].start...].prefix(sends[index].count))
                let descriptor = sends[index].descriptor
                let sent = Self.send(bytes, to: descriptor)
                guard sent < bytes.count else { continue }
                fellShort(descriptor, sent < 0 ? nil : UnsafeRawBufferPointer(rebasing: bytes[sent...]))
                for later in sends.indices[(index + 1)...] where sends[later].descriptor == descriptor {
                    let bytes = room[sends[later].start...].prefix(sends[later].count)
                    sends[later].count = 0
                    if sent >= 0 { fellShort(descriptor, UnsafeRawBufferPointer(rebasing: bytes)) }
                }
            }
        }
        sends.removeAll(keepingCapacity: true)
        used = 0
    }

    /// - Returns: how many bytes the socket took, or -1 if it is broken; `errno` says why.
    static func send(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Int {
        while true {
            let count = Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
            if count >= 0 { return count }
            if errno == EINTR { continue }
            return errno == EAGAIN ? 0 : -1
        }
    }
}
