import Balancing
import GatewayConfig
import GatewayCore
import Glibc
import HTTPConnections
import Identity
import Limiting
import Pipeline
import Reactor
import Telemetry
import Upstreams
import Wire

/// What stops a gateway from starting, or a reload from being used; one sentence for the operator.
package struct StartProblem: Error, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// From the configuration to what each part wants: names resolved, files read, nothing left to fail later.
///
/// Blocks while names are looked up: never on a loop.
struct PlainSettings {
    let settings: GatewaySettings

    // MARK: Connections

    var connections: ConnectionSettings {
        ConnectionSettings(
            head: HeadLimits(
                headBytes: settings.http.headBytes, requestLineBytes: settings.http.requestLineBytes,
                fields: settings.http.headFields),
            chunks: chunks, bodyBytesMax: settings.http.bodyBytes, headTimeout: settings.timeouts.head,
            bodyStall: settings.timeouts.bodyStall, idleTimeout: settings.timeouts.idle,
            writeStall: settings.timeouts.writeStall)
    }

    private var chunks: ChunkedDecoder.Limits {
        ChunkedDecoder.Limits(
            extensionBytes: settings.http.chunkExtensionBytes, trailerBytes: settings.http.trailerBytes,
            trailerFields: settings.http.headFields)
    }

    /// The listener's certificates, read now. - Throws: which file can't be used, and why.
    func listenerTLS() throws -> TLSContext? {
        try settings.listen.tls.map { tls in
            try TLSContext.server(
                certificateFile: tls.certificateFile, keyFile: tls.keyFile, clientAuthorityFile: tls.clientCAFile,
                minimumIs13: tls.minimumVersion == .tls13)
        }
    }

    var pipeline: PipelineSettings {
        PipelineSettings(
            requiresCredential: settings.identity.required, totalTimeout: settings.timeouts.total,
            trustedPeers: settings.http.trustedProxies.map {
                Pipeline.AddressRange(bytes: $0.bytes, prefixBits: $0.prefixBits)
            },
            cors: PipelineSettings.CORS(
                allowedOrigins: settings.http.cors.allowedOrigins, maxAge: settings.http.cors.maxAge),
            sessions: settings.redis == nil
                ? nil
                : PipelineSettings.Sessions(
                    refusesWhenUnavailable: settings.sessions.onUnavailable == .refuse,
                    lockWait: settings.sessions.lockWait, appendTimeout: .milliseconds(250)))
    }

    var limits: KeyLimits {
        let rate = settings.rateLimit
        return KeyLimits(
            requests: KeyLimits.Rate(rate.requests, per: rate.window),
            burst: rate.burst.map { KeyLimits.Rate($0.requests, per: $0.window) }, tokens: nil, inFlight: nil)
    }

    // MARK: Identity

    func verifier() throws -> TokenVerifier {
        let issuers = try settings.identity.jwt.map { issuer in
            TrustedIssuer(
                name: Self.name(of: issuer.issuer), issuer: issuer.issuer, audiences: issuer.audiences,
                keys: try issuer.keys.flatMap { try keys($0) }, leeway: issuer.leeway)
        }
        return try TokenVerifier(issuers: issuers, tokenBytesMax: 8_192)
    }

    /// The issuer in principals' ids, where a slash ends it: `https://a` and a subject `b/c` are not `https://a/b` and
    /// `c`.
    private static func name(of issuer: String) -> String {
        issuer.replacing("%", with: "%25").replacing("/", with: "%2F")
    }

    private func keys(_ key: JWTKeySettings) throws -> [VerificationKey] {
        let algorithm = key.algorithm.flatMap { SignatureAlgorithm(rawValue: $0.rawValue) }
        if let file = key.jwksFile {
            let set = try KeySet(jwks: try Self.read(file), algorithm: algorithm, allowsSecrets: true)
            return set.keys
        }
        guard let algorithm else { throw StartProblem("a key without an algorithm") }
        if let file = key.publicKeyFile {
            return [try VerificationKey(id: key.kid, algorithm: algorithm, pem: try Self.read(file))]
        }
        return [try VerificationKey(id: key.kid, algorithm: algorithm, secret: key.secret?.bytes ?? [])]
    }

    var configuredKeys: [APIKeyRecord] {
        settings.identity.apiKeys.compactMap { key in
            guard let digest = Identity.SHA256Digest(bytes: key.sha256.bytes.span) else { return nil }
            return APIKeyRecord(
                id: key.id, name: key.name, digest: digest, models: key.models.map(Set.init),
                requestsPerWindow: key.requests, created: WallTime(secondsSinceEpoch: 0))
        }
    }

    // MARK: Replicas

    /// - Parameter before: the fleet in force; replicas whose pool, name and address stay keep their state.
    func fleet(before: Fleet?) throws -> Fleet {
        var metricsIndex = 0
        var contexts = TLSContexts()
        let known = Dictionary(
            (before?.all ?? []).map { (StateKey($0.pool, $0.replica.settings), $0.replica.state) },
            uniquingKeysWith: { first, _ in first })
        let pools = try settings.pools.enumerated().map { place, pool in
            let replicas = try pool.replicas.enumerated().map { index, replica in
                defer { metricsIndex += 1 }
                let settings = self.replica(replica, pool)
                return Replica(
                    settings, index: index, metricsIndex: metricsIndex,
                    tls: replica.url.isTLS ? try contexts.context(authorityFile: replica.caFile) : nil,
                    state: try known[StateKey(pool.name, settings)] ?? state(of: replica, settings.breaker))
            }
            return Pool(poolSettings(pool), index: place, replicas: replicas)
        }
        return Fleet(pools: pools, before: before)
    }

    /// What makes a replica of two configurations the same one.
    private struct StateKey: Hashable {
        let pool: String, name: String, host: String, tlsHost: String?, pathPrefix: String

        init(_ pool: String, _ replica: Upstreams.ReplicaSettings) {
            self.pool = pool
            (name, host, tlsHost, pathPrefix) = (replica.name, replica.host, replica.tlsHost, replica.pathPrefix)
        }
    }

    /// One context for each authority file, so that a thousand replicas don't read it a thousand times.
    private struct TLSContexts {
        private var made: [String?: TLSContext] = [:]

        mutating func context(authorityFile: String?) throws(TLSProblem) -> TLSContext {
            if let context = made[authorityFile] { return context }
            let context = try TLSContext.client(authorityFile: authorityFile)
            made[authorityFile] = context
            return context
        }
    }

    private func state(
        of replica: GatewayConfig.ReplicaSettings, _ breaker: BreakerSettings
    ) throws -> ReplicaState {
        let url = replica.url
        guard let address = try SocketAddress.resolve(host: url.host, port: url.port).first else {
            throw StartProblem("replica \(replica.name): \(url.host) has no address")
        }
        return ReplicaState(host: url.host, address: address, breaker: breaker)
    }

    private func replica(
        _ replica: GatewayConfig.ReplicaSettings, _ pool: GatewayConfig.PoolSettings
    ) -> Upstreams.ReplicaSettings {
        let url = replica.url
        let kind = ReplicaKind(rawValue: replica.kind.rawValue) ?? .generic
        let host = url.host.contains(":") ? "[\(url.host)]" : url.host
        return Upstreams.ReplicaSettings(
            name: replica.name, host: "\(host):\(url.port)", tlsHost: url.isTLS ? url.host : nil,
            pathPrefix: url.prefix,
            credential: replica.apiKey.map { "Bearer " + String(decoding: $0.bytes, as: UTF8.self) },
            weight: replica.weight, kind: kind, maxInFlight: replica.maxInFlight, isBackup: replica.backup,
            probePath: pool.probe.path(for: replica.kind),
            breaker: BreakerSettings(
                failuresInARow: 5, failuresOf32: 24, shortest: .seconds(1), longest: .seconds(60),
                needsProof: pool.probe.deepInterval > .zero && kind.abilities.contains(.tinyProbe)))
    }

    private func poolSettings(_ pool: GatewayConfig.PoolSettings) -> Upstreams.PoolSettings {
        let timeouts = settings.timeouts
        return Upstreams.PoolSettings(
            name: pool.name,
            models: pool.models.map { ServedModel(name: $0.name, upstreamName: $0.upstream, fallback: $0.fallback) },
            policy: pool.policy == .roundRobin ? .smoothRoundRobin : .leastInFlight,
            health: HealthSettings(
                interval: pool.probe.interval, jitterPercent: Int(pool.probe.jitter * 100), fall: pool.probe.fall,
                rise: pool.probe.rise, pressingInterval: .milliseconds(250), ramp: pool.probe.ramp,
                warmsUp: pool.probe.warmUp, deepInterval: pool.probe.deepInterval),
            probeTimeout: pool.probe.timeout, deepTimeout: pool.probe.deepTimeout,
            timeouts: UpstreamTimeouts(
                connect: timeouts.connect, firstByte: timeouts.firstByte, firstContent: timeouts.firstContent,
                firstContentPerKiB: timeouts.firstContentPerKiB, streamStall: timeouts.streamStall,
                total: timeouts.total, headHold: timeouts.headHold),
            attempt: AttemptSettings(sendsMax: pool.retry.replicasMax, waitMax: .seconds(10)),
            retryPercent: Int(pool.retry.budgetRatio * 100), retriesPerSecond: pool.retry.budgetPerSecond,
            resumes: pool.retry.resume,
            queueLength: pool.queue.length, queueTimeout: pool.queue.timeout,
            idleConnectionsMax: pool.idleConnectionsMax, resolveInterval: pool.resolveInterval,
            replyHead: connections.head, replyChunks: chunks)
    }

    var telemetryShape: TelemetryShape {
        TelemetryShape(
            pools: settings.pools.map(\.name),
            replicas: settings.pools.enumerated().flatMap { place, pool in
                pool.replicas.map { TelemetryShape.Replica($0.name, pool: place) }
            })
    }

    // MARK: Files

    /// A small text file.
    static func read(_ path: String) throws -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw StartProblem("can't read \(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 16_384)
        while bytes.count < 1 << 20 {
            let count = Glibc.read(descriptor, &block, block.count)
            if count <= 0 { break }
            bytes.append(contentsOf: block[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
