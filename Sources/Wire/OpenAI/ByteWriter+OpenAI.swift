import GatewayCore

/// A model as `/v1/models` lists it.
package struct ListedModel: Equatable, Sendable {
    package var id: String
    package var created: WallTime
    package var owner: String

    package init(id: String, created: WallTime, owner: String) {
        self.id = id
        self.created = created
        self.owner = owner
    }
}

extension ByteWriter {
    /// The body of an error reply: `{"error":{"message":…,"type":…,"param":…,"code":…}}`.
    package mutating func append(openAIError answer: GatewayError.Answer) {
        appendError(answer.message, type: answer.type, param: answer.param, code: answer.code)
    }

    package mutating func append(openAIError error: UpstreamError) {
        appendError(error.message, type: error.type, param: error.param, code: error.code)
    }

    /// The error as an event inside a stream, which no `[DONE]` may follow.
    package mutating func append(errorEvent answer: GatewayError.Answer) {
        append("data: ")
        append(openAIError: answer)
        append("\n\n")
    }

    package mutating func append(errorEvent error: UpstreamError) {
        append("data: ")
        append(openAIError: error)
        append("\n\n")
    }

    /// The body of `GET /v1/models`.
    package mutating func append(modelList models: [ListedModel]) {
        append("{\"object\":\"list\",\"data\":[")
        for (index, model) in models.enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            append(listedModel: model)
        }
        append("]}")
    }

    /// The body of `GET /v1/models/{id}`.
    package mutating func append(listedModel model: ListedModel) {
        append("{\"id\":")
        append(jsonString: model.id)
        append(",\"object\":\"model\",\"created\":")
        append(decimal: Int(model.created.secondsSinceEpoch))
        append(",\"owned_by\":")
        append(jsonString: model.owner)
        append("}")
    }

    private mutating func appendError(_ message: String, type: String, param: String?, code: String?) {
        append("{\"error\":{\"message\":")
        append(jsonString: message)
        append(",\"type\":")
        append(jsonString: type)
        append(",\"param\":")
        if let param { append(jsonString: param) } else { append("null") }
        append(",\"code\":")
        if let code { append(jsonString: code) } else { append("null") }
        append("}}")
    }
}
