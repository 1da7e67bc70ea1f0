/// Reads a page in Prometheus' text format the strict way: what it does not accept is a problem of the page.
struct PageReader {
    /// By series as printed, such as `weir_connections` or `weir_replica_up{pool="a",replica="b"}`.
    private(set) var values: [String: Double] = [:]
    private(set) var types: [String: String] = [:]
    private(set) var families: [String] = []
    private(set) var problems: [String] = []

    init(_ page: [UInt8]) {
        let text = String(decoding: page, as: UTF8.self)
        if !text.hasSuffix("\n") { problems.append("the last line is not ended") }
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() { read(String(line)) }
    }

    subscript(_ series: String) -> Double? { values[series] }

    private mutating func read(_ line: String) {
        if line.hasPrefix("# HELP ") {
            let name = String(line.dropFirst(7).prefix { $0 != " " })
            if families.contains(name) { problems.append("\(name) comes twice") }
            families.append(name)
        } else if line.hasPrefix("# TYPE ") {
            let words = line.split(separator: " ")
            if words.count != 4 || String(words[2]) != families.last { problems.append("out of place: \(line)") }
            types[String(words[2])] = String(words[3])
        } else {
            readSample(line)
        }
    }

    private mutating func readSample(_ line: String) {
        guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]) else {
            problems.append("no value: \(line)")
            return
        }
        let series = String(line[..<space])
        var name = String(series.prefix { $0 != "{" })
        if let family = families.last, types[family] == "histogram" {
            for suffix in ["_bucket", "_sum", "_count"] where name == family + suffix { name = family }
        }
        if name != families.last { problems.append("outside its family: \(line)") }
        if values.updateValue(value, forKey: series) != nil { problems.append("twice: \(series)") }
    }
}
