extension GatewaySettings {
    /// Puts in what depends on the machine: the state directory, the admin socket and the secrets.
    mutating func fillIn(_ secrets: inout SecretReader, environment: [String: String]) {
        if state.directory.isEmpty { state.directory = Self.stateDirectory(environment) }
        if admin.socket.isEmpty { admin.socket = "\(state.directory)/admin.sock" }
        let root = SettingPath.root

        if let tls = listen.tls {
            let path = root.key("listen").key("tls")
            secrets.check(file: tls.certificateFile, path.key("certificateFile"))
            secrets.check(file: tls.keyFile, path.key("keyFile"))
            secrets.check(file: tls.clientCAFile, path.key("clientCAFile"))
        }
        for (issuer, settings) in identity.jwt.enumerated() {
            for (index, key) in settings.keys.enumerated() {
                let path = root.key("identity").key("jwt").element(issuer).key("keys").element(index)
                let secret = secrets.secret(
                    file: key.secretFile, path.key("secretFile"), variable: key.secretEnv, path.key("secretEnv"))
                if key.secret != nil, key.secretFile != nil || key.secretEnv != nil {
                    secrets.report(path.key("secret"), "can't be given beside secretFile or secretEnv")
                } else if let secret {
                    identity.jwt[issuer].keys[index].secret = secret
                }
                secrets.check(file: key.publicKeyFile, path.key("publicKeyFile"))
                secrets.check(file: key.jwksFile, path.key("jwksFile"))
            }
        }
        if let given = redis {
            let path = root.key("redis")
            redis?.password = secrets.secret(
                file: given.passwordFile, path.key("passwordFile"), variable: given.passwordEnv, path.key("passwordEnv")
            )
        }
        for (pool, settings) in pools.enumerated() {
            for (index, replica) in settings.replicas.enumerated() {
                let path = root.key("pools").element(pool).key("replicas").element(index)
                pools[pool].replicas[index].apiKey = secrets.secret(
                    file: replica.apiKeyFile, path.key("apiKeyFile"), variable: replica.apiKeyEnv, path.key("apiKeyEnv")
                )
            }
        }
    }

    /// Source: systemd.exec(5), `StateDirectory=` (several are separated by colons); XDG Base Directory Specification,
    /// which says that relative paths are to be ignored.
    package static func stateDirectory(_ environment: [String: String]) -> String {
        func absolute(_ name: String) -> String? { environment[name].flatMap { $0.hasPrefix("/") ? $0 : nil } }
        if let directory = absolute("STATE_DIRECTORY")?.split(separator: ":").first { return String(directory) }
        if let home = absolute("XDG_STATE_HOME") { return "\(home)/weir" }
        if let home = absolute("HOME") { return "\(home)/.local/state/weir" }
        return "/var/lib/weir"
    }
}
