import GatewayCore

extension IdentitySettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("required", \.required, .boolean), .sections("apiKeys", \.apiKeys, count: 0...10_000),
            .sections("jwt", \.jwt, count: 0...64),
            .value("tokenCacheEntries", \.tokenCacheEntries, .integer, 0...10_000_000),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        var (ids, digests, issuers) = (UniqueNames(), UniqueNames(), UniqueNames())
        for (index, key) in apiKeys.enumerated() {
            let path = path.key("apiKeys").element(index)
            ids.add(key.id, path.key("id"), &found)
            digests.add(key.sha256.hexadecimal, path.key("sha256"), &found)
        }
        for (index, issuer) in jwt.enumerated() {
            issuers.add(issuer.issuer, path.key("jwt").element(index).key("issuer"), &found)
        }
        return found
    }
}

extension APIKeySettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("id", \.id, .text, .name, isRequired: true), .value("name", \.name, .text, .length(0...255)),
            .value("sha256", \.sha256, .digest, isRequired: true),
            .optionalList("models", \.models, .text, count: 0...256, .length(1...255)),
            .optional("requests", \.requests, .integer, 1...1_000_000_000),
        ]
    }
}

extension JWTIssuerSettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .value("issuer", \.issuer, .text, .length(1...1024), isRequired: true),
            .list("audiences", \.audiences, .text, count: 1...64, .length(1...1024)),
            .value("leeway", \.leeway, .duration, .zero ... .seconds(300)),
            .sections("keys", \.keys, count: 1...64),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        var kids = UniqueNames()
        for (index, key) in keys.enumerated() {
            if let kid = key.kid { kids.add(kid, path.key("keys").element(index).key("kid"), &found) }
        }
        return found
    }
}

extension JWTKeySettings: SettingsSection {
    static var keys: [SettingsKey<Self>] {
        [
            .optional("kid", \.kid, .text, .length(1...1024)),
            .optional(
                "algorithm", \.algorithm, .choice,
                SettingRule(sentence: SettingFormat<Algorithm>.listed) { _ in true }),
            .optional("secretFile", \.secretFile, .path), .optional("secretEnv", \.secretEnv, .variable),
            .secret("secret", \.secret) { $0.secretFile == nil && $0.secretEnv == nil },
            .optional("publicKeyFile", \.publicKeyFile, .path), .optional("jwksFile", \.jwksFile, .path),
        ]
    }

    func rules(at path: SettingPath) -> [ConfigProblem] {
        var found: [ConfigProblem] = []
        let hasSecret = secretFile != nil || secretEnv != nil || secret != nil
        let sources = [secretFile != nil, secretEnv != nil, publicKeyFile != nil, jwksFile != nil].count { $0 }
        guard sources == 1 || (sources == 0 && hasSecret) else {
            found.append(path, "must have one of secretFile, secretEnv, secret, publicKeyFile and jwksFile")
            return found
        }
        guard let algorithm else {
            if jwksFile == nil { found.append(path.key("algorithm"), "must be given, except with jwksFile") }
            return found
        }
        // A public key taken for an HMAC secret would let anybody sign (RFC 8725, 2.1).
        if algorithm.isSymmetric, publicKeyFile != nil {
            found.append(path.key("algorithm"), "must not be \(algorithm.rawValue) with publicKeyFile")
        } else if !algorithm.isSymmetric, hasSecret {
            found.append(path.key("algorithm"), "must be HS256, HS384 or HS512 with a secret, is \(algorithm.rawValue)")
        } else if let secret, secret.bytes.count < algorithm.secretBytesMin {
            found.append(
                path.key(secretFile != nil ? "secretFile" : secretEnv != nil ? "secretEnv" : "secret"),
                "must be at least \(algorithm.secretBytesMin) bytes for \(algorithm.rawValue), is \(secret.bytes.count)"
            )
        }
        return found
    }
}

extension JWTKeySettings.Algorithm {
    /// Whether the key that verifies could also sign.
    package var isSymmetric: Bool { secretBytesMin > 0 }

    /// Source: RFC 7518, 3.2: as long as the hash; 0 where there is no secret.
    var secretBytesMin: Int {
        switch self {
        case .hs256: 32
        case .hs384: 48
        case .hs512: 64
        default: 0
        }
    }
}

extension SettingFormat where Value == String {
    /// The name of an environment variable.
    static var variable: Self {
        Self("variable", isQuoted: true) { text, _ throws(BadValue) in
            let isName = text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): true
                default: false
                }
            }
            // Not repeated: it may be the secret itself.
            guard isName, (1...255).contains(text.utf8.count) else { throw BadValue("the name of a variable") }
            return text
        } print: {
            $0
        }
    }
}
