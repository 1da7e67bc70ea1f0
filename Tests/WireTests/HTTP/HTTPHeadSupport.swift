import TestSupport
import Wire

/// What a request head turned out to be, with its ranges read, so that two readings can be compared.
struct ReadRequest: Equatable, CustomStringConvertible {
    var method: HTTPMethod
    var methodText: String
    var target: String
    var path: String
    var query: String?
    var minorVersion: Int
    var framing: BodyFraming
    var keepsAlive: Bool
    var expectsContinue: Bool
    var host: String?
    var isAsteriskTarget: Bool
    var fields: [ReadField]
    /// Bytes of the head.
    var length: Int

    init(_ head: RequestHead, _ bytes: [UInt8], length: Int) {
        method = head.method
        methodText = bytes.text(head.methodText)
        target = bytes.text(head.target)
        path = bytes.text(head.path)
        query = head.query.map { bytes.text($0) }
        minorVersion = head.minorVersion
        framing = head.framing
        keepsAlive = head.keepsAlive
        expectsContinue = head.expectsContinue
        host = head.host.map { bytes.text($0) }
        isAsteriskTarget = head.isAsteriskTarget
        fields = head.fields.map { ReadField($0, bytes) }
        self.length = length
    }

    func value(_ id: FieldID) -> String? { fields.first { $0.id == id }?.value }
    var description: String {
        let lines = fields.map { "\($0.name)=\($0.value)" }
        return "\(methodText) \(target) \(minorVersion) host \(host ?? "-") \(framing) \(lines)"
    }
}

struct ReadReply: Equatable {
    var status: Int
    var minorVersion: Int
    var framing: BodyFraming
    var keepsAlive: Bool
    var fields: [ReadField]
    var interims: Int
    var length: Int
}

struct ReadField: Equatable {
    var name: String
    var value: String
    var id: FieldID
    var isNamedByConnection: Bool

    init(_ field: HTTPField, _ bytes: [UInt8]) {
        name = bytes.text(field.name)
        value = bytes.text(field.value)
        id = field.id
        isNamedByConnection = field.isNamedByConnection
    }
}

/// What reading came to: a head, a refusal, or a wish for more.
enum Reading<Head: Equatable>: Equatable {
    case head(Head)
    case refused(HTTPViolation)
    case incomplete

    var head: Head? { if case .head(let head) = self { head } else { nil } }
    var violation: HTTPViolation? { if case .refused(let violation) = self { violation } else { nil } }
}

extension HeadLimits {
    static let usual = HeadLimits(headBytes: 4096, requestLineBytes: 1024, fields: 40)
}

extension [UInt8] {
    /// Every byte as the character with its number, so that no two byte strings read the same.
    func text(_ range: ByteRange) -> String {
        String(String.UnicodeScalarView(self[range.range].map { Unicode.Scalar($0) }))
    }

    /// `text` with each character below 256 as one byte.
    init(latin text: String) { self = text.unicodeScalars.map { UInt8($0.value) } }
}

/// Gives `bytes` to a parser in parts that end at `cuts`, which grow, behind `padding` bytes of something else.
func readRequest(
    _ bytes: [UInt8], cuts: [Int] = [], padding: Int = 0, limits: HeadLimits = .usual
) -> Reading<ReadRequest> {
    let head = RequestHead()
    return readRequest(bytes, cuts: cuts, padding: padding, limits: limits, with: head)
}

func readRequest(
    _ bytes: [UInt8], cuts: [Int] = [], padding: Int = 0, limits: HeadLimits = .usual, with head: RequestHead
) -> Reading<ReadRequest> {
    let buffer = [UInt8](repeating: 0x0A, count: padding) + bytes
    for cut in cuts + [bytes.count] {
        do throws(HTTPViolation) {
            let progress = try head.parse(buffer.span.extracting(0..<padding + cut), from: padding, limits: limits)
            if case .complete(let end) = progress { return .head(ReadRequest(head, buffer, length: end - padding)) }
        } catch {
            return .refused(error)
        }
    }
    return .incomplete
}

func readRequest(_ text: String, limits: HeadLimits = .usual) -> Reading<ReadRequest> {
    readRequest([UInt8](latin: text), limits: limits)
}

func readReply(
    _ bytes: [UInt8], cuts: [Int] = [], to method: HTTPMethod = .post, limits: HeadLimits = .usual,
    with head: ReplyHead = ReplyHead()
) -> Reading<ReadReply> {
    var from = 0
    var interims = 0
    for cut in cuts + [bytes.count] {
        do throws(HTTPViolation) {
            var isStuck = false
            while !isStuck {
                let part = bytes.span.extracting(0..<cut)
                switch try head.parse(part, from: from, limits: limits, requestMethod: method) {
                case .incomplete: isStuck = true
                case .interim(let end):
                    interims += 1
                    from = end
                case .complete(let end):
                    return .head(
                        ReadReply(
                            status: head.status, minorVersion: head.minorVersion, framing: head.framing,
                            keepsAlive: head.keepsAlive, fields: head.fields.map { ReadField($0, bytes) },
                            interims: interims, length: end))
                }
            }
        } catch {
            return .refused(error)
        }
    }
    return .incomplete
}

func readReply(_ text: String, to method: HTTPMethod = .post) -> Reading<ReadReply> {
    readReply([UInt8](latin: text), to: method)
}

/// A POST with a Host and `lines` behind it, each of which brings its own CRLF.
func request(_ lines: String) -> String { "POST /v1/x HTTP/1.1\r\nHost: weir\r\n\(lines)\r\n" }

/// Bytes that parsers of HTTP care about.
let spicyBytes = [UInt8](
    latin: "\r\n\r\n \t:,;=%?#@/\\[]_-0159aAfFxX\"\u{0}\u{1}\u{0B}\u{7F}\u{80}\u{85}\u{A0}\u{FF}")

/// `sample` with one to four random edits: a byte changed, inserted or removed, or a stretch doubled.
func mutated(_ sample: [UInt8], _ generator: inout SplitMix64) -> [UInt8] {
    var bytes = sample
    for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let at = Int.random(in: 0...bytes.count, using: &generator)
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: bytes.insert(spicyBytes.randomElement(using: &generator)!, at: at)
        case 1 where at < bytes.count: bytes[at] = spicyBytes.randomElement(using: &generator)!
        case 2 where at < bytes.count: bytes.remove(at: at)
        default:
            let end = min(bytes.count, at + Int.random(in: 1...24, using: &generator))
            bytes.insert(contentsOf: bytes[at..<end], at: at)
        }
    }
    return bytes
}
