import CVectors

/// One line of a head, without its CRLF.
struct HeadLine {
    let start: Int
    /// The first one; `end` where there is none.
    let colon: Int
    let end: Int

    init(start: Int, colon: Int, end: Int) {
        self.start = start
        self.colon = colon
        self.end = end
    }

    /// A line that was found on its own.
    init(_ bytes: Span<UInt8>, _ line: Range<Int>) {
        start = line.lowerBound
        end = line.upperBound
        colon = bytes.firstIndex(of: ASCII.colon, from: start, to: end)
    }
}

/// The lines of one head: finds them as bytes arrive, and keeps what its fields are.
///
/// Used again for every head of a connection, so it allocates only until the largest head was seen.
/// - Cost: each byte is looked at once to find the line ends and refuse control bytes; names and values once more.
struct FieldBlock: ~Copyable {
    private(set) var fields = FieldList()
    /// Where the head begins in the buffer; -1 before the first one.
    private var origin = -1
    private(set) var lineStart = 0
    /// Everything before it was searched for line ends.
    private var scanned = 0

    mutating func begin(at start: Int) {
        fields.removeAll()
        origin = start
        lineStart = start
        scanned = start
    }

    /// Whether `bytes` can be those of the head at hand, and more.
    func continues(in bytes: Span<UInt8>, from start: Int) -> Bool { origin == start && scanned <= bytes.count }

    /// Forgets the head, keeps the memory.
    mutating func forget() {
        fields.removeAll()
        origin = -1
    }

    /// Forgets the head and gives the memory back.
    mutating func release() {
        self = FieldBlock()
    }

    // MARK: Recent heads

    /// Reads the head that `bytes` begin with as a recent one; its fields are here then, and it ends at ``lineStart``.
    ///
    /// - Returns: what it means besides its fields; nil when it has to be parsed.
    @inline(__always)
    mutating func recall<Facts>(
        _ bytes: Span<UInt8>, _ limits: HeadLimits, _ familiar: inout FamiliarHead<Facts>?
    ) -> Facts? {
        familiar?.recall(bytes, limits, into: &fields, end: &lineStart)
    }

    // MARK: Lines

    /// Lines that are found at once; a longer head is read line by line.
    private static let linesAtOnce = 40

    /// Hands the lines of the whole head to `read`, if all of it is there and its lines end as they should: that finds
    /// the lines of most heads in one go. The empty line at the end is not among them.
    ///
    /// - In: `bound`, the most bytes that the head may have.
    /// - Returns: where the head ends; nil when it has to be read line by line, which also finds what is wrong with it.
    @inline(__always)
    mutating func readLines(
        _ bytes: Span<UInt8>, bound: Int, _ read: (Int, inout FieldBlock, HeadLine) throws(HTTPViolation) -> Void
    ) throws(HTTPViolation) -> Int? {
        try withUnsafeTemporaryAllocation(of: weir_line.self, capacity: Self.linesAtOnce) {
            lines throws(HTTPViolation) -> Int? in
            let origin = origin
            let count = bytes.extracting(origin..<bytes.count).withUnsafeBufferPointer { head in
                guard let start = head.baseAddress else { return 0 }
                return weir_head_lines(start, head.count, lines.baseAddress, Self.linesAtOnce)
            }
            // So many were filled in.
            guard count > 1, Int(lines[count &- 1].end) &+ 2 <= bound else { return nil }
            for index in 0..<count &- 1 {
                let line = lines[index]
                let place = HeadLine(
                    start: origin &+ Int(line.start), colon: origin &+ Int(line.colon), end: origin &+ Int(line.end))
                try read(index, &self, place)
            }
            lineStart = origin &+ Int(lines[count &- 1].end) &+ 2
            return lineStart
        }
    }

    /// The next whole line without its CRLF, or nothing when it has not arrived whole.
    ///
    /// - In: `bound`, the end of what the line may reach including its CRLF.
    /// - Throws: `violation` when the line does not end before `bound`; a control byte as soon as it is seen.
    @inline(__always)
    mutating func nextLine(
        _ bytes: Span<UInt8>, bound: Int, orThrow violation: HTTPViolation
    ) throws(HTTPViolation) -> Range<Int>? {
        let end = min(bytes.count, bound)
        let at = bytes.firstControl(from: scanned, to: end)
        if at &+ 1 < end, bytes[at] == ASCII.carriageReturn {
            guard bytes[at &+ 1] == ASCII.lineFeed else { throw .bareCarriageReturn }
            let line = lineStart..<at
            lineStart = at &+ 2
            scanned = lineStart
            return line
        }
        if at < end, bytes[at] != ASCII.carriageReturn {
            throw bytes[at] == ASCII.lineFeed ? .bareLineFeed : .controlByte
        }
        scanned = at
        if end == bound { throw violation }
        return nil
    }

    // MARK: Fields

    /// Reads the field line at `line`. Names in `singletons` may come once only.
    ///
    /// Source: RFC 9112 §5, RFC 9110 §5.
    mutating func parseField(
        _ bytes: Span<UInt8>, _ line: HeadLine, singletons: UInt64, limit: Int
    ) throws(HTTPViolation) {
        let start = line.start
        let end = line.end
        let colon = line.colon
        let first = bytes[start]
        if first == ASCII.space || first == ASCII.tab { throw .foldedField }
        guard colon < end else { throw .missingColon }
        guard colon > start else { throw .emptyFieldName }
        let id = FieldID.named(bytes, from: start, to: colon)
        if id.isUncheckedName, !bytes.isPlainToken(from: start, to: colon) {
            try checkName(bytes, start..<colon, id)
        }
        if fields.present & id.bit & singletons != 0 { throw Self.duplicate(id) }
        guard fields.count < limit else { throw .tooManyFields }
        let value = bytes.trimmed(from: colon &+ 1, to: end)
        fields.append(
            HTTPField(
                name: ByteRange(start: start, count: colon &- start),
                value: ByteRange(start: value.lowerBound, count: value.upperBound &- value.lowerBound), id: id))
    }

    private func checkName(_ bytes: Span<UInt8>, _ name: Range<Int>, _ id: FieldID) throws(HTTPViolation) {
        var hasUnderscore = false
        var at = name.lowerBound
        while at < name.upperBound {
            let byte = bytes[at]
            guard ByteSet.token.contains(byte) else {
                let last = bytes[name.upperBound &- 1]
                throw last == ASCII.space || last == ASCII.tab ? .spaceBeforeColon : .fieldName
            }
            hasUnderscore = hasUnderscore || byte == ASCII.underscore
            at &+= 1
        }
        if hasUnderscore, id == .other, FieldID.isDisguised(bytes, name) { throw .underscoredFieldName }
    }

    private static func duplicate(_ id: FieldID) -> HTTPViolation {
        switch id {
        case .contentLength: .duplicateContentLength
        case .transferEncoding: .duplicateTransferEncoding
        default: .duplicateField
        }
    }

    // MARK: Look-up

    @inline(__always)
    func has(_ id: FieldID) -> Bool { fields.has(id) }

    @inline(__always)
    func first(_ id: FieldID) -> ByteRange? { fields.first(id)?.value }

    func count(of id: FieldID) -> Int {
        guard has(id) else { return 0 }
        var count = 0
        for index in 0..<fields.count where fields[index].id == id { count += 1 }
        return count
    }

    // MARK: Framing

    /// What the framing fields say, if anything. Only ``BodyFraming/length(_:)`` or ``BodyFraming/chunked``.
    ///
    /// Source: RFC 9112 §6.
    func announcedFraming(_ bytes: Span<UInt8>, minorVersion: Int) throws(HTTPViolation) -> BodyFraming? {
        if let coding = first(.transferEncoding) {
            if has(.contentLength) { throw .lengthAndTransferEncoding }
            if minorVersion == 0 { throw .transferEncodingInHTTP10 }
            guard bytes.extracting(coding).equalsIgnoringCase("chunked") else { throw .transferCoding }
            return .chunked
        }
        guard has(.contentLength) else { return nil }
        guard let length = length(bytes) else { throw .contentLength }
        return .length(length)
    }

    /// What Content-Length says; nil when it is not there or no number.
    @inline(__always)
    func length(_ bytes: Span<UInt8>) -> Int? { first(.contentLength).flatMap { bytes.decimal($0.range) } }

    // MARK: Connection

    /// Marks the fields that `Connection` lists, and says whether the connection stays open behind this message.
    ///
    /// - Throws: `.protectedConnectionOption` when it lists a field that the gateway relies on, such as Host,
    ///   Content-Length or Authorization: obeying would strip it, ignoring would forward what the sender withdrew.
    /// - Cost: at most 32 options, each compared with every field.
    ///
    /// Source: RFC 9110 §7.6.1, RFC 9112 §9.3.
    mutating func applyConnection(_ bytes: Span<UInt8>, minorVersion: Int) throws(HTTPViolation) -> Bool {
        guard has(.connection) else { return minorVersion == 1 }
        if let only = first(.connection), count(of: .connection) == 1 {
            // What nearly every client sends.
            let start = Int(only.start)
            if only.count == 10, bytes.holdsIgnoringCase("keep-alive", at: start) { return true }
            if only.count == 5, bytes.holdsIgnoringCase("close", at: start) { return false }
        }
        var closes = false
        var keeps = false
        var options = 0
        for index in 0..<fields.count where fields[index].id == .connection {
            let list = fields[index].value.range
            var start = list.lowerBound
            while start < list.upperBound {
                let comma = bytes.firstIndex(of: ASCII.comma, from: start, to: list.upperBound)
                let option = bytes.trimmed(from: start, to: comma)
                start = comma + 1
                if option.isEmpty { continue }
                options += 1
                guard options <= 32, bytes.consists(of: .token, from: option.lowerBound, to: option.upperBound) else {
                    throw .connectionOptions
                }
                if option.count == 5, bytes.holdsIgnoringCase("close", at: option.lowerBound) {
                    closes = true
                } else if option.count == 10, bytes.holdsIgnoringCase("keep-alive", at: option.lowerBound) {
                    keeps = true
                } else {
                    try withhold(bytes, option)
                }
            }
        }
        return !closes && (keeps || minorVersion == 1)
    }

    private mutating func withhold(_ bytes: Span<UInt8>, _ name: Range<Int>) throws(HTTPViolation) {
        let id = FieldID.named(bytes, from: name.lowerBound, to: name.upperBound)
        guard id == .other || (id.isHopByHop && id != .transferEncoding) else { throw .protectedConnectionOption }
        for index in 0..<fields.count where fields[index].id == id {
            if id != .other || bytes.equalTokens(fields[index].name.range, name) {
                fields[index].isNamedByConnection = true
            }
        }
    }
}

extension FieldID {
    @inline(__always)
    var bit: UInt64 { 1 << UInt64(rawValue & 63) }

    /// The look-up did not compare the whole name.
    @inline(__always)
    var isUncheckedName: Bool { self == .other || self == .xRateLimit || self == .xWeir }
}
