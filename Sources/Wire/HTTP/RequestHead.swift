/// A request's method, target and fields, as ranges of the buffer that it was read into.
///
/// Used again for every request of a connection; an object, because whoever asks it would copy a struct that lies in
/// one. What it accepts and refuses: docs/http.md.
/// - Owns: the fields' memory, which it keeps until ``release()``.
/// Source: RFC 9110, RFC 9112.
public final class RequestHead {
    /// What a head means, besides its fields.
    package struct Facts: BitwiseCopyable, Sendable {
        fileprivate(set) var method = HTTPMethod.other
        fileprivate(set) var methodText = ByteRange.empty
        fileprivate(set) var target = ByteRange.empty
        fileprivate(set) var path = ByteRange.empty
        fileprivate(set) var query: ByteRange?
        fileprivate(set) var minorVersion = 1
        fileprivate(set) var framing = BodyFraming.none
        fileprivate(set) var keepsAlive = false
        fileprivate(set) var expectsContinue = false
        fileprivate(set) var host: ByteRange?
        fileprivate(set) var isAsteriskTarget = false
    }

    package typealias Recent = RecentHeads<Facts>

    private var facts = Facts()
    private var block = FieldBlock()
    private var phase = Phase.finished
    private var emptyLines = 0
    private var hasAuthority = false
    /// What heads are compared with first.
    private var familiar: FamiliarHead<Facts>?

    private enum Phase { case requestLine, fields, finished }

    /// - Parameter recent: shared with other heads of the loop; without it every head is parsed.
    package init(recent: Recent? = nil) { familiar = recent.map(FamiliarHead.init) }

    public var method: HTTPMethod { facts.method }
    package var methodText: ByteRange { facts.methodText }
    /// Path and query. Of an absolute URL the part behind the authority; `/` where it has none; `*` if that was asked.
    package var target: ByteRange { facts.target }
    public var path: ByteRange { facts.path }
    /// Behind the first `?`; may be empty.
    package var query: ByteRange? { facts.query }
    /// The 1 of HTTP/1.1.
    public var minorVersion: Int { facts.minorVersion }
    public var framing: BodyFraming { facts.framing }
    public var keepsAlive: Bool { facts.keepsAlive }
    /// The client waits for `100 Continue` before it sends the body. Never without a body, nor in HTTP/1.0.
    package var expectsContinue: Bool { facts.expectsContinue }
    /// Of an absolute URL its authority, else the Host field. Only HTTP/1.0 may have none.
    package var host: ByteRange? { facts.host }
    package var isAsteriskTarget: Bool { facts.isAsteriskTarget }

    public var fieldCount: Int { block.fields.count }
    /// Field number `index`, in their order.
    public func field(_ index: Int) -> HTTPField { block.fields[index] }
    /// A copy of all fields.
    package var fields: [HTTPField] { block.fields.array }

    /// The value of the first field `id`.
    public func first(_ id: FieldID) -> ByteRange? { block.first(id) }
    package func count(of id: FieldID) -> Int { block.count(of: id) }

    /// Forgets a head that is not complete: the next ``parse(_:from:limits:)`` begins anew.
    package func reset() { phase = .finished }

    /// Gives the memory of the fields back; what was found out from them stays, but for the ranges.
    package func releaseFields() { block.release() }

    /// Forgets all of the last head, which was another sender's; keeps the memory of its fields.
    package func forget() {
        facts = Facts()
        block.forget()
        phase = .finished
    }

    /// Gives the memory back that large heads needed.
    package func release() {
        block.release()
        phase = .finished
    }

    /// Reads the head that begins at `origin`; call it again with more bytes until it is complete.
    ///
    /// - In: the same bytes as before from `origin` on, and maybe more. With another `origin`, or fewer bytes, it
    ///   begins anew.
    /// - Out: `.complete` once, with all ranges valid for `bytes`. The call after that begins a new head.
    /// - Throws: what is wrong, as soon as the line it is in has arrived; the same however the input was split.
    /// - Cost: O(new bytes); no allocation once the field array has grown.
    package func parse(
        _ bytes: Span<UInt8>, from origin: Int, limits: HeadLimits
    ) throws(HTTPViolation) -> HeadProgress {
        precondition(origin >= 0 && origin <= bytes.count)
        if phase == .finished || !block.continues(in: bytes, from: origin) {
            if let end = recall(bytes, from: origin, limits) { return .complete(end: end) }
            begin(at: origin)
            if let end = try parseAtOnce(bytes, from: origin, limits) { return .complete(end: end) }
        }
        let entered = phase
        phase = .finished
        if entered == .requestLine {
            guard try parseFirstLine(bytes, from: origin, limits) else {
                phase = .requestLine
                return .incomplete
            }
        }
        let bound = origin + limits.headBytes
        while let line = try block.nextLine(bytes, bound: bound, orThrow: .headTooLarge) {
            if line.isEmpty {
                try finish(bytes)
                return .complete(end: block.lineStart)
            }
            let place = HeadLine(bytes, line)
            try block.parseField(bytes, place, singletons: Self.singletons, limit: limits.fields)
        }
        phase = .fields
        return .incomplete
    }

    /// Reads a head that is there as a whole, as most are. - Returns: nil when it is not, or looks unusual.
    private func parseAtOnce(
        _ bytes: Span<UInt8>, from origin: Int, _ limits: HeadLimits
    ) throws(HTTPViolation) -> Int? {
        phase = .finished
        let end = try block.readLines(bytes, bound: min(limits.headBytes, bytes.count)) {
            index, block, line throws(HTTPViolation) in
            if index > 0 {
                return try block.parseField(bytes, line, singletons: Self.singletons, limit: limits.fields)
            }
            guard line.end - line.start <= limits.requestLineBytes else { throw .requestLineTooLong }
            try parseRequestLine(bytes, line.start..<line.end)
        }
        if end == nil {
            phase = .requestLine
        } else {
            try finish(bytes)
            learn(bytes, from: origin)
        }
        return end
    }

    /// Reads a head that is like a recent one. - Returns: where it ends; nil when it has to be parsed.
    @inline(__always)
    private func recall(_ bytes: Span<UInt8>, from origin: Int, _ limits: HeadLimits) -> Int? {
        guard origin == 0, let known = block.recall(bytes, limits, &familiar) else { return nil }
        facts = known
        if case .length = known.framing {
            guard let length = block.length(bytes) else { return nil }
            facts.framing = .length(length)
        }
        facts.host = block.first(.host)
        phase = .finished
        return block.lineStart
    }

    /// Lets the next heads be compared with this one, if nothing of it is out of the ordinary or may be secret.
    private func learn(_ bytes: Span<UInt8>, from origin: Int) {
        guard origin == 0, !hasAuthority, query == nil, !block.has(.expect) else { return }
        familiar?.learn(bytes, block.fields, end: block.lineStart, facts)
    }

    /// Fields that decide what a request means: two of them would let two readers choose differently.
    private static var singletons: UInt64 {
        FieldID.host.bit | FieldID.contentLength.bit | FieldID.transferEncoding.bit | FieldID.expect.bit
            | FieldID.contentType.bit | FieldID.contentEncoding.bit | FieldID.authorization.bit | FieldID.origin.bit
            | FieldID.xSessionID.bit | FieldID.idempotencyKey.bit | FieldID.xStainlessRetryCount.bit
            | FieldID.accessControlRequestMethod.bit
    }

    private func begin(at origin: Int) {
        block.begin(at: origin)
        phase = .requestLine
        emptyLines = 0
        hasAuthority = false
        facts = Facts()
    }

    /// - Out: whether the request line is there.
    private func parseFirstLine(
        _ bytes: Span<UInt8>, from origin: Int, _ limits: HeadLimits
    ) throws(HTTPViolation) -> Bool {
        let headEnd = origin + limits.headBytes
        while true {
            let lineEnd = block.lineStart + limits.requestLineBytes + 2
            let isLineBound = lineEnd <= headEnd
            guard
                let line = try block.nextLine(
                    bytes, bound: isLineBound ? lineEnd : headEnd,
                    orThrow: isLineBound ? .requestLineTooLong : .headTooLarge)
            else { return false }
            if !line.isEmpty {
                try parseRequestLine(bytes, line)
                return true
            }
            // RFC 9112 §2.2: a client may send an empty line behind the body before. Two, then it is no client.
            emptyLines += 1
            if emptyLines > 2 { throw .emptyLines }
        }
    }

    private func finish(_ bytes: Span<UInt8>) throws(HTTPViolation) {
        if let field = block.first(.host) {
            guard bytes.isAuthority(field.range) else { throw .host }
            // RFC 9112 §3.2.2: the authority of an absolute URL replaces the field.
            if !hasAuthority { facts.host = field }
        } else if minorVersion == 1 {
            throw .missingHost
        }
        facts.framing = try block.announcedFraming(bytes, minorVersion: minorVersion) ?? .none
        facts.keepsAlive = try block.applyConnection(bytes, minorVersion: minorVersion)
        if let expectation = block.first(.expect) {
            guard bytes.extracting(expectation).equalsIgnoringCase("100-continue") else { throw .expectation }
            facts.expectsContinue = minorVersion == 1 && framing != .none && framing != .length(0)
        }
    }
}

// MARK: The request line

extension RequestHead {
    /// `method SP target SP version`, one space each.
    ///
    /// Source: RFC 9112 §3; RFC 9113 §3.4 for the preface of HTTP/2.
    private func parseRequestLine(_ bytes: Span<UInt8>, _ line: Range<Int>) throws(HTTPViolation) {
        let start = line.lowerBound
        let space = bytes.firstIndex(of: ASCII.space, from: start, to: line.upperBound)
        guard space > start, bytes.consists(of: .token, from: start, to: space) else {
            throw space == line.upperBound ? .requestLine : .method
        }
        let targetEnd = line.upperBound - 9
        guard targetEnd > space + 1, bytes[targetEnd] == ASCII.space else {
            throw Self.problem(bytes, space, line.upperBound)
        }
        if space - start == 3, bytes.holds("PRI", at: start), bytes.holds("HTTP/2.0", at: targetEnd + 1) {
            throw .http2Preface
        }
        facts.minorVersion = try bytes.minorVersion(at: targetEnd + 1)
        facts.methodText = ByteRange(start..<space)
        facts.method = HTTPMethod(bytes, start..<space)
        if method == .other, space - start == 7, bytes.holds("CONNECT", at: start) { throw .connectMethod }
        try parseTarget(bytes, space + 1..<targetEnd)
    }

    /// Why a line without a target or without a version of eight bytes at its end is refused.
    private static func problem(_ bytes: Span<UInt8>, _ space: Int, _ end: Int) -> HTTPViolation {
        let second = bytes.firstIndex(of: ASCII.space, from: min(space + 1, end), to: end)
        guard second < end, second > space + 1 else { return .requestLine }
        return bytes.firstIndex(of: ASCII.space, from: second + 1, to: end) < end ? .requestLine : .version
    }

    /// Source: RFC 9112 §3.2.
    private func parseTarget(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(HTTPViolation) {
        if bytes[range.lowerBound] == ASCII.slash {
            return try parsePath(bytes, range)
        }
        if range.count == 1, bytes[range.lowerBound] == ASCII.asterisk {
            guard method == .options else { throw .asteriskTarget }
            facts.isAsteriskTarget = true
            facts.target = ByteRange(range)
            facts.path = target
            return
        }
        try parseAbsoluteURL(bytes, range)
    }

    private func parsePath(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(HTTPViolation) {
        var mark = range.upperBound
        var set = ByteSet.path
        var at = bytes.firstUnusualInPath(from: range.lowerBound, to: range.upperBound)
        while at < range.upperBound {
            let byte = bytes[at]
            if !set.contains(byte) {
                guard byte == ASCII.questionMark else { throw byte == ASCII.space ? .requestLine : .target }
                mark = at
                set = .query
            } else if byte == ASCII.percent {
                guard at + 2 < range.upperBound, ByteSet.hexDigit.contains(bytes[at + 1]),
                    ByteSet.hexDigit.contains(bytes[at + 2])
                else { throw .target }
            }
            at &+= 1
        }
        facts.target = ByteRange(range)
        facts.path = ByteRange(range.lowerBound..<mark)
        if mark < range.upperBound { facts.query = ByteRange(mark + 1..<range.upperBound) }
    }

    /// `http://host/path`: what a client sends that takes us for its proxy.
    private func parseAbsoluteURL(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(HTTPViolation) {
        var start = range.lowerBound
        if range.count > 7, bytes.stands("http://", at: start) {
            start += 7
        } else if range.count > 8, bytes.stands("https://", at: start) {
            start += 8
        } else {
            let isSpaced = bytes.firstIndex(of: ASCII.space, from: start, to: range.upperBound) < range.upperBound
            throw isSpaced ? .requestLine : .targetForm
        }
        var end = start
        while end < range.upperBound, bytes[end] != ASCII.slash, bytes[end] != ASCII.questionMark {
            if bytes[end] == ASCII.at { throw .userinfo }
            end += 1
        }
        guard bytes.isAuthority(start..<end) else { throw .target }
        facts.host = ByteRange(start..<end)
        hasAuthority = true
        if end < range.upperBound {
            // `http://host?query` is a URL, but there is no byte in it that could be its path.
            guard bytes[end] == ASCII.slash else { throw .targetForm }
            return try parsePath(bytes, end..<range.upperBound)
        }
        // An empty path is `/`, and for OPTIONS the server as a whole (RFC 9112 §3.2.4). The slash is the scheme's.
        facts.target = ByteRange(start - 1..<start)
        facts.path = target
        facts.isAsteriskTarget = method == .options
    }
}

extension Span where Element == UInt8 {
    /// Whether `lowercased` stands at `start`, letters in any case. - Precondition: so many bytes are there.
    fileprivate func stands(_ lowercased: StaticString, at start: Int) -> Bool {
        extracting(start..<start + lowercased.utf8CodeUnitCount).equalsIgnoringCase(lowercased)
    }

    /// The minor version of the eight bytes at `start`, which must be `HTTP/1.0` or `HTTP/1.1`.
    ///
    /// Source: RFC 9112 §2.3.
    func minorVersion(at start: Int) throws(HTTPViolation) -> Int {
        if holds("HTTP/1.1", at: start) { return 1 }
        if holds("HTTP/1.0", at: start) { return 0 }
        guard
            holds("HTTP/", at: start), self[start + 6] == ASCII.dot, self[start + 5] &- ASCII.zero < 10,
            self[start + 7] &- ASCII.zero < 10
        else { throw .version }
        throw .unsupportedVersion
    }
}
