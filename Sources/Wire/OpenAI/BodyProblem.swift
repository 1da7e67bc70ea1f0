import GatewayCore

/// Why a request body is refused: always a 400 that names the member to blame.
package enum BodyProblem: Error, Equatable, Sendable {
    case malformed(JSONProblem)
    case notAnObject
    case missing(BodyPlace)
    case duplicate(BodyPlace)
    case wrongType(BodyPlace, expected: Expected, found: Found)
    case emptyString(BodyPlace)
    case emptyArray(BodyPlace)
    case belowMinimum(BodyPlace, minimum: Int)
    case aboveMaximum(BodyPlace, maximum: Int)

    package enum Expected: String, Equatable, Sendable {
        case string = "a string"
        case boolean = "a boolean"
        case integer = "an integer"
        case object = "an object"
        case arrayOfObjects = "an array of objects"
        case stringOrStrings = "a string or an array of strings"
        case stringOrArray = "a string or an array"
    }

    package enum Found: String, Equatable, Sendable {
        case object = "an object"
        case array = "an array"
        case string = "a string"
        case integer = "an integer"
        case decimal = "a decimal"
        case boolean = "a boolean"
        case null = "null"
    }
}

/// A place in a request body, as `param` names it.
package enum BodyPlace: Equatable, Sendable {
    case member(ChatMember)
    case includeUsage
    case message(Int)
    case messageRole(Int)
    case messageContent(Int)
    case stop(Int)

    package var path: String {
        switch self {
        case .member(let member): "\(member.name)"
        case .includeUsage: "stream_options.include_usage"
        case .message(let index): "messages[\(index)]"
        case .messageRole(let index): "messages[\(index)].role"
        case .messageContent(let index): "messages[\(index)].content"
        case .stop(let index): "stop[\(index)]"
        }
    }
}

extension BodyProblem {
    /// What the client is told, in the words of OpenAI's API.
    package var message: String {
        switch self {
        case .malformed(let problem):
            "We could not parse the JSON body of your request: \(problem.sentence)."
        case .notAnObject:
            "The JSON body of your request must be an object."
        case .missing(let place):
            "Missing required parameter: '\(place.path)'."
        case .duplicate(let place):
            "Duplicate parameter: '\(place.path)' occurs more than once."
        case .wrongType(let place, let expected, let found):
            "Invalid type for '\(place.path)': expected \(expected.rawValue), but got \(found.rawValue) instead."
        case .emptyString(let place):
            "Invalid '\(place.path)': empty string. Expected a string with minimum length 1."
        case .emptyArray(let place):
            "Invalid '\(place.path)': empty array. Expected an array with minimum length 1."
        case .belowMinimum(let place, let minimum):
            "Invalid '\(place.path)': integer below minimum value. Expected a value >= \(minimum)."
        case .aboveMaximum(let place, let maximum):
            "Invalid '\(place.path)': integer above maximum value. Expected a value <= \(maximum)."
        }
    }

    /// The JSON path to blame; `nil` when it is the body as a whole.
    package var param: String? {
        switch self {
        case .malformed, .notAnObject: nil
        case .missing(let place), .duplicate(let place), .emptyString(let place), .emptyArray(let place): place.path
        case .wrongType(let place, _, _), .belowMinimum(let place, _), .aboveMaximum(let place, _): place.path
        }
    }

    package var error: GatewayError { .invalidRequest(message: message, param: param) }
}
