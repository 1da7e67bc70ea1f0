import HTTPConnections
import Wire

/// Memory that all relays of one loop use in turn, each within one call: nothing in it outlives a suspension.
package final class RelayBuffers {
    /// What has come of the events and was not looked at yet.
    var payload = ByteWriter(capacity: 16_384)
    /// What goes to the client next.
    var out = ByteWriter(capacity: 16_384)
    /// For requests on their way to replicas.
    let requests = SpareRoom()
    /// For replies on their way from them.
    let replies = SpareRoom(capacity: 16_384)
    /// What their heads looked like.
    let recentReplies = ReplyHead.Recent()

    package init() {}
}
