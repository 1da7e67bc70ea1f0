/// A setting as it is printed.
indirect enum ExportedSetting {
    /// Already in quotes if it needs them.
    case scalar(String)
    case scalars([String])
    case section([(name: String, value: ExportedSetting)])
    case sections([[(name: String, value: ExportedSetting)]])

    /// The text in double quotes, as YAML and JSON spell it.
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\x" + String(repeating: "0", count: 2 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    /// Lines of `name: value`, two spaces a level.
    static func write(_ section: [(name: String, value: ExportedSetting)], indent: Int, into text: inout String) {
        let margin = String(repeating: " ", count: indent)
        for (name, value) in section {
            text += "\(margin)\(name):"
            switch value {
            case .scalar(let scalar): text += " \(scalar)\n"
            case .scalars(let scalars): text += " [\(scalars.joined(separator: ", "))]\n"
            case .section(let keys) where keys.isEmpty: text += " {}\n"
            case .section(let keys):
                text += "\n"
                write(keys, indent: indent + 2, into: &text)
            case .sections(let list) where list.isEmpty: text += " []\n"
            case .sections(let list):
                text += "\n"
                for keys in list {
                    var element = ""
                    write(keys, indent: indent + 4, into: &element)
                    text += "\(margin)  - \(element.dropFirst(indent + 4))"
                }
            }
        }
    }
}
