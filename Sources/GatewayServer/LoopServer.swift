import GatewayCore
import Glibc
import HTTPConnections
import Pipeline
import Reactor
import Synchronization
import Telemetry
import Upstreams
import Wire

/// How many client connections a loop has; all loops see all counts.
final class LoopLoad: Sendable {
    let connections = Atomic<Int>(0)
    var count: Int { connections.load(ordering: .relaxed) }
}

/// One loop's public side: its listener, its client connections and the request path that serves them.
///
/// - Isolation: its loop, where it is the ``EventLoop/resident``.
final class LoopServer {
    let loop: EventLoop
    let services: LoopServices
    private let path: RequestPath
    /// Usually one; more when a process with more loops handed its own over.
    private var listeners: [Listener] = []
    /// Another process accepts in our place: what is open here ends with its next request.
    private var isLeaving = false
    /// Connections whose client has left, each with a task that waits for the next one.
    private var vacant: [Exchange] = []
    /// So many connections, those made first, are not let go when their client leaves: to be let in costs the next
    /// one a third then. A few KB each. They are the first ones because others would lie between what is freed.
    private static let keptConnections = 64
    private var kept = 0
    /// For the large bodies of its clients' requests.
    let rooms: BodyRooms
    /// What the heads of its clients' requests looked like.
    private let recentRequests = RequestHead.Recent()
    private let loads: [LoopLoad]
    private let workers: [Worker]
    private let index: Int
    private let connectionsMax: Int
    var tls: TLSContext?
    /// The most connections since memory was last given back to the kernel, and when that will be looked at again.
    private var peak = 0
    private let trimTimer: LoopTimer

    init(
        loop: EventLoop, index: Int, services: LoopServices, loads: [LoopLoad], workers: [Worker], connectionsMax: Int,
        tls: TLSContext?
    ) {
        self.loop = loop
        self.index = index
        self.services = services
        self.loads = loads
        self.workers = workers
        self.connectionsMax = connectionsMax
        self.tls = tls
        path = RequestPath(services)
        rooms = BodyRooms(on: loop)
        trimTimer = LoopTimer(on: loop)
        trimTimer.onFire { [unowned self] in returnMemory() }
    }

    /// The one on `loop`: its resident, or the control plane's on the first loop.
    static func on(_ loop: EventLoop) -> LoopServer? {
        loop.resident as? LoopServer ?? (loop.resident as? ControlPlane)?.loopServer
    }

    func listen(_ descriptor: Int32) throws(SocketError) {
        listeners.append(
            try Listener(on: loop, descriptor: descriptor) { [unowned self] socket in accepted(socket) })
    }

    private func stopListening() {
        for listener in listeners { listener.close() }
        listeners = []
    }

    /// Stops accepting: another process has these listeners too. Every connection gets one more request.
    func handOver() {
        isLeaving = true
        for listener in listeners { listener.handOver() }
        listeners = []
        for exchange in services.exchanges.values { exchange.connection.endAfterNextRequest() }
    }

    /// Idle connections end now, the others after their request.
    func drain() {
        stopListening()
        for exchange in services.exchanges.values { exchange.connection.drain() }
    }

    /// Ends everything that is still open.
    func closeAll() {
        for exchange in services.exchanges.values { exchange.connection.abort() }
        services.upstreams.closeIdle()
        trimTimer.cancel()
        letVacantGo()
        rooms.close()
    }

    /// Client connections that are open.
    private var connectionCount: Int { services.exchanges.count }
    var isIdle: Bool { services.exchanges.isEmpty }

    // MARK: Accepting

    /// Serves the connection here, or hands it to a loop with clearly fewer: before its first byte is read, it costs
    /// nothing to move.
    private func accepted(_ socket: Int32) {
        let total = loads.reduce(0) { $0 + $1.count }
        if total >= connectionsMax {
            close(socket)
            services.metrics.connectionRefused()
            return
        }
        if loads.count > 1, let least = loads.indices.min(by: { loads[$0].count < loads[$1].count }),
            loads[index].count > loads[least].count + 1 + total / loads.count / 8
        {
            loads[least].connections.wrappingAdd(1, ordering: .relaxed)
            workers[least].post { loop in LoopServer.on(loop)?.serve(socket) }
            return
        }
        loads[index].connections.wrappingAdd(1, ordering: .relaxed)
        serve(socket)
    }

    private func serve(_ socket: Int32) {
        do throws(SocketError) {
            if let exchange = vacant.last {
                try exchange.connection.reopen(socket, tls: tls)
                vacant.removeLast()
                begin(exchange)
                exchange.connection.parking.wake()
            } else {
                let stream = try Stream.accepted(socket, on: loop, tls: tls)
                let connection = ServerConnection(
                    stream, settings: services.connectionSettings, memory: services.bodyMemory, rooms: rooms,
                    recent: recentRequests)
                let exchange = Exchange(connection, path: path)
                begin(exchange)
                serve(exchange)
            }
        } catch {
            loads[index].connections.wrappingSubtract(1, ordering: .relaxed)
        }
    }

    /// Starts the task that serves the exchange's client, and those that have its connection after that one.
    private func serve(_ exchange: Exchange) {
        let isKept = kept < Self.keptConnections
        if isKept { kept += 1 }
        func serveClients() async {
            repeat {
                await path.serve(exchange)
                end(exchange)
            } while await hasNextClient(exchange, isKept: isKept)
            if isKept { kept -= 1 }
        }
        loop.run(function: serveClients)
    }

    /// Waits until somebody else has the connection. - Returns: whether that will be.
    private func hasNextClient(_ exchange: Exchange, isKept: Bool) async -> Bool {
        let connection = exchange.connection
        guard isKept, !listeners.isEmpty, connection.settings === services.connectionSettings else { return false }
        vacant.append(exchange)
        while connection.stream.isClosed {
            _ = await connection.parking.park(until: .never)
            if connection.stream.isClosed, !vacant.contains(where: { $0 === exchange }) { return false }
        }
        return true
    }

    /// Nobody will have the vacant connections: they end, and with them what they know of the configuration before.
    func letVacantGo() {
        for exchange in vacant { exchange.connection.parking.wake() }
        vacant = []
    }

    private func begin(_ exchange: Exchange) {
        services.exchanges[ObjectIdentifier(exchange)] = exchange
        if isLeaving { exchange.connection.endAfterNextRequest() }
        peak = max(peak, connectionCount)
    }

    private func end(_ exchange: Exchange) {
        if !exchange.connection.isSecured { services.metrics.handshakeFailed() }
        services.exchanges[ObjectIdentifier(exchange)] = nil
        loads[index].connections.wrappingSubtract(1, ordering: .relaxed)
        if hasFallenFromPeak { trimTimer.set(loop.now + .milliseconds(200)) }
    }

    // MARK: Memory

    /// Most of the peak's connections are gone: what they used would stay with the allocator, and so with the process.
    private var hasFallenFromPeak: Bool { peak >= 2 * Self.keptConnections && connectionCount <= peak / 4 }

    /// Connections to a replica that stay open behind a peak, however few clients are left.
    private static let idleConnectionsKept = 16

    private func returnMemory() {
        guard hasFallenFromPeak else { return }
        peak = connectionCount
        // More of them than there are clients serve nobody. They lie between the blocks that were freed, so that the
        // allocator could give back next to nothing: 30 MB stayed of 2,000 streams' 42, and 21 stay without them.
        services.upstreams.closeIdle(keeping: max(Self.idleConnectionsKept, connectionCount))
        EventLoop.returnFreeMemory()
    }
}
