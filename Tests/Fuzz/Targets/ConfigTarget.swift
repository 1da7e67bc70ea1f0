import GatewayConfig

/// A file gives the same settings or problems each time; settings written as a file read the same.
func checkConfig(_ bytes: [UInt8]) throws(BrokenProperty) {
    let text = bytes.text
    // Keys that name files are read as they stand; the fuzzer has no business among devices.
    if text.contains("/dev") || text.contains("/proc") { return }
    let first = read(text)
    try hold(read(text) == first, "read twice it is two things")
    switch first {
    case .failure(let problems):
        try hold(!problems.problems.isEmpty, "refused without a problem")
        try hold(problems.problems.allSatisfy { !$0.message.isEmpty }, "a problem without words")
    case .success(let settings):
        let exported = settings.yaml()
        // Secrets are not written.
        if exported.contains("***") { return }
        let again = read(exported)
        try hold(again == first, "exported it reads differently: \(again)\n\(exported)")
    }
}

private func read(_ text: String) -> Result<GatewaySettings, ConfigProblems> {
    do throws(ConfigProblems) {
        return .success(try GatewaySettings.parse(text: text, file: "/nonexistent/weir.yaml"))
    } catch {
        return .failure(error)
    }
}
