import GatewayCore
import Identity
import Telemetry

/// Who is asking, and what the loop keeps for them: what a credential that was verified lately leads to.
///
/// One block of memory with the credential, because with many callers each block is a cache miss.
/// - Isolation: its loop. Not `Sendable`.
package struct Caller {
    private let entry: TokenCache<LimiterSlot>.Entry

    init(_ entry: TokenCache<LimiterSlot>.Entry) { self.entry = entry }

    var principal: Principal { entry.principal }
    func mayUse(model: String) -> Bool { entry.mayUseAllModels || entry.principal.mayUse(model: model) }
    /// What they have left. Looked up again when it was retired.
    func withSlot<Result>(_ body: (LimiterSlot) -> Result) -> Result { entry.withAttachment(body) }
    func replaceSlot(by slot: LimiterSlot) { entry.attachment = slot }

    /// Who is asking as the access log shows it, as JSON: ``Principal/id``, or `null` if nobody knows.
    static func withLoggedID<Result>(of caller: Caller?, _ read: (Span<UInt8>) -> Result) -> Result {
        guard let caller else { return read(null.span) }
        return caller.withLoggedID(read)
    }

    @inline(__always)
    func withLoggedID<Result>(_ read: (Span<UInt8>) -> Result) -> Result { entry.withNote(read) }

    private static let null = Array("null".utf8)
}
