import Balancing
import GatewayCore
import TestSupport
import Testing

/// A shell that performs whatever the machine says while its upstreams do whatever they like.
private struct RandomShell {
    var generator: SplitMix64
    var attempt: Attempt
    let replicas: Int
    var now = Moment.zero
    var sentTo: [Int] = []
    var timedOut: Set<Int> = []
    var ends = 0
    var charged = 0
    var steps = 0
    private var way: ResumeWay?

    init(seed: UInt64) {
        generator = SplitMix64(seed: seed)
        replicas = Int(generator.next() % 6) + 1
        let request = AttemptRequest(
            isStream: generator.next() % 4 > 0, choices: generator.next() % 8 > 0 ? 1 : 2, traits: [],
            maxTokens: generator.next() % 3 == 0 ? 10 : nil)
        attempt = Attempt(
            request, settings: AttemptSettings(sendsMax: 3, waitMax: .seconds(10)), deadline: .zero + .seconds(100))
    }

    mutating func run() {
        var action = attempt.start(now: now)
        while steps < 200 {
            steps += 1
            now = now + .milliseconds(Int64(generator.next() % 4_000))
            switch action {
            case .done, .passOn, .finishLength, .fail:
                ends += 1
                check(action)
                // Whatever still arrives is no second end.
                action = tell(.failed(.init(.cut)))
                #expect(action == .proceed)
                return
            case .proceed: action = tell(upstream())
            case .pick(let exclusions): action = tell(choose(exclusions, isResume: false))
            case .resume(let exclusions): action = tell(choose(exclusions, isResume: true))
            case .again(let replica): action = tell(.sent(replica: replica))
            case .wait(let until):
                #expect(until - now <= .seconds(10))
                now = max(now, until)
                action = tell(.waited)
            }
        }
        Issue.record("did not end")
    }

    private mutating func tell(_ event: Attempt.Event) -> Attempt.Action {
        let isRich = generator.next() % 8 > 0
        var asked = 0
        let action = attempt.handle(event, now: now) {
            asked += 1
            return isRich
        }
        #expect(asked <= 1)
        charged += asked
        if case .failed(let failure) = event, failure.kind.declaresDead { #expect(asked == 0) }
        return action
    }

    private mutating func choose(_ exclusions: Attempt.Exclusions, isResume: Bool) -> Attempt.Event {
        let first = (0..<replicas).filter(exclusions.allows)
        let candidates = first.isEmpty ? (0..<replicas).filter(exclusions.allowsAtLast) : first
        guard generator.next() % 12 > 0, let index = candidates.randomElement(using: &generator) else {
            let seconds = Int64(generator.next() % 15)
            return .noneLeft(coolAt: generator.next() % 2 == 0 ? now + .seconds(seconds) : nil)
        }
        #expect(!timedOut.contains(index))
        sentTo.append(index)
        guard isResume else { return .sent(replica: index) }
        let ways = attempt.ways(on: .init(rawValue: .max))
        way = ResumeWay.allCases.first { ways.contains(ResumeWays($0)) }
        #expect(way != nil)
        return .resumed(replica: index, way: way ?? .replay)
    }

    private mutating func upstream() -> Attempt.Event {
        switch generator.next() % 10 {
        case 0...1:
            attempt.sent.tokens += Int(generator.next() % 8)
            return .content
        case 2: return attempt.hasContent ? .complete : .failed(.init(.declaredDead))
        case 3 where !attempt.hasContent || way != nil:
            let statuses = [400, 401, 404, 429, 500, 503, 302]
            return .status(statuses.randomElement(using: &generator) ?? 500, retryAfter: nil)
        case 4: return way != nil ? .diverged : .content
        case 5: return .failed(.init(.reset, isStaleConnection: !attempt.hasContent))
        default:
            let kind = UpstreamFailure.allCases.randomElement(using: &generator) ?? .cut
            if kind.isTimeout, let replica = attempt.replica { timedOut.insert(replica) }
            return .failed(.init(kind))
        }
    }

    private func check(_ action: Attempt.Action) {
        #expect(attempt.isOver)
        switch action {
        case .fail(.upstreamBroke), .finishLength: #expect(attempt.hasContent)
        case .passOn: #expect(!attempt.hasContent)
        case .fail: #expect(!attempt.hasContent)
        default: break
        }
    }
}

@Suite struct AttemptPropertyTests {
    @Test func `whatever happens, a request ends exactly once, within three sends, and never meets a timeout twice`() {
        var ways: [Int] = [0, 0, 0, 0]
        for seed in 0..<UInt64(20_000) {
            var shell = RandomShell(seed: seed)
            shell.run()
            #expect(shell.ends == 1, "seed \(seed)")
            // What was turned down is no send; a replay that was, is the end.
            let turnedDown = shell.attempt.waysTurnedDown
            #expect(shell.attempt.sends <= 3, "seed \(seed)")
            #expect((0...turnedDown).contains(shell.sentTo.count - shell.attempt.sends), "seed \(seed)")
            ways[shell.attempt.sends] += 1
        }
        // The random upstreams reach every depth.
        #expect(ways.allSatisfy { $0 > 200 })
    }
}
