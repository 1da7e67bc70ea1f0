import Wire

/// One piece of memory that connections of a loop use in turn, each for a message that comes or goes at once.
///
/// Nearly every message does: it is received, read and passed on within one turn of the loop. So the memory is made
/// once; who has to wait in the middle of a message keeps it, and the next one makes some anew.
/// - Bound: one piece of at most ``keptBytes``.
/// - Isolation: its loop.
package final class SpareRoom {
    private static let keptBytes = 64 << 10
    private var bytes: ByteWriter

    /// - Parameter capacity: what it has to begin with; else it grows with what is written.
    package init(capacity: Int = 0) { bytes = ByteWriter(capacity: capacity) }

    /// Gives `writer` the memory, if it has none of its own.
    package func lend(to writer: inout ByteWriter) {
        if !writer.hasRoom { swap(&bytes, &writer) }
    }

    /// Empties `writer` and takes its memory back, if there is none or only a smaller piece.
    package func takeBack(_ writer: inout ByteWriter) {
        guard writer.hasRoom else { return }
        if writer.count > Self.keptBytes { return writer.release() }
        writer.removeAll()
        if writer.room > bytes.room { swap(&bytes, &writer) }
        if writer.hasRoom { writer.release() }
    }
}
