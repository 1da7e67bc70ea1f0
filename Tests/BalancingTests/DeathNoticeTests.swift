import Balancing
import Testing

@Suite struct DeathNoticeTests {
    /// Whether it was news, and what the send knows then.
    private func told(_ death: UInt32?, _ notice: DeathNotice = DeathNotice()) -> (isNews: Bool, notice: DeathNotice) {
        var notice = notice
        let isNews = notice.tell(death)
        return (isNews, notice)
    }

    @Test func `a send whose replica is declared dead has lost it, until it comes back`() {
        #expect(!DeathNotice().isLost(nil) && !DeathNotice().isLost(1))
        let first = told(1)
        #expect(first.isNews && first.notice.isLost(1))
        #expect(!first.notice.isLost(nil), "it is up again, or only suspected")
        #expect(!first.notice.isLost(3), "it was up in between: another message will come")
        let second = told(3, first.notice)
        #expect(second.isNews && second.notice.isLost(3))
    }

    @Test func `a message that comes when the replica is up again says nothing`() {
        let late = told(nil)
        #expect(!late.isNews && !late.notice.isLost(nil))
    }

    @Test func `a send that went to a dead replica, because nobody served, is not told of that death`() {
        let notice = DeathNotice(death: 5, isAnyServing: false)
        #expect(!told(5, notice).isNews && !told(5, notice).notice.isLost(5))
        #expect(told(7, notice).isNews && told(7, notice).notice.isLost(7))
    }

    @Test func `a send that met the replica as it died, while others served, is told`() {
        let notice = DeathNotice(death: 5, isAnyServing: true)
        #expect(told(5, notice).isNews && told(5, notice).notice.isLost(5))
    }
}
