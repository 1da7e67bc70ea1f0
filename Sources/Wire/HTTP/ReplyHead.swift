/// How far the head of a reply has come.
package enum ReplyProgress: Equatable, Sendable {
    case incomplete
    /// An interim reply (1xx), to be skipped: the next head begins at `end`.
    case interim(end: Int)
    /// The final reply; its body begins at `end`.
    case complete(end: Int)
}

/// A reply's status and fields, as ranges of the buffer that it was read into.
///
/// As strict as ``RequestHead``: a replica whose framing can be read in two ways has failed.
/// - Owns: the fields' memory, which it keeps until ``release()``.
/// Source: RFC 9110 §15, RFC 9112 §4, §6.3.
public final class ReplyHead {
    /// What a head says besides its fields, whatever it answers.
    package struct Facts: BitwiseCopyable, Sendable {
        fileprivate(set) var status = 0
        fileprivate(set) var minorVersion = 1
        /// Only ``BodyFraming/length(_:)`` or ``BodyFraming/chunked``.
        fileprivate(set) var announced: BodyFraming?
        /// Nothing that it says closes the connection.
        fileprivate(set) var persists = false
    }

    package typealias Recent = RecentHeads<Facts>

    private var facts = Facts()
    private var block = FieldBlock()
    private var phase = Phase.finished
    private var interims = 0
    /// What heads are compared with first.
    private var familiar: FamiliarHead<Facts>?

    private enum Phase { case statusLine, fields, afterInterim, finished }

    /// - Parameter recent: shared with other heads of the loop; without it every head is parsed.
    package init(recent: Recent? = nil) { familiar = recent.map(FamiliarHead.init) }

    public var status: Int { facts.status }
    package var minorVersion: Int { facts.minorVersion }
    /// How the body is counted. `.none` for replies to HEAD and for 204 and 304, whatever they announce.
    public private(set) var framing = BodyFraming.none
    /// The connection may carry another request once the body was read. Never with `.untilClose`.
    public private(set) var keepsAlive = false

    package var fieldCount: Int { block.fields.count }
    /// Field number `index`, in their order.
    package func field(_ index: Int) -> HTTPField { block.fields[index] }
    /// A copy of all fields.
    package var fields: [HTTPField] { block.fields.array }

    /// The value of the first field `id`.
    public func first(_ id: FieldID) -> ByteRange? { block.first(id) }
    package func count(of id: FieldID) -> Int { block.count(of: id) }

    /// Forgets a head that is not complete: the next ``parse(_:from:limits:requestMethod:)`` begins anew.
    package func reset() { phase = .finished }

    /// Gives the memory of the fields back; what was found out from them stays.
    package func releaseFields() { block.release() }

    /// Gives the memory back that large heads needed.
    package func release() {
        block.release()
        phase = .finished
    }

    /// Reads the head that begins at `origin`; call it again with more bytes until it is complete.
    ///
    /// - In: as ``RequestHead/parse(_:from:limits:)``; behind an interim reply with its `end` as `origin`.
    /// - Out: `.interim` at most eight times, then `.complete` once.
    /// - Throws: what is wrong, the same however the input was split.
    /// - Cost: O(new bytes); no allocation once the field array has grown.
    package func parse(
        _ bytes: Span<UInt8>, from origin: Int, limits: HeadLimits, requestMethod: HTTPMethod
    ) throws(HTTPViolation) -> ReplyProgress {
        precondition(origin >= 0 && origin <= bytes.count)
        if phase == .finished {
            interims = 0
            if recall(bytes, from: origin, limits) { return conclude(requestMethod) }
        }
        if phase == .finished || phase == .afterInterim || !block.continues(in: bytes, from: origin) {
            block.begin(at: origin)
            phase = .statusLine
            if let progress = try parseAtOnce(bytes, from: origin, limits, requestMethod) { return progress }
        }
        let entered = phase
        phase = .finished
        let headEnd = origin + limits.headBytes
        if entered == .statusLine {
            let lineEnd = origin + limits.requestLineBytes + 2
            let isLineBound = lineEnd <= headEnd
            guard
                let line = try block.nextLine(
                    bytes, bound: isLineBound ? lineEnd : headEnd,
                    orThrow: isLineBound ? .statusLineTooLong : .headTooLarge)
            else {
                phase = .statusLine
                return .incomplete
            }
            try parseStatusLine(bytes, line)
        }
        while let line = try block.nextLine(bytes, bound: headEnd, orThrow: .headTooLarge) {
            if line.isEmpty { return try finish(bytes, requestMethod) }
            let place = HeadLine(bytes, line)
            try block.parseField(bytes, place, singletons: Self.singletons, limit: limits.fields)
        }
        phase = .fields
        return .incomplete
    }

    /// Reads a head that is there as a whole, as most are. - Returns: nil when it is not, or looks unusual.
    private func parseAtOnce(
        _ bytes: Span<UInt8>, from origin: Int, _ limits: HeadLimits, _ requestMethod: HTTPMethod
    ) throws(HTTPViolation) -> ReplyProgress? {
        phase = .finished
        let end = try block.readLines(bytes, bound: min(limits.headBytes, bytes.count)) {
            index, block, line throws(HTTPViolation) in
            if index > 0 {
                return try block.parseField(bytes, line, singletons: Self.singletons, limit: limits.fields)
            }
            guard line.end - line.start <= limits.requestLineBytes else { throw .statusLineTooLong }
            try parseStatusLine(bytes, line.start..<line.end)
        }
        guard end != nil else {
            phase = .statusLine
            return nil
        }
        let progress = try finish(bytes, requestMethod)
        if origin == 0, case .complete(let end) = progress { familiar?.learn(bytes, block.fields, end: end, facts) }
        return progress
    }

    /// Reads a head that is like a recent one, which is never an interim reply.
    ///
    /// - Returns: false when it has to be parsed.
    @inline(__always)
    private func recall(_ bytes: Span<UInt8>, from origin: Int, _ limits: HeadLimits) -> Bool {
        guard origin == 0, let known = block.recall(bytes, limits, &familiar) else { return false }
        facts = known
        if case .length = known.announced {
            guard let length = block.length(bytes) else { return false }
            facts.announced = .length(length)
        }
        return true
    }

    private static var singletons: UInt64 {
        FieldID.contentLength.bit | FieldID.transferEncoding.bit | FieldID.contentType.bit
            | FieldID.contentEncoding.bit
    }

    /// `version SP status SP [reason]`: the second space is required, the reason is not kept.
    ///
    /// Source: RFC 9112 §4.
    private func parseStatusLine(_ bytes: Span<UInt8>, _ line: Range<Int>) throws(HTTPViolation) {
        let start = line.lowerBound
        guard line.count >= 8 else { throw .statusLine }
        facts.minorVersion = try bytes.minorVersion(at: start)
        guard
            line.count >= 13, bytes[start + 8] == ASCII.space, bytes[start + 12] == ASCII.space,
            let code = bytes.decimal(start + 9..<start + 12)
        else { throw .statusLine }
        guard (100...599).contains(code) else { throw .status }
        if code == 101 { throw .switchingProtocols }
        facts.status = code
    }

    private func finish(
        _ bytes: Span<UInt8>, _ requestMethod: HTTPMethod
    ) throws(HTTPViolation) -> ReplyProgress {
        let announced = try block.announcedFraming(bytes, minorVersion: minorVersion)
        let isInterim = status < 200
        if announced != nil, isInterim || status == 204 { throw .bodyOnBodilessStatus }
        facts.announced = announced
        facts.persists = try block.applyConnection(bytes, minorVersion: minorVersion)
        if isInterim {
            interims += 1
            if interims > 8 { throw .interimReplies }
            phase = .afterInterim
            return .interim(end: block.lineStart)
        }
        return conclude(requestMethod)
    }

    /// The head of a final reply is there: what it says, to the request that it answers.
    private func conclude(_ requestMethod: HTTPMethod) -> ReplyProgress {
        let isBodiless = requestMethod == .head || status == 204 || status == 304
        framing = isBodiless ? .none : facts.announced ?? .untilClose
        if case .untilClose = framing { keepsAlive = false } else { keepsAlive = facts.persists }
        return .complete(end: block.lineStart)
    }
}
