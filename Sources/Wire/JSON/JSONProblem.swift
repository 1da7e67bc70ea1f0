/// What makes a text no JSON document that we accept, and where.
package struct JSONProblem: Error, Equatable, Sendable {
    package enum Reason: UInt8, Equatable, Sendable, CaseIterable {
        case endOfText, expectedValue, expectedName, expectedColon, expectedCommaOrEnd, trailingBytes
        case invalidLiteral, invalidNumber, numberTooLarge
        case unterminatedString, controlCharacter, invalidEscape, loneSurrogate, invalidUTF8
        case tooDeep, tooLong, duplicateName
    }

    package var reason: Reason
    /// Bytes before the one to blame.
    package var offset: Int

    package init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    /// One sentence without its full stop, fit for a client.
    package var sentence: String {
        "\(reason.sentence) (byte \(offset))"
    }
}

extension JSONProblem.Reason {
    package var sentence: String {
        switch self {
        case .endOfText: "the document ends too early"
        case .expectedValue: "a value was expected"
        case .expectedName: "a member name in double quotes was expected"
        case .expectedColon: "a colon was expected"
        case .expectedCommaOrEnd: "a comma or the closing bracket was expected"
        case .trailingBytes: "there is something behind the document"
        case .invalidLiteral: "only true, false and null are literals"
        case .invalidNumber: "a number is malformed"
        case .numberTooLarge: "a number is too large"
        case .unterminatedString: "a string is not terminated"
        case .controlCharacter: "a control character in a string must be escaped"
        case .invalidEscape: "an escape sequence is malformed"
        case .loneSurrogate: "an escaped surrogate lacks its other half"
        case .invalidUTF8: "the text is not valid UTF-8"
        case .tooDeep: "arrays and objects are nested more than \(JSONScanner.depthMax) deep"
        case .tooLong: "the document is longer than 2 GiB"
        case .duplicateName: "a member name occurs twice in one object"
        }
    }
}
