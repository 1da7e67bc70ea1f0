#if Engine
import Engine
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// The listener, the connections and what they share.
///
/// - Isolation: its loop.
/// - Owns: the listening socket and every connection, until ``drain(deadline:)`` returns.
final class ReplicaServer {
    let loop: EventLoop
    let engine: LlamaEngine
    private let worker: Worker
    private let alias: String?
    private let startedAt: WallTime
    private var date = HTTPDate()
    private var listener: Listener?
    private var connections: [ObjectIdentifier: ServerConnection] = [:]
    private(set) var isDraining = false
    /// Where ``drain(deadline:)`` waits for the last connection.
    private var drainParking: Parking?

    private static let settings = ConnectionSettings(
        head: HeadLimits(headBytes: 32_768, requestLineBytes: 8_192, fields: 100),
        chunks: ChunkedDecoder.Limits(extensionBytes: 4_096, trailerBytes: 4_096, trailerFields: 16),
        bodyBytesMax: 8 << 20, headTimeout: .seconds(30), bodyStall: .seconds(30), idleTimeout: .seconds(120),
        writeStall: .seconds(60))
    private static let connectionsMax = 4_096
    private let memory = LoopBodyMemory(of: BodyMemory(limitBytes: 128 << 20))
    private let rooms: BodyRooms

    init(_ loop: EventLoop, _ worker: Worker, _ engine: LlamaEngine, alias: String?) {
        self.loop = loop
        self.worker = worker
        self.engine = engine
        self.alias = alias
        rooms = BodyRooms(on: loop)
        startedAt = loop.wallNow
    }

    /// The model as clients know it.
    ///
    /// - Throws: ``APIError`` (503) while there is none.
    func model() throws(APIError) -> ServedModel {
        switch engine.state {
        case .ready(let facts): ServedModel(name: alias ?? facts.name, created: startedAt, facts: facts)
        case .loading: throw .loading
        case .failed, .stopped: throw .stopping
        }
    }

    func appendDate(to writer: inout ByteWriter) { date.append(to: &writer, now: loop.wallNow) }

    func listen(on descriptor: Int32) throws {
        listener = try Listener(on: loop, descriptor: descriptor) { [unowned self] accepted in
            guard let stream = try? Stream.accepted(accepted, on: loop, tls: nil) else { return }
            guard connections.count < Self.connectionsMax else { return stream.close(reset: true) }
            loop.spawn { await self.serve(stream) }
        }
    }

    private func serve(_ stream: Stream) async {
        let connection = ServerConnection(stream, settings: Self.settings, memory: memory, rooms: rooms)
        connections[ObjectIdentifier(connection)] = connection
        let doorbell = Doorbell(worker)
        doorbell.hook(connection.parking)
        await RequestHandler(server: self, connection: connection, doorbell: doorbell).run()
        doorbell.unhook()
        await connection.close()
        connections[ObjectIdentifier(connection)] = nil
        if connections.isEmpty { drainParking?.wake() }
    }

    /// Takes no more connections, ends idle ones and lets running answers finish; what is left at `deadline` is ended
    /// with an error that clients can see.
    func drain(deadline: Moment) async {
        isDraining = true
        listener?.close()
        for connection in connections.values { connection.drain() }
        let parking = Parking(on: loop)
        drainParking = parking
        while !connections.isEmpty, loop.now < deadline { _ = await parking.park(until: deadline) }
        if !connections.isEmpty {
            // Stopping waits for the engine's thread, which must not hold up the loop that reports the failures.
            let engine = engine
            Task.detached { engine.stop() }
            let last = loop.now + .seconds(2)
            while !connections.isEmpty, loop.now < last { _ = await parking.park(until: last) }
        }
        drainParking = nil
        parking.close()
        rooms.close()
    }
}

/// What `/v1/models` says.
struct ServedModel {
    var name: String
    var created: WallTime
    var facts: ModelFacts

    /// Source: OpenAI API reference, "Models"; `max_model_len` as vLLM, `meta` as llama.cpp's server.
    func write(into writer: inout ByteWriter) {
        writer.openObject()
        writer.member("id", string: name)
        writer.member("object", string: "model")
        writer.member("created", number: Int(created.secondsSinceEpoch))
        writer.member("owned_by", string: "weir")
        writer.member("max_model_len", number: facts.contextTokens)
        writer.member("meta")
        writer.openObject()
        writer.member("n_ctx_train", number: facts.trainedContextTokens)
        writer.member("n_vocab", number: facts.vocabularyTokens)
        writer.member("n_params", number: Int(clamping: facts.parameters))
        writer.member("size", number: Int(clamping: facts.bytes))
        writer.closeObject()
        writer.closeObject()
    }
}
#endif
