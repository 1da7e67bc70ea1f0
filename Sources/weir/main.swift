import Foundation
import GatewayConfig
import GatewayServer

let file = CommandLine.arguments.last ?? "config/weir.yaml"
do {
    let settings = try GatewaySettings.load(file: file, environment: ProcessInfo.processInfo.environment)
    exit(try GatewayServer.run(settings: settings, configFile: file))
} catch {
    print("\(error)")
    exit(1)
}
