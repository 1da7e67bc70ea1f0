import Telemetry
import Upstreams
import Wire

/// A model as clients wrote its name, and who serves it: found once, then held by every request that names it so.
///
/// What every request for it needs is a `let` here, because a `let` of an object that is passed on is read without
/// counting references.
/// - Isolation: its loop.
final class NamedModel {
    /// The name between the quotes of the JSON string.
    let written: [UInt8]
    let kind: ChatRequest.Kind
    let model: ServedModel
    let pool: Pool
    /// The replicas call it otherwise.
    let isRenamed: Bool
    /// Other models may be asked when it can't answer.
    let hasFallback: Bool
    /// What the access log says of a request for it.
    let logged: LogText
    /// The pool's counters, as long as its fleet is in force.
    let counters: PoolMetrics

    init(
        _ written: [UInt8], _ kind: ChatRequest.Kind, _ found: (pool: Pool, model: ServedModel),
        _ services: LoopServices
    ) {
        self.written = written
        self.kind = kind
        model = found.model
        pool = found.pool
        isRenamed = model.upstreamName != nil
        hasFallback = !model.fallback.isEmpty
        logged = LogText(
            method: "POST", path: Endpoint.inference(kind).label, model: (name: written, pool: pool.name))
        counters = services.metrics.pool(services.upstreams.place(of: pool))
    }

    @inline(__always)
    func isFor(_ kind: ChatRequest.Kind, _ written: Span<UInt8>) -> Bool {
        switch (kind, self.kind) {
        case (.chat, .chat), (.completion, .completion), (.embedding, .embedding): written.equals(self.written)
        default: false
        }
    }
}

/// Models that were asked for lately, by the bytes that clients wrote for them: finding one again makes no string of
/// its name, and no hash.
///
/// - Bound: sixteen names of at most 256 bytes. A name takes the place of another one of like length and end.
/// - Isolation: its loop. It knows the models of one ``Fleet``; another fleet begins with none.
final class RecentModels {
    private static let writtenBytesMax = 256

    private var known = InlineArray<16, NamedModel?>(repeating: nil)

    func find(_ kind: ChatRequest.Kind, _ written: Span<UInt8>) -> NamedModel? {
        guard let known = known[Self.place(of: written)], known.isFor(kind, written) else { return nil }
        return known
    }

    func remember(_ named: NamedModel) {
        let written = named.written
        if written.count <= Self.writtenBytesMax { known[Self.place(of: written.span)] = named }
    }

    func forget() { known = InlineArray(repeating: nil) }

    private static func place(of written: Span<UInt8>) -> Int {
        written.isEmpty ? 0 : (written.count &+ Int(written[written.count - 1])) % 16
    }
}
