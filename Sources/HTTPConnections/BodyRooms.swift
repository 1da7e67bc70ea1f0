import GatewayCore
import Reactor
import Wire

/// Rooms for bodies that do not come with their head, which the connections of a loop use in turn.
///
/// Freed and made anew for each request, a room of this size goes back to the kernel at the allocator's whim and is
/// mapped and zeroed again page by page, which took a quarter of what a body of 512 KB costs. So a few stay, the one
/// that was used last in front, until large bodies stop coming.
/// - Bounds: ``keptMax`` rooms, ``keptBytesMax`` in all, until none has come back for two seconds.
/// - Isolation: its loop.
package final class BodyRooms {
    /// What a body has room for at once; one that is larger grows as it comes.
    package static let roomBytes = 1 << 20
    package static let keptMax = 16
    package static let keptBytesMax = 16 << 20

    private var rooms = InlineArray<16, ByteWriter> { _ in ByteWriter() }
    package private(set) var count = 0
    package private(set) var bytes = 0
    package let loop: EventLoop
    private let timer: LoopTimer
    private let keptFor: Interval

    package init(on loop: EventLoop, keptFor: Interval = .seconds(2)) {
        self.loop = loop
        self.keptFor = keptFor
        timer = LoopTimer(on: loop)
        timer.onFire { [unowned self] in
            release()
            EventLoop.returnFreeMemory()
        }
    }

    /// Gives `writer` a room; what it holds moves there.
    package func lend(to writer: inout ByteWriter) {
        var room = ByteWriter()
        if count > 0 {
            count -= 1
            swap(&rooms[count], &room)
            bytes -= room.capacity
        } else {
            room.reserve(Self.roomBytes)
        }
        room.append(writer.bytes)
        swap(&room, &writer)
    }

    /// Empties `writer`, and keeps its memory if it is a room and there are not enough of them.
    package func takeBack(_ writer: inout ByteWriter) {
        writer.removeAll()
        let size = writer.capacity
        guard size >= Self.roomBytes, count < Self.keptMax, bytes + size <= Self.keptBytesMax else {
            return writer.release()
        }
        bytes += size
        swap(&rooms[count], &writer)
        count += 1
        timer.set(loop.now + keptFor)
    }

    /// Gives the kept ones' memory back.
    package func release() {
        while count > 0 {
            count -= 1
            rooms[count].release()
        }
        bytes = 0
    }

    /// Ends it, before the loop ends.
    package func close() {
        release()
        timer.cancel()
    }
}
