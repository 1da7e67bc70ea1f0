import GatewayCore
import Reactor

extension RedisConnection {
    /// Begins to connect, and to connect again whenever the connection ends. Call once.
    package func start() {
        loop.spawn { await self.keepConnected() }
    }

    /// Waits until commands are accepted. - Returns: false when that was not so by the deadline.
    package func waitUntilConnected(deadline: Moment) async -> Bool {
        if isConnected { return true }
        let waiter = Parking(on: loop)
        defer { waiter.close() }
        while !isConnected, state != .closed {
            if !waiters.contains(where: { $0 === waiter }) { waiters.append(waiter) }
            if await waiter.park(until: deadline) == .deadline { break }
        }
        waiters.removeAll { $0 === waiter }
        return isConnected
    }

    /// Ends when the connection is closed for good. Attempts are spaced by ``ReconnectDelay``.
    private func keepConnected() async {
        var generator = SystemRandomNumberGenerator()
        while state != .closed {
            let next = loop.now + delay.next(random: generator.next())
            while loop.now < next, state != .closed { _ = await parking.park(until: next) }
            guard state != .closed else { break }
            do throws(RedisError) {
                try await connect()
                let stood = loop.now
                while state == .connected { _ = await parking.park(until: .never) }
                delay.connectionEnded(after: loop.now - stood)
            } catch {
                drop(error)
            }
        }
        parking.close()
    }

    private func connect() async throws(RedisError) {
        let deadline = loop.now + settings.connectTimeout
        var connected: Stream?
        for address in settings.addresses where connected == nil && state != .closed {
            connected = await open(address, deadline: deadline)
        }
        guard let connected else { throw .unavailable }
        guard state != .closed else {
            connected.close()
            return
        }
        adopt(connected)
        try await greet(deadline: deadline)
        guard state == .greeting else { throw .connectionLost }
        state = .connected
        problem = nil
        counts.connects += 1
        wakeWaiters()
    }

    private func open(_ address: SocketAddress, deadline: Moment) async -> Stream? {
        var opened: Stream?
        do throws(SocketError) {
            let stream = try Stream.connect(to: address, on: loop, tls: settings.tls)
            opened = stream
            try await stream.waitUntilConnected(parking: parking, deadline: deadline)
            return stream
        } catch {
            opened?.close()
            problem = "\(address): \(error)"
            return nil
        }
    }

    /// Proves who we are, chooses the database, and asks for a sign of life: a server that is still loading its data
    /// counts as away.
    private func greet(deadline: Moment) async throws(RedisError) {
        var commands: [RedisCommand] = []
        if let password = settings.password {
            if let username = settings.username {
                commands.append(RedisCommand("AUTH", username, password))
            } else {
                commands.append(RedisCommand("AUTH", password))
            }
        }
        if settings.database != 0 { commands.append(RedisCommand("SELECT", String(settings.database))) }
        commands.append(RedisCommand("PING"))
        for command in commands {
            do throws(RedisError) {
                _ = try await exchange(in: .greeting, byteCount: command.byteCount, deadline: deadline) {
                    command.encode(into: &$0)
                }
            } catch {
                // An error's first word, such as WRONGPASS: the rest could repeat what we sent.
                if case .refused(let text) = error { problem = "refused: \(text.prefix { $0 != " " })" }
                throw error
            }
        }
    }
}
