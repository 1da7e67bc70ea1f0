import CHiredis

/// What one reply may hold.
package struct RedisReplyLimits: Equatable, Sendable {
    /// Bytes of all strings of one reply together.
    package var bytesMax: Int
    /// Elements of all arrays of one reply together.
    package var elementsMax: Int

    package init(bytesMax: Int = 32 << 20, elementsMax: Int = 1 << 17) {
        self.bytesMax = bytesMax
        self.elementsMax = elementsMax
    }
}

/// Bytes from Redis in, replies out: hiredis' `redisReader`, with replies built as Swift values straight away.
///
/// Building them ourselves saves a copy of every string, and lets us refuse an array before memory is taken for it
/// (hiredis before 1.0.1 multiplies an announced length unchecked, CVE-2021-32765).
///
/// - Cost: one copy into hiredis' buffer, one out of it; one allocation a string and an array.
/// - Owns: the C reader and the table of functions that it calls.
package final class RedisReplyReader {
    private let reader: UnsafeMutablePointer<redisReader>
    private let functions: UnsafeMutablePointer<redisReplyObjectFunctions>
    private let limits: RedisReplyLimits
    /// What the C functions count in.
    private let tally: Tally
    private var isBroken = false

    package init(limits: RedisReplyLimits = RedisReplyLimits()) {
        self.limits = limits
        tally = Tally(limits: limits)
        functions = .allocate(capacity: 1)
        functions.initialize(
            to: redisReplyObjectFunctions(
                createString: { task, text, length in ReplyNode.string(task, text, length) },
                createArray: { task, count in ReplyNode.array(task, Int(count)) },
                createInteger: { task, value in ReplyNode.leaf(task, .integer(value)) },
                createNil: { task in ReplyNode.leaf(task, .null) },
                freeObject: { node in ReplyNode.release(node) }))
        guard let made = redisReaderCreateWithFunctions(functions) else {
            // Out of memory has no smaller consequence than the end of the process: every buffer has a bound.
            preconditionFailure("out of memory")
        }
        reader = made
        reader.pointee.privdata = Unmanaged.passUnretained(tally).toOpaque()
    }

    deinit {
        redisReaderFree(reader)
        functions.deallocate()
    }

    /// Takes bytes as they come from the socket.
    ///
    /// - Throws: `.malformedReply` when a reply is longer than the limit. The reader is of no use after an error.
    package func feed(_ bytes: UnsafeRawBufferPointer) throws(RedisError) {
        guard bytes.count > 0 else { return }
        let waiting = Int(reader.pointee.len) - Int(reader.pointee.pos)
        guard !isBroken, waiting + bytes.count <= limits.bytesMax + Self.slack,
            redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count) == REDIS_OK
        else {
            isBroken = true
            throw .malformedReply
        }
    }

    /// The next whole reply; nil when more bytes are needed.
    ///
    /// - Throws: `.malformedReply`, as ``feed(_:)``.
    package func next() throws(RedisError) -> RedisReply? {
        guard !isBroken else { throw .malformedReply }
        var object: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &object) == REDIS_OK else {
            isBroken = true
            throw .malformedReply
        }
        guard let object else { return nil }
        tally.reset()
        // The root was handed to hiredis with one reference, which is ours again.
        return Unmanaged<ReplyNode>.fromOpaque(object).takeRetainedValue().reply
    }

    /// Framing around the strings, and one read's worth of the replies behind.
    private static let slack = 1 << 17
}

/// How much of the current reply was taken already.
private final class Tally {
    private let limits: RedisReplyLimits
    private var bytes = 0
    private var elements = 0

    init(limits: RedisReplyLimits) { self.limits = limits }

    func reset() {
        bytes = 0
        elements = 0
    }

    func take(bytes count: Int) -> Bool {
        bytes += count
        return bytes <= limits.bytesMax
    }

    func take(elements count: Int) -> Bool {
        guard count <= limits.elementsMax else { return false }
        elements += count
        return elements <= limits.elementsMax
    }
}

/// A reply while hiredis reads it. Only the root and nested arrays are nodes; everything else is a value in its array.
private final class ReplyNode {
    private var values: [RedisReply] = []
    private let isArray: Bool
    /// Arrays inside this one: their place in `values`, and their node. hiredis holds the nodes unretained, so they
    /// live here. At most seven levels, hiredis' limit.
    private var nested: [(place: Int, node: ReplyNode)] = []

    private init(isArray: Bool) { self.isArray = isArray }

    var reply: RedisReply {
        guard isArray else { return values[0] }
        for (place, node) in nested { values[place] = node.reply }
        nested = []
        return .array(values)
    }

    // What hiredis calls. `nil` makes it stop with an error.

    static func string(
        _ task: UnsafePointer<redisReadTask>?, _ text: UnsafeMutablePointer<CChar>?, _ length: Int
    ) -> UnsafeMutableRawPointer? {
        guard let task, tally(of: task).take(bytes: length) else { return nil }
        let bytes = UnsafeRawBufferPointer(start: text, count: length)
        switch task.pointee.type {
        case REDIS_REPLY_STATUS: return leaf(task, .status(String(decoding: bytes, as: UTF8.self)))
        case REDIS_REPLY_ERROR: return leaf(task, .error(String(decoding: bytes, as: UTF8.self)))
        default: return leaf(task, .bulk([UInt8](bytes)))
        }
    }

    static func array(_ task: UnsafePointer<redisReadTask>?, _ count: Int) -> UnsafeMutableRawPointer? {
        guard let task, tally(of: task).take(elements: count) else { return nil }
        let node = ReplyNode(isArray: true)
        node.values.reserveCapacity(count)
        guard let parent = parent(of: task) else { return Unmanaged.passRetained(node).toOpaque() }
        parent.nested.append((parent.values.count, node))
        parent.values.append(.null)
        return Unmanaged.passUnretained(node).toOpaque()
    }

    static func leaf(_ task: UnsafePointer<redisReadTask>?, _ value: RedisReply) -> UnsafeMutableRawPointer? {
        guard let task else { return nil }
        if let parent = parent(of: task) {
            parent.values.append(value)
            // Any pointer that is not null says "made"; hiredis looks at the root's and at arrays' only.
            return Unmanaged.passUnretained(parent).toOpaque()
        }
        let node = ReplyNode(isArray: false)
        node.values.append(value)
        return Unmanaged.passRetained(node).toOpaque()
    }

    /// hiredis frees roots only, which carry a reference.
    static func release(_ node: UnsafeMutableRawPointer?) {
        if let node { Unmanaged<ReplyNode>.fromOpaque(node).release() }
    }

    private static func parent(of task: UnsafePointer<redisReadTask>) -> ReplyNode? {
        guard let object = task.pointee.parent?.pointee.obj else { return nil }
        return Unmanaged<ReplyNode>.fromOpaque(object).takeUnretainedValue()
    }

    private static func tally(of task: UnsafePointer<redisReadTask>) -> Tally {
        // Set to the reader's tally, which lives as long as the reader.
        Unmanaged<Tally>.fromOpaque(task.pointee.privdata).takeUnretainedValue()
    }
}
