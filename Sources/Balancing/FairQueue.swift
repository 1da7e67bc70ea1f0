/// Who waits for a place at a pool's replicas and who is called when one is free: callers in turn, each caller's
/// requests in the order they came. A caller with a thousand waiting requests delays one with a single request by one
/// place, not by a thousand.
///
///     enter ──► waits ──called──► looks ──► takes a place, leaves
///                  ▲                └──in vain──► keeps its position and its turn
///                  └────────────────────────┘
///
/// A free place calls one waiter. Whoever looks in vain although the place is still free (it can't use that replica)
/// passes the call on; a call visits each waiter at most once. Who enters while nobody is called looks at once: all
/// who came before have looked since the last change. Who enters while somebody is called looks after the last of them.
///
/// Pure. - Cost: O(1) for entering and leaving; a call passes over those that can't use the replica.
package struct FairQueue<Waiter> {
    /// A waiter's place. Valid from ``enter(_:key:avoiding:)`` to ``leave(_:)``.
    package struct Ticket: Equatable, Sendable {
        fileprivate let slot: Int
    }

    private struct Slot {
        var waiter: Waiter?
        var lane = -1
        var previous = -1
        var next = -1
        var exclusions = Attempt.Exclusions()
        var isCalled = false
        /// Unique; tells a slot's users apart.
        var arrival: UInt64 = 0
        /// The call that it was, or had last.
        var call = Call(number: 0, replica: nil)
    }

    /// One caller's requests.
    private struct Lane {
        var key: String
        var first: Int
        var last: Int
        var previous: Int
        var next: Int
    }

    private struct Call {
        var number: UInt64
        var replica: Int?
        /// It is its caller's turn: the next one is another's. Not where somebody looks because it has just come.
        var isTurn = true
    }

    package let lengthMax: Int
    package private(set) var count = 0
    private var called = 0
    private var calls: UInt64 = 0
    private var slots: [Slot] = []
    private var freeSlots: [Int] = []
    private var arrivals: UInt64 = 0
    /// Who came while somebody was called, and has not looked yet; from ``newcomersDone`` on.
    private var newcomers: [(slot: Int, arrival: UInt64)] = []
    private var newcomersDone = 0
    private var lanes: [Lane] = []
    private var freeLanes: [Int] = []
    private var laneByKey: [String: Int] = [:]
    /// The lanes are a list by when they had their turn, longest ago first; -1 if nobody waits.
    private var firstLane = -1
    private var lastLane = -1

    package init(lengthMax: Int) { self.lengthMax = lengthMax }

    /// Lets a request wait at the end of its caller's lane.
    ///
    /// - Parameter exclusions: replicas whose places it can't use.
    /// - Parameter evenIfFull: for one that waited in the queue that this one replaces.
    /// - Returns: its ticket and whether it is called at once; `nil` when the queue is full.
    package mutating func enter(
        _ waiter: Waiter, key: String, avoiding exclusions: Attempt.Exclusions, evenIfFull: Bool = false
    ) -> (ticket: Ticket, isCalled: Bool)? {
        guard count < lengthMax || evenIfFull else { return nil }
        let lane = lane(of: key)
        let slot = freeSlots.popLast() ?? slots.count
        if slot == slots.count { slots.append(Slot()) }
        arrivals += 1
        slots[slot] = Slot(
            waiter: waiter, lane: lane, previous: lanes[lane].last, exclusions: exclusions, arrival: arrivals)
        if lanes[lane].last >= 0 { slots[lanes[lane].last].next = slot } else { lanes[lane].first = slot }
        lanes[lane].last = slot
        count += 1
        guard called == 0 else {
            newcomers.append((slot, arrivals))
            if newcomers.count > 2 * lengthMax + 64 { forgetOldNewcomers() }
            return (Ticket(slot: slot), false)
        }
        calls += 1
        call(slot, Call(number: calls, replica: nil, isTurn: false))
        return (Ticket(slot: slot), true)
    }

    /// A place is free at `replica`.
    ///
    /// - Returns: who is to look; `nil` if nobody waits for it.
    package mutating func placeFreed(at replica: Int) -> Waiter? {
        calls += 1
        return callNext(Call(number: calls, replica: replica))
    }

    /// Everything changed: everybody is to look. Those who are looking already are left out.
    package mutating func callAll() -> [Waiter] {
        calls += 1
        var waiters: [Waiter] = []
        while let waiter = callNext(Call(number: calls, replica: nil, isTurn: false)) { waiters.append(waiter) }
        return waiters
    }

    package func isCalled(_ ticket: Ticket) -> Bool { slots[ticket.slot].isCalled }

    /// The replica whose free place it was called for; `nil` if it wasn't, or for any.
    package func replica(of ticket: Ticket) -> Int? {
        slots[ticket.slot].isCalled ? slots[ticket.slot].call.replica : nil
    }

    /// The waiter found no place. It keeps its position, and its caller the turn.
    ///
    /// - Parameter passesOn: the place that it was called for is free all the same: it is for somebody else.
    /// - Returns: who is to look next.
    package mutating func lookedInVain(_ ticket: Ticket, passesOn: Bool) -> Waiter? {
        guard slots[ticket.slot].isCalled else { return nil }
        let call = slots[ticket.slot].call
        slots[ticket.slot].isCalled = false
        called -= 1
        if call.isTurn {
            unlink(lane: slots[ticket.slot].lane)
            linkFirst(lane: slots[ticket.slot].lane)
        }
        return (passesOn ? callNext(call) : nil) ?? callNewcomer()
    }

    /// The wait is over, whatever ended it.
    ///
    /// - Parameter passesOn: it was called for a place that it did not take.
    /// - Returns: who is to look instead.
    package mutating func leave(_ ticket: Ticket, passesOn: Bool) -> Waiter? {
        let slot = slots[ticket.slot]
        slots[ticket.slot] = Slot()
        freeSlots.append(ticket.slot)
        count -= 1
        if slot.previous >= 0 { slots[slot.previous].next = slot.next } else { lanes[slot.lane].first = slot.next }
        if slot.next >= 0 { slots[slot.next].previous = slot.previous } else { lanes[slot.lane].last = slot.previous }
        if lanes[slot.lane].first < 0 {
            unlink(lane: slot.lane)
            laneByKey[lanes[slot.lane].key] = nil
            freeLanes.append(slot.lane)
        }
        guard slot.isCalled else { return nil }
        called -= 1
        return (passesOn ? callNext(slot.call) : nil) ?? callNewcomer()
    }

    // MARK: Calling

    /// The first in order who was not called before in this call and can use its replica.
    private mutating func callNext(_ call: Call) -> Waiter? {
        guard count > called else { return nil }
        var lane = firstLane
        while lane >= 0 {
            var slot = lanes[lane].first
            while slot >= 0 {
                let allows = call.replica.map { slots[slot].exclusions.allows($0) } ?? true
                if !slots[slot].isCalled, slots[slot].call.number != call.number, allows {
                    self.call(slot, call)
                    return slots[slot].waiter
                }
                slot = slots[slot].next
            }
            lane = lanes[lane].next
        }
        return nil
    }

    /// The last who was called has looked: it is the turn of those who came meanwhile, one after the other.
    private mutating func callNewcomer() -> Waiter? {
        guard called == 0 else { return nil }
        while newcomersDone < newcomers.count {
            let (slot, arrival) = newcomers[newcomersDone]
            newcomersDone += 1
            guard slots[slot].arrival == arrival, slots[slot].call.number == 0 else { continue }
            calls += 1
            call(slot, Call(number: calls, replica: nil, isTurn: false))
            return slots[slot].waiter
        }
        newcomers.removeAll(keepingCapacity: true)
        newcomersDone = 0
        return nil
    }

    /// Most of them have left since: at most `lengthMax` wait.
    private mutating func forgetOldNewcomers() {
        newcomers.removeAll { slots[$0.slot].arrival != $0.arrival || slots[$0.slot].call.number != 0 }
        newcomersDone = 0
    }

    private mutating func call(_ slot: Int, _ call: Call) {
        slots[slot].isCalled = true
        slots[slot].call = call
        called += 1
        guard call.isTurn else { return }
        unlink(lane: slots[slot].lane)
        linkLast(lane: slots[slot].lane)
    }

    // MARK: Lanes

    /// A new caller's turn comes when everybody else has had theirs.
    private mutating func lane(of key: String) -> Int {
        if let lane = laneByKey[key] { return lane }
        let lane = freeLanes.popLast() ?? lanes.count
        let made = Lane(key: key, first: -1, last: -1, previous: -1, next: -1)
        if lane == lanes.count { lanes.append(made) } else { lanes[lane] = made }
        laneByKey[key] = lane
        linkLast(lane: lane)
        return lane
    }

    private mutating func linkLast(lane: Int) {
        lanes[lane].previous = lastLane
        lanes[lane].next = -1
        if lastLane >= 0 { lanes[lastLane].next = lane } else { firstLane = lane }
        lastLane = lane
    }

    private mutating func linkFirst(lane: Int) {
        lanes[lane].previous = -1
        lanes[lane].next = firstLane
        if firstLane >= 0 { lanes[firstLane].previous = lane } else { lastLane = lane }
        firstLane = lane
    }

    private mutating func unlink(lane: Int) {
        let (previous, next) = (lanes[lane].previous, lanes[lane].next)
        if previous >= 0 { lanes[previous].next = next } else { firstLane = next }
        if next >= 0 { lanes[next].previous = previous } else { lastLane = previous }
    }
}
