import Wire

/// Writes Prometheus' text format 0.0.4: families in the order they are added, each with its help and type.
///
/// Content type: ``contentType``. A family is added once, then its samples; the order never depends on a hash.
/// - Source: Prometheus documentation, "Exposition formats", text-based format.
package struct MetricsPage: ~Copyable {
    package enum Kind { case counter, gauge, histogram }
    /// A label's name, from the code, and its value, from the configuration; the value is escaped.
    package typealias Labels = KeyValuePairs<StaticString, String>

    package static let contentType: StaticString = "text/plain; version=0.0.4; charset=utf-8"

    private var out = ByteWriter(capacity: 16_384)
    private var family: StaticString = ""

    package init() {}

    /// Starts a family. `name` begins with `weir_`, counts in base units and ends in `_total` if it is a counter.
    package mutating func family(_ name: StaticString, _ kind: Kind, _ help: StaticString) {
        family = name
        out.append("# HELP ")
        out.append(name)
        out.append(0x20)
        out.append(help)
        out.append("\n# TYPE ")
        out.append(name)
        switch kind {
        case .counter: out.append(" counter\n")
        case .gauge: out.append(" gauge\n")
        case .histogram: out.append(" histogram\n")
        }
    }

    /// One sample of the family that was started last.
    package mutating func sample(_ labels: Labels, _ value: Int) {
        series("", labels)
        out.append(decimal: value)
        out.append(0x0A)
    }

    package mutating func sample(_ labels: Labels, _ value: Double) {
        series("", labels)
        append(value)
        out.append(0x0A)
    }

    package mutating func sample(_ value: Int) { sample([:], value) }
    package mutating func sample(_ value: Double) { sample([:], value) }

    /// All series of one histogram: cumulative buckets, sum in seconds, count.
    mutating func histogram(_ labels: Labels, _ reading: Histogram.Reading) {
        var total = 0
        for (bucket, count) in reading.counts.enumerated() {
            total += count
            let edge = bucket < Histogram.edgeLabels.count ? Histogram.edgeLabels[bucket] : "+Inf"
            series("_bucket", labels, edge: edge)
            out.append(decimal: total)
            out.append(0x0A)
        }
        series("_sum", labels)
        append(Double(reading.sumNanoseconds) / 1e9)
        out.append(0x0A)
        series("_count", labels)
        out.append(decimal: total)
        out.append(0x0A)
    }

    /// The page so far.
    package consuming func finish() -> [UInt8] { out.withUnsafeBytes { Array($0) } }

    private mutating func series(_ suffix: StaticString, _ labels: Labels, edge: String? = nil) {
        out.append(family)
        out.append(suffix)
        var separator: UInt8 = 0x7B  // {
        for (name, value) in labels {
            append(label: name, value, after: separator)
            separator = 0x2C  // ,
        }
        if let edge {
            append(label: "le", edge, after: separator)
            separator = 0x2C
        }
        out.append(separator == 0x2C ? "} " : " ")
    }

    private mutating func append(label: StaticString, _ value: String, after separator: UInt8) {
        out.append(separator)
        out.append(label)
        out.append("=\"")
        for byte in value.utf8 {
            switch byte {
            case 0x5C: out.append("\\\\")
            case 0x22: out.append("\\\"")
            case 0x0A: out.append("\\n")
            default: out.append(byte)
            }
        }
        out.append(0x22)
    }

    private mutating func append(_ value: Double) {
        if value.isNaN {
            out.append("NaN")
        } else if value.isInfinite {
            out.append(value < 0 ? "-Inf" : "+Inf")
        } else {
            out.append(value.description)
        }
    }
}
