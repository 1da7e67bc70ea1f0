import Balancing
import GatewayCore
import Testing

/// An attempt and the budget it draws on, told event by event.
private struct Story {
    var attempt: Attempt
    var budget: Int
    var spent = 0
    var now = Moment.zero

    init(isStream: Bool = true, choices: Int = 1, maxTokens: Int? = nil, budget: Int = 100) {
        attempt = Attempt(
            AttemptRequest(isStream: isStream, choices: choices, traits: [], maxTokens: maxTokens),
            settings: AttemptSettings(sendsMax: 3, waitMax: .seconds(10)), deadline: .zero + .seconds(60))
        self.budget = budget
    }

    /// The action after the last of these events.
    @discardableResult
    mutating func tell(_ events: Attempt.Event...) -> Attempt.Action {
        var action = Attempt.Action.proceed
        for event in events {
            var spent = spent
            let budget = budget
            action = attempt.handle(event, now: now) {
                guard spent < budget else { return false }
                spent += 1
                return true
            }
            self.spent = spent
        }
        return action
    }

    mutating func fails(_ kind: UpstreamFailure, on replica: Int) -> Attempt.Action {
        tell(.sent(replica: replica), .failed(.init(kind)))
    }
}

private func pick(never: [Int] = [], busy: [Int] = [], avoid: [Int] = []) -> Attempt.Action {
    .pick(exclusions(never: never, busy: busy, avoid: avoid))
}

private func exclusions(never: [Int] = [], busy: [Int] = [], avoid: [Int] = []) -> Attempt.Exclusions {
    var exclusions = Attempt.Exclusions()
    for index in never { exclusions.never.insert(index) }
    for index in busy { exclusions.busy.insert(index) }
    for index in avoid { exclusions.avoid.insert(index) }
    return exclusions
}

@Suite struct AttemptBeforeContentTests {
    @Test func `the success path is pick, send, content, complete`() {
        var story = Story()
        #expect(story.attempt.start(now: .zero) == pick())
        #expect(story.tell(.sent(replica: 4)) == .proceed)
        #expect(story.attempt.replica == 4 && story.attempt.sends == 1)
        #expect(story.tell(.content) == .proceed)
        #expect(story.tell(.complete) == .done)
        #expect(story.attempt.isOver)
        #expect(story.spent == 0)
        #expect(story.tell(.failed(.init(.reset))) == .proceed)
    }

    @Test(arguments: [UpstreamFailure.connectFailed, .connectTimeout, .reset, .cut, .declaredDead])
    func `moving off a replica that was found dead is free`(kind: UpstreamFailure) {
        var story = Story(budget: 0)
        guard case .pick(let exclusions) = story.fails(kind, on: 1) else { Issue.record("did not move"); return }
        #expect(!exclusions.allows(1) && exclusions.allows(0))
        #expect(story.spent == 0)
    }

    @Test(arguments: UpstreamFailure.allCases.filter { !$0.declaresDead && $0 != .totalTimeout })
    func `every other retry takes one from the budget, and without budget there is none`(kind: UpstreamFailure) {
        var rich = Story()
        guard case .pick(let exclusions) = rich.fails(kind, on: 1) else { Issue.record("did not move"); return }
        #expect(!exclusions.allows(1))
        #expect(exclusions.allowsAtLast(1) == !kind.isTimeout)
        #expect(rich.spent == 1)
        var poor = Story(budget: 0)
        guard case .fail = poor.fails(kind, on: 1) else { Issue.record("retried without budget"); return }
        var freed = Story(budget: 0)
        let action = freed.tell(.sent(replica: 1), .failed(.init(kind, isReplicaDown: true)))
        guard case .pick = action else { Issue.record("a dead replica's move was charged"); return }
    }

    @Test func `three sends are the most, and the last failure is the error`() {
        var story = Story()
        #expect(story.fails(.serverError, on: 0) == pick(avoid: [0]))
        #expect(story.fails(.firstByteTimeout, on: 1) == pick(never: [1], avoid: [0]))
        #expect(story.fails(.malformedReply, on: 2) == .fail(.upstreamFailed(.malformedReply)))
    }

    @Test func `a pooled connection that was stale is replaced once, on the same replica, and counts as nothing`() {
        var story = Story(budget: 0)
        let stale = Attempt.Event.failed(.init(.reset, isStaleConnection: true))
        #expect(story.tell(.sent(replica: 2), stale) == .again(replica: 2))
        story.tell(.sent(replica: 2))
        #expect(story.attempt.sends == 1)
        #expect(story.tell(stale) == pick(avoid: [2]))
        #expect(story.tell(.sent(replica: 3), stale) == .again(replica: 3))
    }

    @Test func `a stale connection without a free place for a new one is picked anew`() {
        var story = Story(budget: 0)
        let stale = Attempt.Event.failed(.init(.reset, isStaleConnection: true))
        story.tell(.sent(replica: 2), stale)
        #expect(story.tell(.noneLeft(coolAt: nil)) == pick())
        #expect(story.tell(.noneLeft(coolAt: nil)) == .fail(.noReplica))
    }

    @Test func `client errors are passed on at once`() {
        for status in [400, 409, 413, 422] {
            var story = Story()
            #expect(story.tell(.sent(replica: 0), .status(status, retryAfter: nil)) == .passOn)
            #expect(story.attempt.isOver)
        }
    }

    @Test func `a replica that refuses us is misconfigured: others are asked, and the client never sees its answer`() {
        for status in [401, 403, 404] {
            var story = Story()
            #expect(story.tell(.sent(replica: 0), .status(status, retryAfter: nil)) == pick(never: [0]))
            #expect(story.tell(.noneLeft(coolAt: nil)) == .fail(.upstreamFailed(.refusedUs)))
        }
    }

    @Test func `a busy replica is left for another at once`() {
        for status in [429, 503] {
            var story = Story()
            let action = story.tell(.sent(replica: 0), .status(status, retryAfter: .seconds(5)))
            #expect(action == pick(busy: [0]))
            #expect(story.spent == 1)
        }
    }

    @Test func `with nobody else, a short Retry-After is waited for, once paid`() {
        var story = Story()
        story.tell(.sent(replica: 0), .status(429, retryAfter: .seconds(5)))
        #expect(story.tell(.noneLeft(coolAt: .zero + .seconds(5))) == .wait(until: .zero + .seconds(5)))
        story.now = .zero + .seconds(5)
        #expect(story.tell(.waited) == pick())
        #expect(story.spent == 1)
        #expect(story.tell(.sent(replica: 0), .content, .complete) == .done)
    }

    @Test func `a long Retry-After, or none, is passed on`() {
        for coolAt in [Moment.zero + .milliseconds(10_001), nil] {
            var story = Story()
            story.tell(.sent(replica: 0), .status(503, retryAfter: coolAt.map { $0 - .zero }))
            #expect(story.tell(.noneLeft(coolAt: coolAt)) == .passOn)
        }
    }

    @Test func `a wait that would pass the deadline is not begun`() {
        var story = Story()
        story.now = .zero + .seconds(55)
        story.tell(.sent(replica: 0), .status(429, retryAfter: .seconds(6)))
        #expect(story.tell(.noneLeft(coolAt: .zero + .seconds(61))) == .passOn)
    }

    @Test func `busy without budget is passed on`() {
        var story = Story(budget: 0)
        #expect(story.tell(.sent(replica: 0), .status(429, retryAfter: .seconds(1))) == .passOn)
    }

    @Test func `waits are bounded like sends`() {
        var story = Story()
        for _ in 0..<3 {
            #expect(story.tell(.noneLeft(coolAt: story.now + .seconds(1))) == .wait(until: story.now + .seconds(1)))
            story.now = story.now + .seconds(1)
            #expect(story.tell(.waited) == pick())
        }
        let action = story.tell(.noneLeft(coolAt: story.now + .seconds(1)))
        #expect(action == .fail(.queueFull(retryAfter: .seconds(1))))
    }

    @Test func `a pool without a serving replica is told so`() {
        var story = Story()
        #expect(story.tell(.noneLeft(coolAt: nil)) == .fail(.noReplica))
        var dead = Story()
        _ = dead.fails(.connectFailed, on: 0)
        #expect(dead.tell(.noneLeft(coolAt: nil)) == .fail(.noReplica))
    }

    @Test func `each timeout keeps its own error`() {
        let errors: [(UpstreamFailure, Loss)] = [
            (.connectTimeout, .connectTimeout), (.firstByteTimeout, .firstByteTimeout),
            (.firstContentTimeout, .firstContentTimeout), (.stalled, .upstreamFailed(.stalled)),
        ]
        for (failure, error) in errors {
            var story = Story()
            _ = story.fails(failure, on: 0)
            #expect(story.tell(.noneLeft(coolAt: nil)) == .fail(error))
        }
    }

    @Test func `after the deadline nothing is begun`() {
        var late = Story()
        #expect(late.attempt.start(now: .zero + .seconds(60)) == .fail(.totalTimeout))
        var story = Story()
        story.now = .zero + .seconds(60)
        #expect(story.fails(.reset, on: 0) == .fail(.totalTimeout))
        var stale = Story()
        stale.now = .zero + .seconds(60)
        let event = Attempt.Event.failed(.init(.reset, isStaleConnection: true))
        #expect(stale.tell(.sent(replica: 0), event) == .fail(.totalTimeout))
        var timedOut = Story()
        #expect(timedOut.fails(.totalTimeout, on: 0) == .fail(.totalTimeout))
    }
}

@Suite struct AttemptAfterContentTests {
    private func streaming(maxTokens: Int? = nil, budget: Int = 100, sent: SentSoFar = SentSoFar(tokens: 3)) -> Story {
        var story = Story(maxTokens: maxTokens, budget: budget)
        story.tell(.sent(replica: 0), .content)
        story.attempt.sent = sent
        return story
    }

    @Test func `a broken stream is resumed elsewhere, and ends well`() {
        var story = streaming()
        #expect(story.tell(.failed(.init(.cut))) == .resume(exclusions(avoid: [0])))
        #expect(story.attempt.ways(on: ReplicaKind.llamaCpp.abilities) == [.prefill, .replay])
        #expect(story.tell(.resumed(replica: 1, way: .prefill)) == .proceed)
        #expect(story.attempt.way == .prefill && story.attempt.sends == 2)
        #expect(story.tell(.content, .complete) == .done)
    }

    @Test func `a stream that another model began goes on by prefill or replay, and its own break is what is told`() {
        func story(_ sent: SentSoFar) -> Attempt {
            var attempt = Attempt(
                AttemptRequest(isStream: true, choices: 1, traits: [], maxTokens: nil),
                settings: AttemptSettings(sendsMax: 3, waitMax: .seconds(10)), deadline: .zero + .seconds(60),
                resuming: .stalled)
            attempt.sent = sent
            return attempt
        }
        var attempt = story(SentSoFar(tokens: 3, hasExactIDs: true))
        #expect(attempt.start(now: .zero) == .resume(exclusions()))
        #expect(attempt.ways(on: ReplicaKind.weir.abilities) == [.prefill, .replay])
        #expect(
            attempt.handle(.noneLeft(coolAt: nil), now: .zero) { true } == .fail(.upstreamBroke(.stalled)))
        var tools = story(SentSoFar(tokens: 3, hasToolsOrReasoning: true))
        #expect(tools.start(now: .zero) == .fail(.upstreamBroke(.stalled)))
        var late = story(SentSoFar(tokens: 3))
        #expect(late.start(now: .zero + .seconds(60)) == .fail(.upstreamBroke(.stalled)))
    }

    @Test func `a stall never goes back to the same replica and costs the budget`() {
        var story = streaming()
        #expect(story.tell(.failed(.init(.stalled))) == .resume(exclusions(never: [0])))
        #expect(story.spent == 1)
        var poor = streaming(budget: 0)
        #expect(poor.tell(.failed(.init(.stalled))) == .fail(.upstreamBroke(.stalled)))
    }

    @Test func `when all tokens were sent the stream ends with length`() {
        var story = streaming(maxTokens: 3)
        #expect(story.tell(.failed(.init(.cut))) == .finishLength)
        var more = streaming(maxTokens: 4)
        #expect(more.tell(.failed(.init(.cut))) == .resume(exclusions(avoid: [0])))
    }

    @Test func `what can't be resumed ends honestly, without touching the budget`() {
        for (isStream, choices) in [(true, 2), (false, 1)] {
            var story = Story(isStream: isStream, choices: choices, maxTokens: 1)
            story.tell(.sent(replica: 0), .content)
            story.attempt.sent = SentSoFar(tokens: 3)
            #expect(story.tell(.failed(.init(.missingEnd))) == .fail(.upstreamBroke(.missingEnd)))
            #expect(story.spent == 0)
        }
        var tools = streaming(sent: SentSoFar(tokens: 3, hasToolsOrReasoning: true))
        #expect(tools.tell(.failed(.init(.cut))) == .fail(.upstreamBroke(.cut)))
    }

    @Test func `a continuation that is refused tries the next way, also on the same replica`() {
        var story = streaming()
        story.tell(.failed(.init(.cut)), .resumed(replica: 1, way: .prefill))
        #expect(story.tell(.status(400, retryAfter: nil)) == .resume(exclusions(avoid: [0])))
        #expect(story.attempt.ways(on: ReplicaKind.llamaCpp.abilities) == .replay)
        story.tell(.resumed(replica: 1, way: .replay))
        #expect(story.tell(.status(400, retryAfter: nil)) == .fail(.upstreamBroke(.cut)))
    }

    @Test func `being turned down costs no send, so every way can be tried`() {
        var story = streaming(budget: 0, sent: SentSoFar(tokens: 3, hasExactIDs: true))
        story.tell(.failed(.init(.cut)), .resumed(replica: 1, way: .tokenIDs))
        #expect(story.tell(.status(404, retryAfter: nil)) == .resume(exclusions(avoid: [0])))
        story.tell(.resumed(replica: 1, way: .prefill))
        #expect(story.tell(.diverged) == .resume(exclusions(avoid: [0])))
        #expect(story.attempt.ways(on: ReplicaKind.weir.abilities) == .replay)
        story.tell(.resumed(replica: 1, way: .replay))
        #expect(story.attempt.sends == 2 && story.attempt.waysTurnedDown == 2)
        #expect(story.tell(.complete) == .done)
    }

    @Test func `a replica that refuses us or is busy has not turned the way down`() {
        for status in [401, 403, 429, 500, 503] {
            var story = streaming()
            story.tell(.failed(.init(.cut)), .resumed(replica: 1, way: .prefill), .status(status, retryAfter: nil))
            #expect(story.attempt.ways(on: ReplicaKind.vllm.abilities).contains(.prefill), "\(status)")
        }
    }

    @Test func `a replay that diverges ends honestly with what broke first`() {
        var story = streaming()
        story.tell(.failed(.init(.aborted)), .resumed(replica: 1, way: .replay))
        #expect(story.tell(.diverged) == .fail(.upstreamBroke(.aborted)))
    }

    @Test func `a busy replica is no end: another continues, or the wait is short`() {
        var story = streaming()
        story.tell(.failed(.init(.cut)), .resumed(replica: 1, way: .prefill))
        #expect(story.tell(.status(429, retryAfter: .seconds(1))) == .resume(exclusions(busy: [1], avoid: [0])))
        #expect(story.tell(.noneLeft(coolAt: .zero + .seconds(1))) == .wait(until: .zero + .seconds(1)))
        #expect(story.tell(.waited) == .resume(exclusions(avoid: [0])))
        #expect(story.tell(.noneLeft(coolAt: nil)) == .fail(.upstreamBroke(.cut)))
    }

    @Test func `three replicas are the most for a stream too, however long it runs`() {
        var story = streaming()
        story.tell(.failed(.init(.cut)), .resumed(replica: 1, way: .tokenIDs), .content)
        story.tell(.failed(.init(.reset)), .resumed(replica: 2, way: .tokenIDs), .content)
        #expect(story.tell(.failed(.init(.stalled))) == .fail(.upstreamBroke(.cut)))
    }

    @Test func `out of time after content is told in-band`() {
        var story = streaming()
        #expect(story.tell(.failed(.init(.totalTimeout))) == .fail(.upstreamBroke(.totalTimeout)))
        var late = streaming()
        late.now = .zero + .seconds(60)
        #expect(late.tell(.failed(.init(.cut))) == .fail(.upstreamBroke(.cut)))
    }
}
