import TestSupport
import Testing

@testable import Balancing

@Suite struct FairQueueTests {
    private final class Waiter {
        let name: String
        init(_ name: String) { self.name = name }
    }

    /// The queue by reference, because expectations can't change a value.
    private final class Queue {
        private var inner: FairQueue<Waiter>
        init(lengthMax: Int) { inner = FairQueue(lengthMax: lengthMax) }
        var count: Int { inner.count }
        func enter(
            _ waiter: Waiter, key: String, avoiding exclusions: Attempt.Exclusions = .init()
        ) -> (ticket: FairQueue<Waiter>.Ticket, isCalled: Bool)? {
            inner.enter(waiter, key: key, avoiding: exclusions)
        }
        func enterAnew(_ waiter: Waiter, key: String) -> Bool {
            inner.enter(waiter, key: key, avoiding: .init(), evenIfFull: true) != nil
        }
        func placeFreed(at replica: Int) -> Waiter? { inner.placeFreed(at: replica) }
        func callAll() -> [Waiter] { inner.callAll() }
        func isCalled(_ ticket: FairQueue<Waiter>.Ticket) -> Bool { inner.isCalled(ticket) }
        func replica(of ticket: FairQueue<Waiter>.Ticket) -> Int? { inner.replica(of: ticket) }
        @discardableResult func lookedInVain(_ ticket: FairQueue<Waiter>.Ticket, passesOn: Bool) -> Waiter? {
            inner.lookedInVain(ticket, passesOn: passesOn)
        }
        @discardableResult func leave(_ ticket: FairQueue<Waiter>.Ticket, passesOn: Bool) -> Waiter? {
            inner.leave(ticket, passesOn: passesOn)
        }
    }

    @Test func `who waited in the queue before is not turned away by a shorter one`() {
        let queue = Queue(lengthMax: 1)
        #expect(queue.enter(Waiter("a"), key: "k") != nil)
        #expect(queue.enter(Waiter("b"), key: "k") == nil)
        #expect(queue.enterAnew(Waiter("c"), key: "k"))
        #expect(queue.count == 2)
    }

    /// A queue whose waiters were all called when they came, in vain.
    private func full(_ entries: [(key: String, name: String)], lengthMax: Int = 100) -> (
        Queue, [String: FairQueue<Waiter>.Ticket]
    ) {
        let queue = Queue(lengthMax: lengthMax)
        var tickets: [String: FairQueue<Waiter>.Ticket] = [:]
        for entry in entries {
            guard let entered = queue.enter(Waiter(entry.name), key: entry.key) else { continue }
            tickets[entry.name] = entered.ticket
            #expect(queue.lookedInVain(entered.ticket, passesOn: false) == nil)
        }
        return (queue, tickets)
    }

    @Test func `callers take turns, and a caller's own requests keep their order`() throws {
        let (queue, tickets) = full([
            ("a", "a1"), ("a", "a2"), ("a", "a3"), ("a", "a4"), ("b", "b1"), ("c", "c1"), ("b", "b2"),
        ])
        var order: [String] = []
        while let waiter = queue.placeFreed(at: 0) {
            order.append(waiter.name)
            #expect(queue.leave(try #require(tickets[waiter.name]), passesOn: false) == nil)
        }
        #expect(order == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"])
        #expect(queue.count == 0)
    }

    @Test func `one with a thousand waiting requests delays a newcomer by one place`() throws {
        var (queue, tickets) = full((0..<1_000).map { ("greedy", "g\($0)") }, lengthMax: 1_001)
        let entered = try #require(queue.enter(Waiter("new"), key: "modest"))
        #expect(entered.isCalled)
        queue.lookedInVain(entered.ticket, passesOn: false)
        tickets["new"] = entered.ticket
        var order: [String] = []
        for _ in 0..<3 {
            let waiter = try #require(queue.placeFreed(at: 0))
            order.append(waiter.name)
            queue.leave(try #require(tickets[waiter.name]), passesOn: false)
        }
        #expect(order == ["g0", "new", "g1"])
    }

    @Test func `a full queue takes nobody, and who leaves makes room`() throws {
        let (queue, tickets) = full([("a", "1"), ("b", "2")], lengthMax: 2)
        #expect(queue.enter(Waiter("3"), key: "c") == nil)
        queue.leave(try #require(tickets["1"]), passesOn: false)
        #expect(queue.enter(Waiter("3"), key: "c") != nil)
        let none = Queue(lengthMax: 0)
        #expect(none.enter(Waiter("1"), key: "a") == nil)
    }

    @Test func `who looks in vain keeps its position and its turn`() throws {
        let (queue, tickets) = full([("a", "a1"), ("b", "b1"), ("a", "a2")])
        #expect(queue.placeFreed(at: 0)?.name == "a1")
        queue.lookedInVain(try #require(tickets["a1"]), passesOn: false)
        #expect(queue.placeFreed(at: 0)?.name == "a1")
    }

    @Test func `a call that is passed on visits everybody once`() throws {
        let (queue, tickets) = full([("a", "a1"), ("b", "b1"), ("a", "a2")])
        var visited: [String] = []
        var next = queue.placeFreed(at: 0)
        while let waiter = next {
            visited.append(waiter.name)
            next = queue.lookedInVain(try #require(tickets[waiter.name]), passesOn: true)
        }
        #expect(visited.sorted() == ["a1", "a2", "b1"] && visited.first == "a1")
        #expect(queue.placeFreed(at: 0) != nil)
    }

    @Test func `a place is not offered to those who must not use its replica`() throws {
        let (queue, _) = full([])
        var burnt = Attempt.Exclusions()
        burnt.avoid.insert(4)
        let first = try #require(queue.enter(Waiter("burnt"), key: "a", avoiding: burnt))
        queue.lookedInVain(first.ticket, passesOn: false)
        let second = try #require(queue.enter(Waiter("free"), key: "a"))
        queue.lookedInVain(second.ticket, passesOn: false)
        #expect(queue.placeFreed(at: 4)?.name == "free")
        #expect(queue.placeFreed(at: 4) == nil)
        #expect(queue.placeFreed(at: 3)?.name == "burnt")
    }

    @Test func `whoever comes while another looks waits for its own call`() throws {
        let (queue, tickets) = full([("a", "a1")])
        #expect(queue.placeFreed(at: 0)?.name == "a1")
        let late = try #require(queue.enter(Waiter("late"), key: "b"))
        #expect(!late.isCalled && !queue.isCalled(late.ticket))
        // a1 leaves, as its client did: the place is offered to the next one.
        #expect(queue.leave(try #require(tickets["a1"]), passesOn: true)?.name == "late")
        #expect(queue.isCalled(late.ticket) && queue.replica(of: late.ticket) == 0)
    }

    @Test func `whoever came while another looked is called when that one is done`() throws {
        let (queue, tickets) = full([("a", "a1")])
        #expect(queue.placeFreed(at: 0)?.name == "a1")
        let late = try #require(queue.enter(Waiter("late"), key: "b"))
        let later = try #require(queue.enter(Waiter("later"), key: "b"))
        #expect(queue.leave(try #require(tickets["a1"]), passesOn: false)?.name == "late")
        #expect(queue.lookedInVain(late.ticket, passesOn: false)?.name == "later")
        #expect(queue.lookedInVain(later.ticket, passesOn: false) == nil)
    }

    @Test func `when everything changed, everybody looks`() throws {
        let (queue, _) = full([("a", "a1"), ("b", "b1"), ("a", "a2")])
        #expect(queue.callAll().map(\.name).sorted() == ["a1", "a2", "b1"])
        #expect(queue.callAll().isEmpty)
    }

    @Test(arguments: 0..<50)
    func `between two services of one caller, every other one that waits is served`(seed: Int) throws {
        var random = SplitMix64(seed: UInt64(seed))
        let queue = Queue(lengthMax: 200)
        var waiting: [(key: String, number: Int, ticket: FairQueue<Waiter>.Ticket)] = []
        /// Services of the other callers since each caller's last one, while it waited.
        var since: [String: [String: Int]] = [:]
        for number in 0..<3_000 {
            if random.next() % 5 < 3 {
                let key = ["greedy", "greedy", "greedy", "busy", "busy", "modest"][Int(random.next() % 6)]
                let waiter = Waiter("\(key) \(number)")
                guard let entered = queue.enter(waiter, key: key) else { continue }
                if entered.isCalled { queue.lookedInVain(entered.ticket, passesOn: false) }
                if !waiting.contains(where: { $0.key == key }) { since[key] = [:] }
                waiting.append((key, number, entered.ticket))
            } else if let waiter = queue.placeFreed(at: 0) {
                let key = String(waiter.name.prefix { $0 != " " })
                let place = try #require(waiting.firstIndex { $0.key == key })
                #expect(waiter.name == "\(key) \(waiting[place].number)", "out of order")
                queue.leave(waiting.remove(at: place).ticket, passesOn: false)
                since[key] = [:]
                for other in Set(waiting.map(\.key)) where other != key {
                    since[other, default: [:]][key, default: 0] += 1
                    #expect(since[other]?[key] ?? 0 <= 1, "\(key) was served twice while \(other) waited")
                }
            } else {
                #expect(waiting.isEmpty)
            }
        }
    }

    /// Replicas with few places, callers of very different eagerness, requests that must not use some replica, clients
    /// that leave, and wake-ups that arrive late and out of order.
    @Test(arguments: 0..<200)
    func `no place stays free while somebody could use it`(seed: Int) throws {
        var world = QueueWorld(seed: UInt64(seed))
        for _ in 0..<2_000 { world.step() }
        #expect(world.violations.isEmpty, "seed \(seed): \(world.violations.prefix(3))")
        #expect(world.served > 100)
    }
}

/// A pool's replicas and its queue, with every event at a random moment.
private struct QueueWorld {
    final class Request {
        let key: String
        let avoids: Int?
        var ticket: FairQueue<Request>.Ticket?
        init(key: String, avoids: Int?) { (self.key, self.avoids) = (key, avoids) }
        var exclusions: Attempt.Exclusions {
            var exclusions = Attempt.Exclusions()
            if let avoids { exclusions.never.insert(avoids) }
            return exclusions
        }
    }

    var queue = FairQueue<Request>(lengthMax: 40)
    var random: SplitMix64
    let places: [Int]
    var running: [Int]
    var waiting: [Request] = []
    /// Called, and not awake yet.
    var woken: [Request] = []
    var served = 0
    var violations: [String] = []

    init(seed: UInt64) {
        random = SplitMix64(seed: seed)
        places = [1 + Int(random.next() % 3), 1 + Int(random.next() % 3)]
        running = [0, 0]
    }

    mutating func step() {
        switch random.next() % 10 {
        case 0..<4: arrive()
        case 4..<7: finish()
        case 7..<9: wakeOne()
        default: leaveOne()
        }
        if woken.isEmpty { checkNothingIsWasted() }
        if queue.count != waiting.count { violations.append("lost count") }
    }

    private func hasRoom(_ replica: Int) -> Bool { running[replica] < places[replica] }

    private func choice(_ request: Request) -> Int? {
        running.indices.first { $0 != request.avoids && hasRoom($0) }
    }

    private mutating func arrive() {
        let key = ["greedy", "greedy", "greedy", "modest", "rare"][Int(random.next() % 5)]
        let avoids = random.next() % 6 == 0 ? Int(random.next() % 2) : nil
        let request = Request(key: key, avoids: avoids)
        if queue.count == 0, let replica = choice(request) {
            running[replica] += 1
            return
        }
        guard let entered = queue.enter(request, key: key, avoiding: request.exclusions) else {
            if queue.count < queue.lengthMax { violations.append("refused with room left") }
            return
        }
        request.ticket = entered.ticket
        waiting.append(request)
        if entered.isCalled { look(request) }
    }

    private mutating func finish() {
        let replica = Int(random.next() % 2)
        guard running[replica] > 0 else { return }
        running[replica] -= 1
        free(replica)
    }

    private mutating func free(_ replica: Int) {
        guard hasRoom(replica), let next = queue.placeFreed(at: replica) else { return }
        woken.append(next)
    }

    private mutating func wakeOne() {
        guard !woken.isEmpty else { return }
        look(woken.remove(at: Int(random.next() % UInt64(woken.count))))
    }

    private mutating func look(_ request: Request) {
        guard let ticket = request.ticket else { return }
        if let replica = choice(request) {
            running[replica] += 1
            served += 1
            leave(request)
            free(replica)
        } else if let next = queue.lookedInVain(ticket, passesOn: isForFreePlace(ticket)) {
            woken.append(next)
        }
    }

    private func isForFreePlace(_ ticket: FairQueue<Request>.Ticket) -> Bool {
        queue.replica(of: ticket).map(hasRoom) ?? false
    }

    private mutating func leave(_ request: Request) {
        guard let ticket = request.ticket else { return }
        request.ticket = nil
        waiting.removeAll { $0 === request }
        woken.removeAll { $0 === request }
        if let next = queue.leave(ticket, passesOn: isForFreePlace(ticket)) { woken.append(next) }
    }

    private mutating func leaveOne() {
        guard !waiting.isEmpty, random.next() % 3 == 0 else { return }
        leave(waiting[Int(random.next() % UInt64(waiting.count))])
    }

    private mutating func checkNothingIsWasted() {
        for request in waiting where choice(request) != nil {
            violations.append("a place is free, and \(request.key) waits")
        }
    }
}
