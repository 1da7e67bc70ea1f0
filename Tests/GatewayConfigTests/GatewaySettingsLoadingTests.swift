import Foundation
import GatewayCore
import TestSupport
import Testing

@testable import GatewayConfig

@Suite struct GatewaySettingsLoadingTests {
    /// `WEIR_WRITE_EXPECTED=1 swift test` writes the files anew; read the difference before committing it.
    @Test(arguments: try Fixture.all)
    func `every fixture leads to the settings or the problems beside it`(fixture: Fixture) throws {
        if ProcessInfo.processInfo.environment["WEIR_WRITE_EXPECTED"] == "1" {
            let file = Fixture.folder.appending(path: "\(fixture.name).expected")
            try fixture.outcome.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(fixture.outcome == fixture.expected)
    }
}
