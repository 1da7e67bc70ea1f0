import GatewayConfig

// Stands in for the assembly until it is here.
package enum GatewayServer {
    package static func run(settings: GatewaySettings, configFile: String) throws -> Int32 { 70 }
}
