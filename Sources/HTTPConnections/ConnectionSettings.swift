import GatewayCore
import Wire

/// Bounds and deadlines of connections with clients. Plain settings: defaults are the configuration's.
///
/// A class, because every connection has them.
package final class ConnectionSettings: Sendable {
    package let head: HeadLimits
    package let chunks: ChunkedDecoder.Limits
    /// Bytes that one body may have.
    package let bodyBytesMax: Int
    /// From the first byte of a request to the end of its head.
    package let headTimeout: Interval
    /// Between two reads of a body.
    package let bodyStall: Interval
    /// Between two requests.
    package let idleTimeout: Interval
    /// Between two writes that the client takes.
    package let writeStall: Interval

    package init(
        head: HeadLimits, chunks: ChunkedDecoder.Limits, bodyBytesMax: Int, headTimeout: Interval, bodyStall: Interval,
        idleTimeout: Interval, writeStall: Interval
    ) {
        self.head = head
        self.chunks = chunks
        self.bodyBytesMax = bodyBytesMax
        self.headTimeout = headTimeout
        self.bodyStall = bodyStall
        self.idleTimeout = idleTimeout
        self.writeStall = writeStall
    }
}
