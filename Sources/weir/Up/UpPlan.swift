import Wire

/// What a `weir up` consists of, before anything is started.
struct UpPlan {
    /// Weights of the replicas; further ones have 1.
    static let weights = [5, 3, 1]
    /// Requests that one replica may run and hold: what its slots and its queue take.
    static let maxInFlight = 128

    let listen: ListenAddress
    let model: String
    let ports: UpPorts
    let state: UpState

    var replicas: [(name: String, port: UInt16, weight: Int)] {
        ports.replicas.enumerated().map { index, port in
            ("replica-\(index + 1)", port, index < Self.weights.count ? Self.weights[index] : 1)
        }
    }

    /// What clients call the model: the file's name without folder and ending.
    var modelName: String {
        let file = model.split(separator: "/").last.map { String($0) } ?? model
        let name = file.hasSuffix(".gguf") ? String(file.dropLast(5)) : file
        return name.isEmpty ? "model" : name
    }

    /// The port is added by the supervisor.
    var replicaArguments: [String] { ["--model", model, "--alias", modelName] }

    /// The gateway's configuration.
    func yaml(redisAddress: String) -> String {
        var text = """
            # Written by `weir up` at every start: changes are lost. `weir serve --config` runs a file of your own.
            listen:
              address: \(Self.quoted(listen.description))
            admin:
              socket: \(Self.quoted(state.adminSocket))
              address: "127.0.0.1:\(ports.metrics)"
            state:
              directory: \(Self.quoted(state.directory))
            # One machine, one user: the limit is there to be seen, not to be met.
            rateLimit:
              requests: 1000000
            redis:
              address: \(Self.quoted(redisAddress))
            # `weir replicas restart` asks the `weir up` that runs them; one that hangs is restarted by itself.
            hooks:
              restart:
                supervisor: \(Self.quoted(state.supervisorSocket))
                afterFailures: 60
            pools:
              - name: main
                models: [\(Self.quoted(modelName))]
                probe:
                  interval: 1s
                  timeout: 900ms
                  rise: 1
                replicas:

            """
        for replica in replicas {
            text += """
                      - name: \(replica.name)
                        url: "http://127.0.0.1:\(replica.port)"
                        kind: weir
                        weight: \(replica.weight)
                        maxInFlight: \(Self.maxInFlight)

                """
        }
        return text + """
            log:
              access: \(Self.quoted(state.log("access")))

            """
    }

    /// A line for a shell that streams one chat completion.
    func curlLine(key: String) -> String {
        let body = """
            {"model":\(Self.quoted(modelName)),"stream":true,"messages":[{"role":"user","content":"What is a weir?"}]}
            """
        let quoted = body.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''")
        return "curl -N \(listen.url)/v1/chat/completions -H 'Authorization: Bearer \(key)' "
            + "-H 'Content-Type: application/json' -d '\(quoted)'"
    }

    /// In double quotes, as YAML and JSON understand them both.
    static func quoted(_ text: String) -> String {
        var writer = ByteWriter()
        writer.append(json: .string(text))
        return writer.bytes.text
    }
}
