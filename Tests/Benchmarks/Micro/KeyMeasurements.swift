import GatewayCore
import Identity
import Limiting
import Pipeline
import TestSupport
import Wire

private let now = WallTime(secondsSinceEpoch: 1_700_000_000)
private let keyCounts = [100, 10_000, 1_000_000]
/// Keys that are asked for, in random order; a power of two.
private let sampleCount = 65_536

/// A token that the cache doesn't know.
func tokenMeasurements() -> [Measurement] {
    let secret = Array("an example secret of 32 bytes...".utf8)
    guard let key = try? VerificationKey(id: "k1", algorithm: .hs256, secret: secret),
        let issuer = try? TokenIssuer(secret: secret, keyID: "k1", issuer: "bench", audience: "bench"),
        let token = try? issuer.issue(.init(subject: "key-000", timeToLive: .seconds(600)), now: now),
        let verifier = try? TokenVerifier(
            issuers: [
                TrustedIssuer(
                    name: "bench", issuer: "bench", audiences: ["bench"], keys: [key], leeway: .seconds(30))
            ], tokenBytesMax: 8_192)
    else { return [] }
    let bytes = Array(token.utf8)
    return [
        .of("HS256, verified, \(bytes.count) bytes") { _ in
            (try? verifier.verify(bytes.span, now: now)) == nil ? 0 : 1
        }
    ]
}

/// A known credential of 100 bytes, one of so many that were used.
func tokenCacheMeasurements() -> [Measurement] {
    let principal = Principal(kind: .token, id: "bench/key")
    return keyCounts.map { count in
        let cache = TokenCache<Principal>(capacity: count, credentialBytesMax: 8_192)
        for index in 0..<count {
            cache.insert(credential(index).span, principal: principal, attachment: principal, now: now, generation: 1)
        }
        let sample = sampled(of: count, credential)
        return .of("\(count) keys") { index in
            let credential = sample[index & (sampleCount - 1)]
            return cache.lookup(credential.span, now: now, generation: 1) == nil ? 0 : 1
        }
    }
}

/// Reserving and settling a request, with the slot at hand.
func limiterMeasurements() -> [Measurement] {
    keyCounts.map { count in
        let limiter = RequestLimiter(limits: limits, keysMax: count * 4)
        let sample = sampled(of: count) { limiter.slot(for: principal($0), now: .zero) }
        return .of("\(count) keys") { index in
            let moment = Moment(nanoseconds: Int64(index) * 10_000)
            let slot = sample[index & (sampleCount - 1)]
            var standing = KeyBudget.Standing.none
            let decision = slot.reserve(tokens: 300, now: moment, standing: &standing)
            guard case .reserved(let reservation) = decision else { return 0 }
            slot.settle(reservation, tokens: 264, now: moment)
            return 1
        }
    }
}

/// Finding a caller's slot: once per credential and loop.
func limiterTableMeasurements() -> [Measurement] {
    keyCounts.map { count in
        let limiter = RequestLimiter(limits: limits, keysMax: count * 4)
        for index in 0..<count { _ = limiter.slot(for: principal(index), now: .zero) }
        let sample = sampled(of: count, principal)
        return .of("\(count) keys") { index in
            let slot = limiter.slot(for: sample[index & (sampleCount - 1)], now: .zero)
            return ObjectIdentifier(slot) == ObjectIdentifier(limiter) ? 0 : 1
        }
    }
}

private let limits = KeyLimits(
    requests: .init(1_000_000_000, per: .seconds(10)), burst: nil, tokens: .init(1_000_000_000, per: .seconds(60)),
    inFlight: nil)

private func principal(_ index: Int) -> Principal { Principal(kind: .token, id: "bench/key-\(index)") }

private func credential(_ index: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: UInt8(ascii: "x"), count: 100)
    var rest = index
    for at in 80..<90 {
        bytes[at] = UInt8(ascii: "0") + UInt8(rest % 10)
        rest /= 10
    }
    return bytes
}

/// What `make` makes of random ones of `count` keys.
private func sampled<Element>(of count: Int, _ make: (Int) -> Element) -> [Element] {
    var generator = SplitMix64(seed: 1)
    return (0..<sampleCount).map { _ in make(Int(truncatingIfNeeded: generator.next() % UInt64(count))) }
}
