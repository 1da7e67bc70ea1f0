import GatewayCore
import Telemetry

/// Who is asking, and what the loop keeps for them: what a credential that was verified lately leads to.
///
/// - Isolation: its loop. Not `Sendable`.
package final class Caller {
    let principal: Principal
    /// Here too, because looking into the principal would be one more cache miss.
    let mayUseAllModels: Bool
    /// What they have left. Looked up again when it was retired.
    var slot: LimiterSlot
    /// ``Principal/id`` as the access log shows it.
    let loggedID: LogText

    init(_ principal: Principal, slot: LimiterSlot) {
        self.principal = principal
        mayUseAllModels = principal.models == nil
        self.slot = slot
        loggedID = LogText(principal.id)
    }
}
