import Balancing
import Glibc

/// `weir-microbench [NAME]`: nanoseconds of the request path's parts, as a Markdown table; only groups whose name
/// contains NAME, if one is given.
@main
enum Microbench {
    static func main() {
        let groups: [(name: String, run: () -> [Measurement], grows: Bool)] = [
            ("parsers", parserMeasurements, false),
            ("tokens", tokenMeasurements, false),
            ("token-cache", tokenCacheMeasurements, true),
            ("limiter", limiterMeasurements, true),
            ("limiter-table", limiterTableMeasurements, true),
            ("balancer-round-robin", { balancerMeasurements(.smoothRoundRobin) }, true),
            ("balancer-least-in-flight", { balancerMeasurements(.leastInFlight) }, true),
        ]
        let wanted = CommandLine.arguments.dropFirst().first
        print("| group | what | ns | over the first |")
        print("|---|---|---:|---:|")
        for group in groups where wanted.map({ group.name.contains($0) }) ?? true {
            let measurements = group.run()
            for measurement in measurements {
                let ratio = group.grows ? tenths(measurement.nanoseconds / measurements[0].nanoseconds, 2) : ""
                print("| \(group.name) | \(measurement.name) | \(tenths(measurement.nanoseconds, 1)) | \(ratio) |")
            }
            // Measuring takes seconds: show what there is.
            fflush(nil)
        }
    }

    /// `value` with so many decimals, without Foundation.
    private static func tenths(_ value: Double, _ decimals: Int) -> String {
        let scale = decimals == 1 ? 10 : 100
        let whole = Int((value * Double(scale)).rounded())
        let fraction = String(whole % scale)
        return "\(whole / scale).\(String(repeating: "0", count: decimals - fraction.utf8.count))\(fraction)"
    }
}
