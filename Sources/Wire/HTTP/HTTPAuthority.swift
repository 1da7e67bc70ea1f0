extension Span where Element == UInt8 {
    /// Whether `range` is a host that a request may name: a name, an IPv4 address or `[IPv6]`, and maybe a port.
    ///
    /// Narrower than the grammar: a name is of letters, digits, `.`, `-` and `_`, as DNS has them, never empty; no
    /// percent escapes, no `,` or `;`, no zone ids, no future address formats. A port is empty or at most 65535.
    /// Source: RFC 9110 §4.2.1, §7.2; RFC 3986 §3.2.2, §3.2.3.
    func isAuthority(_ range: Range<Int>) -> Bool {
        guard !range.isEmpty, range.count <= 255 + 6 else { return false }
        let end = range.upperBound
        var at = range.lowerBound
        if self[at] == ASCII.openBracket {
            let close = firstIndex(of: ASCII.closeBracket, from: at, to: end)
            guard close < end, isIPv6Address(at + 1..<close) else { return false }
            at = close + 1
        } else {
            at = firstUnusualInHost(from: at, to: end)
            guard at > range.lowerBound, at - range.lowerBound <= 255 else { return false }
        }
        if at == end { return true }
        guard self[at] == ASCII.colon else { return false }
        return at + 1 == end || isPort(at + 1..<end)
    }

    private func isPort(_ range: Range<Int>) -> Bool {
        guard range.count <= 5, let port = decimal(range) else { return false }
        return port <= 65_535
    }

    /// Source: RFC 3986 §3.2.2 (`IPv6address`).
    private func isIPv6Address(_ range: Range<Int>) -> Bool {
        let end = range.upperBound
        var at = range.lowerBound
        var groups = 0
        var isCompressed = false
        guard range.count >= 2, range.count <= 45 else { return false }
        while at < end {
            if self[at] == ASCII.colon {
                guard !isCompressed, at + 1 < end, self[at + 1] == ASCII.colon else { return false }
                isCompressed = true
                at += 2
                continue
            }
            let start = at
            while at < end, ByteSet.hexDigit.contains(self[at]) { at += 1 }
            if at < end, self[at] == ASCII.dot {
                guard isIPv4Address(start..<end) else { return false }
                groups += 2
                break
            }
            guard at > start, at - start <= 4 else { return false }
            groups += 1
            if at == end { break }
            guard self[at] == ASCII.colon, at + 1 < end else { return false }
            if self[at + 1] != ASCII.colon { at += 1 }
        }
        return isCompressed ? groups <= 7 : groups == 8
    }

    private func isIPv4Address(_ range: Range<Int>) -> Bool {
        var numbers = 0
        var start = range.lowerBound
        while start <= range.upperBound, numbers < 5 {
            let dot = firstIndex(of: ASCII.dot, from: start, to: range.upperBound)
            guard let number = decimal(start..<dot), number < 256 else { return false }
            guard dot - start == 1 || self[start] != ASCII.zero else { return false }
            numbers += 1
            start = dot + 1
        }
        return numbers == 4
    }
}
