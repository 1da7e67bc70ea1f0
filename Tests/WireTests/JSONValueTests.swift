import TestSupport
import Testing

@testable import Wire

@Suite struct JSONValueTests {
    @Test func `a document is read as it stands`() throws {
        let value = try JSONValue.read(#"{"b":[1,-2.5,true,null,"x\u0079"],"a":{"c":1e2}}"#)
        #expect(
            value
                == .object([
                    .init(name: "b", value: .array([.integer(1), .number(-2.5), .bool(true), .null, .string("xy")])),
                    .init(name: "a", value: .object([.init(name: "c", value: .number(100))])),
                ]))
        #expect(value["a"]?["c"]?.double == 100)
        #expect(value["b"]?.array?.first?.int == 1)
        #expect(value["b"]?.array?[2].bool == true)
        #expect(value["b"]?.array?[4].string == "xy")
        #expect(value["missing"] == nil)
        #expect(value["b"]?["c"] == nil)
        #expect(value.object?.map(\.name) == ["b", "a"])
    }

    @Test func `duplicate names are refused on request, also when escaped differently`() throws {
        let text = #"{"a":1,"x":{"exp":1,"\u0065xp":2}}"#
        #expect(try JSONValue.read(text)["x"]?["exp"]?.int == 1)
        #expect(throws: JSONProblem(.duplicateName, at: 21)) { try JSONValue.read(text, refusingDuplicates: true) }
        #expect(throws: Never.self) { try JSONValue.read(#"{"a":{"a":1},"b":{"a":1}}"#, refusingDuplicates: true) }
    }

    @Test func `numbers that no double can hold are refused`() {
        #expect(throws: JSONProblem(.numberTooLarge, at: 1)) { try JSONValue.read("[1e999]") }
        #expect(throws: JSONProblem(.numberTooLarge, at: 0)) { try JSONValue.read("-1e400") }
    }

    @Test func `what is written is read back the same`() throws {
        var generator = SplitMix64(seed: 9)
        for _ in 0..<500 {
            let value = randomValue(&generator, depth: 4)
            var writer = ByteWriter()
            writer.append(json: value)
            #expect(try JSONValue.read(writer.bytes) == value)
        }
    }

    private func randomValue(_ generator: inout SplitMix64, depth: Int) -> JSONValue {
        switch Int.random(in: 0...(depth > 0 ? 6 : 4), using: &generator) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &generator))
        case 2: return .integer(Int(truncatingIfNeeded: generator.next()))
        case 3: return .number(Double(Int.random(in: -1000...1000, using: &generator)) + 0.123)
        case 4: return .string(["", "a\"b", "é\n", "😀", "plain"].randomElement(using: &generator)!)
        case 5:
            return .array(
                (0..<Int.random(in: 0...4, using: &generator)).map { _ in randomValue(&generator, depth: depth - 1) })
        default:
            return .object(
                (0..<Int.random(in: 0...4, using: &generator)).map {
                    .init(name: "k\($0)\"", value: randomValue(&generator, depth: depth - 1))
                })
        }
    }
}

@Suite struct ByteWriterJSONTests {
    @Test func `commas stand between values and nowhere else`() {
        var writer = ByteWriter()
        writer.openObject()
        writer.member("id", string: "a\"b")
        writer.member("none", string: nil)
        writer.member("count", number: -3)
        writer.member("ratio", number: 0.5)
        writer.member("bad", number: Double.nan)
        writer.member("yes", bool: true)
        writer.member("no", bool: false)
        writer.member("list")
        writer.openArray()
        writer.openObject()
        writer.closeObject()
        writer.openArray()
        writer.closeArray()
        writer.element()
        writer.append(decimal: 1)
        writer.element()
        writer.append(jsonString: "x")
        writer.closeArray()
        writer.member("raw", json: Array("[null]".utf8).span)
        writer.member("empty")
        writer.openObject()
        writer.closeObject()
        writer.closeObject()
        #expect(
            writer.bytes.text
                == #"{"id":"a\"b","none":null,"count":-3,"ratio":0.5,"bad":null,"yes":true,"no":false,"#
                + #""list":[{},[],1,"x"],"raw":[null],"empty":{}}"#)
    }
}
