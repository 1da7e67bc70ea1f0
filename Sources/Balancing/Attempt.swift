package import GatewayCore

/// Bounds of what is done for one request.
package struct AttemptSettings: Equatable, Sendable {
    /// Times that a request is sent to a replica, the first one included. 1 to 4.
    package var sendsMax: Int
    /// The longest `Retry-After` that is waited for.
    package var waitMax: Interval

    package init(sendsMax: Int, waitMax: Interval) {
        self.sendsMax = sendsMax
        self.waitMax = waitMax
    }
}

/// Decides what happens to one request after each thing that its upstream does. `Upstreams` performs it.
///
///     start ──► pick ──► sent ──► content ──► complete                    (the success path: four calls)
///                ▲        │ fails    │ breaks
///                ├─again──┤          └──► resume ──► sent ──► content …
///                ├─pick───┤          └──► finishLength, fail
///                └─wait───┴──► passOn, fail
///
/// The rules, in order: out of time ends it; so does a client error. At most `sendsMax` sends. Moving off a replica
/// that was just found dead is free, every other retry takes one from the pool's budget. A replica that timed out,
/// could not be reached or refused us is never asked again by this request; one that is busy only after its cool-down;
/// one that failed otherwise only if there is no other.
///
/// Pure, and plain words without a reference in them: to begin one is to write some fields.
package struct Attempt: Sendable {
    /// A failure as the shell saw it.
    package struct Failure: Equatable, Sendable {
        package var kind: UpstreamFailure
        /// The connection was used before and broke before any byte of this reply: most likely the replica had closed
        /// it while it was idle. Such a failure says nothing about the replica; health and breaker must not hear of it.
        package var isStaleConnection: Bool
        /// The replica's health says down by now, whatever this request saw: the move is free.
        package var isReplicaDown: Bool

        package init(_ kind: UpstreamFailure, isStaleConnection: Bool = false, isReplicaDown: Bool = false) {
            self.kind = kind
            self.isStaleConnection = isStaleConnection
            self.isReplicaDown = isReplicaDown
        }
    }

    package enum Event: Equatable, Sendable {
        /// The request goes to the replica that ``Action/pick(_:)`` asked for.
        case sent(replica: Int)
        /// The same after ``Action/resume(_:)``, by this way.
        case resumed(replica: Int, way: ResumeWay)
        /// Nobody is left to pick, or there is no place for ``Action/again(replica:)``. `coolAt`: the soonest end of a
        /// cool-down among the serving replicas outside `never`.
        case noneLeft(coolAt: Moment?)
        /// The wait is over.
        case waited
        /// A status that is no success. The shell keeps the reply for ``Action/passOn`` until the next action.
        case status(Int, retryAfter: Interval?)
        /// Any other failure, before or after content.
        case failed(Failure)
        /// The first content went to the client, or the first byte of a plain reply too long to be held.
        case content
        /// What a continuation says does not continue what was sent.
        case diverged
        /// The answer is complete.
        case complete
    }

    /// Replicas that a pick leaves out.
    package struct Exclusions: Equatable, Sendable {
        /// Not under any circumstances: they timed out, could not be reached or refused us.
        package var never = ReplicaSet()
        /// Not before a wait: they said that they are busy.
        package var busy = ReplicaSet()
        /// Only if no other is left, panic included: they failed.
        package var avoid = ReplicaSet()

        package init() {}

        /// The request has met no replica yet.
        package var isEmpty: Bool { never.isEmpty && busy.isEmpty && avoid.isEmpty }

        /// Whether a first pick may take the replica.
        package func allows(_ index: Int) -> Bool { allowsAtLast(index) && !avoid.contains(index) }

        /// Whether a second pick may take it, after the first and panic found nobody.
        package func allowsAtLast(_ index: Int) -> Bool { !never.contains(index) && !busy.contains(index) }

        package func renumbered(_ place: (Int) -> Int?) -> Exclusions {
            var renumbered = Exclusions()
            renumbered.never = never.renumbered(place)
            renumbered.busy = busy.renumbered(place)
            renumbered.avoid = avoid.renumbered(place)
            return renumbered
        }
    }

    package enum Action: Equatable, Sendable {
        /// Carry on.
        case proceed
        /// Pick a replica and send the request; report `.sent` or `.noneLeft`.
        case pick(Exclusions)
        /// Send again to the same replica on a new connection; report `.sent` for it.
        case again(replica: Int)
        /// Report `.waited` then.
        case wait(until: Moment)
        /// Pick the replica that offers the best way (``Attempt/ways(on:)``) and continue the stream there; report
        /// `.resumed` or `.noneLeft`.
        case resume(Exclusions)
        /// Over: the client gets the reply that the shell holds, or its error in-band if a head was sent before.
        case passOn
        /// Over: all tokens that were asked for were sent, so end the stream with `length` ourselves.
        case finishLength
        /// Over. ``Loss/upstreamBroke(_:)`` comes after content: end honestly, in-band.
        case fail(Loss)
        /// Over, and well.
        case done
    }

    private let request: AttemptRequest
    private let settings: AttemptSettings
    private let deadline: Moment

    /// What the client has of the answer: kept up to date by the relay, read when the stream breaks.
    package var sent = SentSoFar()
    /// Where the request is now.
    package private(set) var replica: Int?
    /// Times it was sent, stale connections and continuations that were turned down not counted: what
    /// `x-weir-attempts` says.
    package private(set) var sends = 0
    /// Ways of continuing that a replica turned down: at most one each.
    package var waysTurnedDown: Int { ResumeWays.all.subtracting(waysLeft).rawValue.nonzeroBitCount }
    package private(set) var hasContent = false
    package private(set) var isOver = false
    /// The way in which a resumed stream is being continued.
    package private(set) var way: ResumeWay?

    private var waits = 0
    private var isAgain = false
    /// Those of the last ``Action/pick(_:)`` or ``Action/resume(_:)``, under their present places.
    package private(set) var exclusions = Exclusions()
    /// Ways that no replica has turned down yet.
    private var waysLeft = ResumeWays.all
    private var lastFailure: UpstreamFailure?
    /// The last failure was an answer, and the shell has it.
    private var holdsReply = false
    /// Why the stream that the client saw broke first.
    private var firstBreak: UpstreamFailure?

    /// - Parameter deadline: nothing new is begun after it.
    /// - Parameter broken: why the stream broke that another model began and this pool is to go on with. Its token ids
    ///   mean nothing here. Set ``sent`` before ``start(now:)``.
    package init(
        _ request: AttemptRequest, settings: AttemptSettings, deadline: Moment, resuming broken: UpstreamFailure? = nil
    ) {
        precondition((1...ReplicaSet.capacity).contains(settings.sendsMax))
        self.request = request
        self.settings = settings
        self.deadline = deadline
        guard let broken else { return }
        hasContent = true
        firstBreak = broken
        waysLeft.remove(.tokenIDs)
    }

    /// Begins anew, as another request that nothing was sent of. - Returns: the first action.
    package mutating func restart(
        _ request: AttemptRequest, settings: AttemptSettings, deadline: Moment, now: Moment
    ) -> Action {
        self = Attempt(request, settings: settings, deadline: deadline)
        return start(now: now)
    }

    package mutating func start(now: Moment) -> Action {
        guard now < deadline else { return end(.fail(lost(.totalTimeout))) }
        guard hasContent else { return .pick(Exclusions()) }
        guard !ways(on: ReplicaAbilities(rawValue: .max)).isEmpty else { return giveUp() }
        return .resume(Exclusions())
    }

    /// The replicas have other places from now on (a reload); nil for one that is gone. Called while the request is at
    /// none of them.
    package mutating func renumber(_ place: (Int) -> Int?) { exclusions = exclusions.renumbered(place) }

    /// What to do after `event`.
    ///
    /// - Parameter spendRetry: takes one retry from the pool's budget (``RetryBudget/spend(_:)``); called at most once,
    ///   and only for a move that isn't free.
    package mutating func handle(_ event: Event, now: Moment, spendRetry: () -> Bool) -> Action {
        if isOver { return .proceed }
        switch event {
        case .sent(let index):
            return went(to: index, by: nil)
        case .resumed(let index, let way):
            return went(to: index, by: way)
        case .content:
            hasContent = true
            return .proceed
        case .complete:
            return end(.done)
        case .failed(let failure):
            return failed(failure, now: now, spendRetry: spendRetry)
        case .status(let status, let retryAfter):
            return answered(status, retryAfter: retryAfter, now: now, spendRetry: spendRetry)
        case .noneLeft(let coolAt):
            return nobody(coolAt: coolAt, now: now)
        case .waited:
            exclusions.busy.removeAll()
            return now < deadline ? choose() : end(.fail(lost(.totalTimeout)))
        case .diverged:
            return turnedDown(now: now, spendRetry: spendRetry)
        }
    }

    /// ``Event/sent(replica:)``: of every request, so it has a door of its own.
    package mutating func wasSent(to replica: Int) { if !isOver { _ = went(to: replica, by: nil) } }

    /// ``Event/complete``: likewise.
    package mutating func wasCompleted() -> Action { isOver ? .proceed : end(.done) }

    /// The ways in which a replica with these abilities can continue this stream; empty if it can't.
    package func ways(on abilities: ReplicaAbilities) -> ResumeWays {
        ResumeRules.ways(for: request, sent: sent, on: abilities).intersection(waysLeft)
    }
}

// Events.
extension Attempt {
    private mutating func went(to index: Int, by way: ResumeWay?) -> Action {
        if !isAgain { sends += 1 }
        replica = index
        if !isAgain { self.way = way }
        return .proceed
    }

    @inline(never)
    private mutating func failed(_ failure: Failure, now: Moment, spendRetry: () -> Bool) -> Action {
        let index = replica
        replica = nil
        if failure.isStaleConnection, !isAgain, let index, now < deadline {
            isAgain = true
            return .again(replica: index)
        }
        isAgain = false
        lastFailure = failure.kind
        holdsReply = false
        if failure.kind == .totalTimeout { return end(.fail(lost(.totalTimeout))) }
        if let index {
            if failure.kind.isTimeout || failure.kind == .connectFailed || failure.kind == .declaredDead {
                exclusions.never.insert(index)
            } else {
                exclusions.avoid.insert(index)
            }
        }
        return move(isFree: failure.kind.declaresDead || failure.isReplicaDown, now: now, spendRetry: spendRetry)
    }

    @inline(never)
    private mutating func answered(
        _ status: Int, retryAfter: Interval?, now: Moment, spendRetry: () -> Bool
    ) -> Action {
        if turnsDown(status) { return turnedDown(now: now, spendRetry: spendRetry) }
        let index = replica
        replica = nil
        isAgain = false
        holdsReply = true
        switch status {
        case 429, 503:
            lastFailure = .busy
            if let index { exclusions.busy.insert(index) }
        case 401, 403, 404:
            lastFailure = .refusedUs
            if let index { exclusions.never.insert(index) }
        case 500...599:
            lastFailure = .serverError
            if let index { exclusions.avoid.insert(index) }
        case 400...499:
            return end(hasContent ? .fail(lost(.refusedUs)) : .passOn)
        default:
            lastFailure = .malformedReply
            if let index { exclusions.avoid.insert(index) }
        }
        return move(isFree: false, now: now, spendRetry: spendRetry)
    }

    /// Whether a status refuses the way of continuing, and neither the client's request nor us. Ids go to another
    /// endpoint, which a replica may not have.
    private func turnsDown(_ status: Int) -> Bool {
        guard let way else { return false }
        switch status {
        case 401, 403, 429: return false
        case 404: return way == .tokenIDs
        case 501: return way == .tokenIDs
        default: return (400...499).contains(status)
        }
    }

    /// The continuation was turned down, or turned out to be none: the next way may do, there or elsewhere. That is no
    /// send, and costs nothing: each way is turned down once.
    @inline(never)
    private mutating func turnedDown(now: Moment, spendRetry: () -> Bool) -> Action {
        guard let refused = way else { return end(.fail(lost(.refusedUs))) }
        replica = nil
        isAgain = false
        holdsReply = false
        lastFailure = .refusedUs
        waysLeft.remove(ResumeWays(refused))
        // What a replay says differs: so would any other.
        if refused == .replay { return giveUp() }
        sends -= 1
        return move(isFree: true, now: now, spendRetry: spendRetry)
    }

    @inline(never)
    private mutating func nobody(coolAt: Moment?, now: Moment) -> Action {
        if isAgain {
            isAgain = false
            return choose()
        }
        if let coolAt, coolAt - now <= settings.waitMax, coolAt < deadline, waits < settings.sendsMax {
            waits += 1
            return .wait(until: max(coolAt, now))
        }
        if lastFailure == nil, let coolAt { return end(.fail(.queueFull(retryAfter: coolAt - now))) }
        return giveUp()
    }

    /// Another send, if there may be one.
    private mutating func move(isFree: Bool, now: Moment, spendRetry: () -> Bool) -> Action {
        if hasContent {
            if firstBreak == nil { firstBreak = lastFailure }
            if request.choices == 1, request.isStream, let most = request.maxTokens, sent.tokens >= most {
                return end(.finishLength)
            }
            // Nobody can do more than every ability allows.
            guard !ways(on: ReplicaAbilities(rawValue: .max)).isEmpty else { return giveUp() }
        }
        guard sends < settings.sendsMax else { return giveUp() }
        guard now < deadline else { return end(.fail(lost(.totalTimeout))) }
        guard isFree || spendRetry() else { return giveUp() }
        return choose()
    }

    private func choose() -> Action {
        hasContent ? .resume(exclusions) : .pick(exclusions)
    }
}

// Ends.
extension Attempt {
    private mutating func giveUp() -> Action {
        if hasContent { return end(.fail(.upstreamBroke(firstBreak ?? .cut))) }
        switch lastFailure {
        case nil, .connectFailed, .declaredDead: return end(.fail(.noReplica))
        case .busy where holdsReply: return end(.passOn)
        case .connectTimeout: return end(.fail(.connectTimeout))
        case .firstByteTimeout: return end(.fail(.firstByteTimeout))
        case .firstContentTimeout: return end(.fail(.firstContentTimeout))
        case .totalTimeout: return end(.fail(.totalTimeout))
        case .some(let failure): return end(.fail(.upstreamFailed(failure)))
        }
    }

    /// What is lost by `failure` at this point of the answer.
    private func lost(_ failure: UpstreamFailure) -> Loss {
        if hasContent { return .upstreamBroke(firstBreak ?? failure) }
        return failure == .totalTimeout ? .totalTimeout : .upstreamFailed(failure)
    }

    private mutating func end(_ action: Action) -> Action {
        isOver = true
        return action
    }
}
