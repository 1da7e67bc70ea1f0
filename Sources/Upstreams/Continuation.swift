import Balancing
import GatewayCore
import HTTPConnections
import Reactor
import Wire

/// How a broken stream goes on: in which way, where, and what is sent for it.
extension LoopUpstreams {
    // MARK: Which way

    /// Of the ways in which the replica could continue the stream, the best one.
    func bestWay(on replica: Replica, for call: UpstreamCall) -> Balancing.ResumeWay? {
        let ways = ways(on: replica, for: call)
        return Balancing.ResumeWay.allCases.first { ways.contains(ResumeWays($0)) }
    }

    func ways(on replica: Replica, for call: UpstreamCall) -> ResumeWays {
        let journey = call.journey
        guard call.mayResume else { return [] }
        var ways = journey.attempt.ways(on: replica.abilities(now: loop.now))
        // Ids mean the same only where the same engine gave them.
        if journey.idsKind != replica.settings.kind { ways.remove(.tokenIDs) }
        if ways.contains(.prefill), !canPrefill(call, on: replica.kind) { ways.remove(.prefill) }
        for failure in journey.failures where failure.replica === replica.state { ways.remove(ResumeWays(failure.way)) }
        return ways
    }

    /// Whether the request's form leaves room for the text: a last message to be extended, or a prompt, of one string.
    private func canPrefill(_ call: UpstreamCall, on kind: ReplicaKind) -> Bool {
        guard let request = call.requestAgain else { return false }
        switch request.kind {
        case .embedding: return false
        case .completion: return request.promptKind == .text && !request.echo
        case .chat:
            guard !request.echo else { return false }
            guard let last = request.messages.last, last.role == .assistant,
                request.continuesFinalMessage || kind.continuesLastMessage
            else { return true }
            guard case .keep = call.edits.messages, last.content.count >= 2 else { return false }
            return call.client.withRequest { bytes in
                bytes.extracting(call.client.bodyRange)[Int(last.content.start)] == UInt8(ascii: "\"")
            }
        }
    }

    func sentSoFar(_ call: UpstreamCall) -> SentSoFar {
        SentSoFar(
            tokens: call.relay.answer.tokensSent, hasExactIDs: call.relay.answer.hasExactIDs,
            hasToolsOrReasoning: call.relay.hasToolsOrReasoning || !call.relay.isTextWhole,
            endsInStopPrefix: endsInStopPrefix(call))
    }

    /// Whether the text ends in the beginning of a stop string: its rest may have been on the way.
    private func endsInStopPrefix(_ call: UpstreamCall) -> Bool {
        guard let request = call.requestAgain, !request.stops.isEmpty else { return false }
        return call.client.withRequest { bytes in
            let body = bytes.extracting(call.client.bodyRange)
            return call.relay.withText { text in
                request.stops.contains { JSONText.ends(text, inPrefixOf: body.extracting($0.raw)) }
            }
        }
    }

    // MARK: Token ids

    /// Whether to ask the replica for token ids, and how far to believe them.
    func idTrust(of replica: Replica, for call: UpstreamCall) -> TokenTrace.Trust {
        guard call.isStream else { return .none }
        let kind = replica.settings.kind
        guard call.mayResume, kind.abilities.contains(.tokenIDs), let request = call.requestAgain,
            request.isStream, request.choices == 1, !request.echo,
            request.promptCount <= 1 || request.promptKind == .tokens,
            ResumeRules.ways(for: call.attemptRequest, sent: SentSoFar(hasExactIDs: true), on: kind.abilities)
                .contains(.tokenIDs)
        else { return .none }
        if kind == .weir { return .everyEvent }
        // With stop strings its text lags behind its ids; a tool parser takes text out; images are more than ids.
        guard request.stops.isEmpty, !request.hasTools, !hasParts(call, request) else { return .none }
        return .singleID
    }

    /// Whether a message may hold more than text.
    private func hasParts(_ call: UpstreamCall, _ request: ChatRequest) -> Bool {
        // A session's history is not looked into.
        guard case .keep = call.edits.messages else { return true }
        return call.client.withRequest { bytes in
            let body = bytes.extracting(call.client.bodyRange)
            return (0..<request.messages.count).contains { index in
                let content = request.messages[index].content
                return !content.isEmpty && body[Int(content.start)] == UInt8(ascii: "[")
            }
        }
    }

    // MARK: What is sent

    /// What changes in the body for this replica and this way, besides what changes for every replica.
    func edits(for call: UpstreamCall, to replica: Replica, way: Balancing.ResumeWay?) -> BodyEdits {
        var edits = call.edits
        guard let request = call.requestAgain else { return edits }
        if call.asksUsageOnly {
            edits.maxTokens = 1
            edits.removed.insert(.minTokens)
            return edits
        }
        edits.returnsTokenIDs = call.idTrust != .none
        if replica.settings.kind == .weir, request.choices == 1 { edits.seed = call.seed() }
        guard let way, way != .replay else { return edits }
        let most = request.maxTokensInForce
        edits.maxTokens = most.map { max(1, $0 - call.relay.answer.tokensSent) }
        switch way {
        case .replay: break
        case .prefill:
            edits.continuation = call.relay.withText { text in text.withUnsafeBufferPointer { Array($0) } }
            edits.extendsLastMessage = replica.kind.continuesLastMessage
        case .tokenIDs:
            edits.prompt = call.relay.answer.idsAsPrompt
            guard request.kind == .chat else { break }
            edits.liftsMaxTokens = most == nil
            for member in Self.chatOnly { edits.removed.insert(member) }
            // What binds the output stays, for the replica to replay the ids through it.
            if !request.hasGrammar { for member in Self.toolMembers { edits.removed.insert(member) } }
        }
        return edits
    }

    private static let chatOnly: [ChatMember] = [
        .messages, .maxCompletionTokens, .addGenerationPrompt, .continueFinalMessage, .store, .logprobs, .topLogprobs,
    ]
    private static let toolMembers: [ChatMember] = [.tools, .toolChoice, .functions, .functionCall]

    // MARK: The usage alone

    /// How long a finished answer waits for a usage that its replica did not live to tell.
    private static let usageTimeout = Interval.seconds(2)

    /// A replica that can be asked for the usage of an answer that is finished, its place taken: the request again, for
    /// one token.
    func linkForCounting(_ call: UpstreamCall) -> Link? {
        guard call.relay.answer.owesUsage, !call.asksUsageOnly, let route = call.journey.route else { return nil }
        call.relay.answer.wasCounted = true
        guard case .replica(let index) = pickNow(Attempt.Exclusions(), for: call, in: route) else { return nil }
        call.asksUsageOnly = true
        call.deadline = min(call.deadline, loop.now + Self.usageTimeout)
        return route.links[index]
    }
}

extension ReplicaKind {
    /// Goes on writing a last message of the assistant without being asked to.
    var continuesLastMessage: Bool { self == .llamaCpp }
}
