import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Telemetry
import Wire

/// One client request on its way to replicas: what to send, to whom the answer goes, and what became of it.
///
/// Reused for every request of a client connection.
/// - Isolation: its loop.
package final class UpstreamCall {
    package let client: ServerConnection
    var parking: Parking { client.parking }

    // What to send. Set by the request path before it forwards.
    package var pool: Pool?
    /// The last request's, which is nearly always the next one's: see ``stays(in:)``.
    private var oldPool: Pool?
    /// What the request's body says. An open stream gives it back (``forgetRequest()``).
    package private(set) var request: ChatRequest?
    /// The same, where it may have been given back: then the body is read anew.
    var requestAgain: ChatRequest? { request ?? readAgain() }
    /// The last request's, for the next one to be read into. An open stream has none.
    private var oldRequest: ChatRequest?
    /// What of it is asked for again at every request's end.
    package private(set) var kind: ChatRequest.Kind?
    package private(set) var isStream = false
    /// The model's name in the body, without quotes.
    package private(set) var modelRange = ByteRange.empty
    /// Tokens that the answer may have at most, if it says so.
    package private(set) var maxTokens: Int?
    /// The body has a member `session_id`.
    package private(set) var hasSessionMember = false
    package var modelName = ""
    /// What changes in the body. Nothing does in most requests: to ask, ask ``hasEdits``.
    package var edits: BodyEdits {
        get { someEdits ?? BodyEdits() }
        set { someEdits = newValue }
    }
    private var someEdits: BodyEdits?
    var hasEdits: Bool { someEdits != nil }
    /// What the client calls the model goes back into its answer: the replica calls it otherwise.
    package var renamesModel: Bool { someEdits?.model != nil }
    /// Fields for the replica besides its own and the framing, each with its line end.
    package var forwardedFields = ByteWriter()
    package var deadline = Moment.never
    /// Collect the answer's text for the session.
    package var keepsText = false
    /// Hold `[DONE]` back until ``StreamRelay/end(_:)``: the session's turn goes first.
    package var holdsEnd = false
    /// The answer's head for the client; the request path's.
    package unowned(unsafe) var delegate: (any ReplyDelegate)?  // The delegate owns this call.

    // What became of it.
    /// To the replica that it was sent to last: the journey's, which is not in the journey while it is worked with
    /// (``LoopUpstreams/goOn(_:isLate:)``). What is asked often is asked of this and not of ``replica``: its loop alone
    /// counts references to it, all loops those to the replica.
    package internal(set) unowned(unsafe) var link: Link?  // The journey, or who works with it, holds it.
    package var replica: Replica? { link?.replica }
    package internal(set) var sends = 0
    /// Why the stream broke that another model began.
    private(set) var broken: UpstreamFailure?
    /// Those that were sent to another model's replicas before.
    private(set) var sendsBefore = 0
    package internal(set) var usage: Usage?
    /// What a whole reply says, where that is asked for again: it is renamed or goes into a session. `nil` for streams.
    package internal(set) var reply: ReadReply?
    package internal(set) var queueWait = Interval.zero
    package internal(set) var firstContentAt = Moment.zero
    /// When the request first went out: what came before is ours.
    package internal(set) var sentAt = Moment.zero
    /// Whether a 200 head went to the client.
    package internal(set) var isHeadSent = false
    package internal(set) var resumes = 0
    /// The last way in which the stream was continued to its end.
    package internal(set) var resumedBy: ResumeResult?

    /// How far the token ids of the stream that is running may be believed.
    var idTrust = TokenTrace.Trust.none
    /// The answer is finished and a replica is only asked what it comes to.
    var asksUsageOnly = false
    /// What a replica's sampling is made reproducible with, where the client gave no seed: the same on every replica.
    private var ownSeed: Int?
    /// What was heard of the replica's death while it had the request.
    var notice = DeathNotice()
    /// Until when it may wait for replicas that are down and silent; `.never` until it meets the first one.
    var panicEnd = Moment.never
    /// The replica is about to be restarted: the stream goes on elsewhere, whatever of it was sent.
    var isToMove = false
    /// The send that is under way.
    var sending = Sending(way: nil)
    /// What it came to, once it has.
    var outcome: LoopUpstreams.SendOutcome?
    /// How forwarding it ended: whoever awaited that takes it.
    package var result: Result<ForwardResult, GatewayError>?
    let journey = Journey()
    /// Its place among the calls that are at replicas, while it is.
    var activePlace = 0
    /// The request as it goes to the replica, where that did not take all of it at once: the head, and the body unless
    /// that is sent from the client's buffer.
    var outgoing = ByteWriter()
    /// The last error inside a 200, to see whose fault it is; at most ``errorBytesMax``.
    private(set) var inBandError: [UInt8] = []
    private static let errorBytesMax = 64 << 10
    /// The length of the body as it was sent last.
    var sentBodyBytes = 0
    /// The body goes out from where it was received.
    var sendsClientBody = false
    package let relay: StreamRelay

    package init(client: ServerConnection, buffers: RelayBuffers) {
        self.client = client
        relay = StreamRelay(client: client, buffers: buffers)
    }

    /// Moves the last request's pool to this one, if it is that of `wanted`. No reference is counted then: all loops
    /// would count at the same place.
    package func stays(in wanted: ObjectIdentifier) -> Bool {
        guard oldPool.map(ObjectIdentifier.init) == wanted else { return false }
        swap(&pool, &oldPool)
        return true
    }

    /// Ready for the connection's next request.
    package func reset() {
        if pool != nil { oldPool = pool.take() }
        if request != nil { oldRequest = request.take() }
        kind = nil
        isStream = false
        modelRange = .empty
        maxTokens = nil
        hasSessionMember = false
        if hasEdits { someEdits = nil }
        forwardedFields.removeAll()
        deadline = .never
        keepsText = false
        holdsEnd = false
        link = nil
        sends = 0
        broken = nil
        sendsBefore = 0
        usage = nil
        if reply != nil { reply = nil }
        journey.forget()
        queueWait = .zero
        firstContentAt = .zero
        sentAt = .zero
        isHeadSent = false
        resumes = 0
        resumedBy = nil
        idTrust = .none
        asksUsageOnly = false
        ownSeed = nil
        notice = DeathNotice()
        panicEnd = .never
        if !inBandError.isEmpty { inBandError = [] }
        if !outgoing.isEmpty { outgoing.release() }
        relay.reset()
    }

    /// Lets go of the pool that it was in, and of the replica. For a call that is over.
    package func forgetFleet() {
        pool = nil
        oldPool = nil
        link = nil
        journey.forgetRoute()
    }

    /// Reads the body of a request that begins.
    ///
    /// - Throws: ``BodyProblem`` (400).
    package func read(_ body: Span<UInt8>, kind: ChatRequest.Kind) throws(BodyProblem) {
        begin(with: try ChatRequest.read(body, kind: kind, into: &oldRequest))
    }

    /// The body was read.
    package func begin(with request: consuming ChatRequest) {
        kind = request.kind
        isStream = request.isStream
        modelRange = request.model.raw
        maxTokens = request.maxTokensInForce
        hasSessionMember = request.has(.sessionID)
        self.request = request
    }

    /// Gives back what an open stream needs only if it has to go on elsewhere.
    func forgetRequest() {
        request = nil
        client.forgetHead()
    }

    @inline(never)
    private func readAgain() -> ChatRequest? {
        guard let kind else { return nil }
        // It was read before, so it can be.
        request = client.withRequest { try? ChatRequest.read($0.extracting(client.bodyRange), kind: kind) }
        return request
    }

    /// Whether a stream that breaks after its first content may go on elsewhere.
    var mayResume: Bool { pool?.settings.resumes ?? true }

    func seed() -> Int {
        if let ownSeed { return ownSeed }
        let seed = Int.random(in: 0...Int(Int32.max))
        ownSeed = seed
        return seed
    }

    func keep(inBandError text: Span<UInt8>) {
        let kept = text.extracting(first: Self.errorBytesMax)
        inBandError = kept.withUnsafeBufferPointer { Array($0) }
    }

    /// Asks another model from now on; answers will be in its name.
    ///
    /// - Parameter broken: why the stream broke that it is to go on with, in the name of the model that began it.
    package func turn(to pool: Pool, _ model: ServedModel, resuming broken: UpstreamFailure? = nil) {
        self.broken = broken
        self.pool = pool
        modelName = model.name
        edits.model = BodyEdits.quoted(model.upstreamName ?? model.name)
        sendsBefore = sends
    }

    /// What of a stream's request decides about retries and continuations.
    var attemptRequest: AttemptRequest {
        guard let request = requestAgain else { return .whole }
        var traits = AttemptRequest.Traits(rawValue: 0)
        if request.hasGrammar { traits.insert(.constrained) }
        if request.hasPenalties { traits.insert(.penalties) }
        if request.hasLogprobs { traits.insert(.logprobs) }
        if request.minTokens > 0 { traits.insert(.minTokens) }
        return AttemptRequest(
            isStream: request.isStream, choices: request.choices, traits: traits,
            maxTokens: request.maxTokensInForce)
    }
}

/// What the request path does for the forwarder, which knows replies but not what a client's head looks like.
package protocol ReplyDelegate: AnyObject {
    /// Appends the head of a streamed 200, chunked or until close as the client's version allows.
    func appendStreamHead(to writer: inout ByteWriter)
    /// Whose request it is: callers take turns where requests wait.
    var callerKey: String { get }
    /// Whether the client's connection takes chunks (HTTP/1.1).
    var usesChunks: Bool { get }
}

/// How a forwarded request ended, when it ended well or with a reply that is to be passed on.
package enum ForwardResult {
    /// A whole reply of status 200, checked; its body is in the connection until ``LoopUpstreams/finish(_:)``.
    case whole(WholeReply)
    /// The stream went to the client and is complete but for its end, if ``UpstreamCall/holdsEnd``.
    case streamed
    /// A status that is the client's business (a 4xx) or all that is left (429, 503): its body, to be normalised.
    case refused(status: Int, body: [UInt8], retryAfter: Interval?)
}

/// What a whole reply says. An object, for it is large and most calls never have one.
package final class ReadReply {
    package let chunk: ChatChunk

    init(_ chunk: ChatChunk) { self.chunk = chunk }
}

/// A reply that was read whole: it lies in its call, until ``LoopUpstreams/finish(_:)`` or the next request.
///
/// Not a reference that counts, because every stage hands it on.
public struct WholeReply {
    unowned(unsafe) let call: UpstreamCall  // Whoever is handed the reply has made the call.

    /// The body's bytes.
    public func withBody<Result>(_ read: (Span<UInt8>) -> Result) -> Result {
        // Taken out and put back, which counts no reference.
        guard let connection = call.journey.connection.take() else { return read(Span()) }
        defer { call.journey.connection = connection }
        return connection.withBody(read)
    }
}
