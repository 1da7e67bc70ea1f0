import TestSupport
import Testing
import Wire

@testable import Pipeline

@Suite struct EndpointTests {
    private static let known: [(path: String, endpoint: Endpoint, label: String)] = [
        ("/v1/chat/completions", .inference(.chat), "chat_completions"),
        ("/v1/completions", .inference(.completion), "completions"),
        ("/v1/embeddings", .inference(.embedding), "embeddings"),
        ("/v1/models", .models, "models"),
        ("/healthz", .alive, "health"),
        ("/readyz", .ready, "health"),
        ("/health", .ready, "health"),
        ("/v1/health", .ready, "health"),
    ]

    /// The endpoint of a path that lies somewhere in a request.
    private static func endpoint(_ path: String, behind before: String = "POST ") -> Endpoint {
        let bytes = Array((before + path + " HTTP/1.1").utf8)
        return Endpoint(path: ByteRange(start: before.utf8.count, count: path.utf8.count), in: bytes.span)
    }

    @Test func `each path is what it is named for, wherever it lies`() {
        for (path, endpoint, label) in Self.known {
            for before in ["", "GET ", "OPTIONS http://weir"] {
                #expect(Self.endpoint(path, behind: before) == endpoint, "\(path)")
            }
            #expect("\(endpoint.label)" == label)
        }
        #expect("\(Endpoint.unknown.label)" == "unknown")
    }

    @Test func `a model's name is all that stands behind its path`() {
        for name in ["m", "Qwen/Qwen3-0.6B", "a%2Fb", "models/", "/"] {
            #expect(Self.endpoint("/v1/models/" + name) == .model(ByteRange(start: 16, count: name.utf8.count)))
        }
        #expect(Self.endpoint("/v1/models/") == .unknown)
    }

    @Test func `a path that differs by a byte is another one`() {
        var generator = SplitMix64(seed: 1)
        let endpoints = Dictionary(uniqueKeysWithValues: Self.known.map { ($0.path, $0.endpoint) })
        for (path, _, _) in Self.known {
            for index in path.utf8.indices {
                let byte = Character(Unicode.Scalar(UInt8.random(in: 0x21...0x7E, using: &generator)))
                let changed = path[..<index] + String(byte) + path[index...].dropFirst()
                for other in [String(changed), path.filter { $0 != byte }] {
                    #expect(Self.endpoint(other) == endpoints[other] ?? .unknown, "\(other)")
                }
            }
            for more in [path + "/", path + "x", path.uppercased(), "/" + path, path + "?"] {
                #expect(Self.endpoint(more) == .unknown, "\(more)")
            }
        }
    }

    @Test func `inference takes POST alone, all else GET and HEAD, and the answer to others says so`() {
        for (_, endpoint, _) in Self.known + [("", .unknown, ""), ("", .model(.empty), "")] {
            let allowed = HTTPMethod.allCases.filter { endpoint.allows($0) }
            #expect(allowed.map { "\($0.text)" }.joined(separator: ", ") == endpoint.allowedMethods)
        }
    }

    @Test func `only health is served without a credential and without a line in the log`() {
        for (path, endpoint, label) in Self.known { #expect(endpoint.isHealth == (label == "health"), "\(path)") }
        #expect(!Endpoint.unknown.isHealth && !Endpoint.model(.empty).isHealth)
    }
}
