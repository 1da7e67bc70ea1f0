/// The requests that are at replicas now: a list that runs through the calls themselves, so that coming and going are a
/// few words and no counted reference.
///
/// - Isolation: its loop.
struct ActiveCalls: Sequence {
    /// A call's neighbours in the list.
    struct Links {
        // Who is in the list is in the middle of `forward`, which holds it and takes it out before it returns.
        unowned(unsafe) var before: UpstreamCall?
        unowned(unsafe) var after: UpstreamCall?
    }

    unowned(unsafe) private var first: UpstreamCall?  // As above.

    mutating func add(_ call: UpstreamCall) {
        call.links = Links(before: nil, after: first)
        first?.links.before = call
        first = call
    }

    /// - Precondition: it is in the list.
    mutating func remove(_ call: UpstreamCall) {
        let links = call.links
        if let before = links.before { before.links.after = links.after } else { first = links.after }
        links.after?.links.before = links.before
        call.links = Links()
    }

    /// The one that came last first. What is done with one must not take others out.
    func makeIterator() -> AnyIterator<UpstreamCall> {
        var next = first
        return AnyIterator {
            let call = next
            next = call?.links.after
            return call
        }
    }
}
