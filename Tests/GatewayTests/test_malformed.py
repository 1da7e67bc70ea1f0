"""Bytes that two HTTP parsers could read differently are refused, the connection ends, and no replica hears of them."""

import pytest
from harness.client import Connection
from harness.gateway import KEY, chat_body

BODY = chat_body("Hello")
SMUGGLED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-length: 2\r\n\r\n{}"
    % KEY.encode())


def post(*fields, body=BODY, line=b"POST /v1/chat/completions HTTP/1.1", end=b"\r\n"):
    head = [line, b"host: x", b"content-type: application/json", b"authorization: Bearer " + KEY.encode(), *fields]
    return end.join(head) + end + end + body


LENGTH = b"content-length: %d" % len(BODY)
CHUNKED_BODY = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
CHUNKED = b"transfer-encoding: chunked"

MALFORMED = {
    "both framings": post(LENGTH, CHUNKED, body=CHUNKED_BODY),
    "both framings the other way round": post(CHUNKED, LENGTH, body=CHUNKED_BODY),
    "two different lengths": post(LENGTH, b"content-length: 5"),
    "two lengths in a list": post(b"content-length: 5, %d" % len(BODY)),
    "a length with a sign": post(b"content-length: +%d" % len(BODY)),
    "a negative length": post(b"content-length: -1"),
    "a length in hexadecimal": post(b"content-length: 0x10"),
    "a length with a space inside": post(b"content-length: 1 0"),
    "a length beyond 64 bits": post(b"content-length: 18446744073709551617"),
    "an empty length": post(b"content-length:"),
    "a coding besides chunked": post(b"transfer-encoding: gzip, chunked", body=CHUNKED_BODY),
    "chunked twice": post(b"transfer-encoding: chunked, chunked", body=CHUNKED_BODY),
    "chunked in two fields": post(CHUNKED, CHUNKED, body=CHUNKED_BODY),
    "an unknown coding": post(b"transfer-encoding: xchunked", body=CHUNKED_BODY),
    "chunked not last": post(b"transfer-encoding: chunked, identity", body=CHUNKED_BODY),
    "chunked with a vertical tab": post(b"transfer-encoding: \x0bchunked", body=CHUNKED_BODY),
    "a space before a colon": post(b"transfer-encoding : chunked", LENGTH),
    "a folded field": post(b"x-folded: a\r\n b", LENGTH),
    "a field without a colon": post(b"nonsense", LENGTH),
    "an empty field name": post(b": value", LENGTH),
    "a null in a value": post(b"x-null: a\0b", LENGTH),
    "a bare CR in a value": post(b"x-return: a\rcontent-length: 0", LENGTH),
    "a field name with a space": post(b"x name: a", LENGTH),
    "a field name that is no token": post(b"x(name): a", LENGTH),
    "two hosts": post(b"host: y", LENGTH),
    "no host": b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n",
    "a space at the start": b" " + post(LENGTH),
    "a space before the first field": post(LENGTH).replace(b"\r\nhost", b"\r\n host", 1),
    "two spaces in the request line": post(LENGTH, line=b"POST  /v1/chat/completions HTTP/1.1"),
    "a tab in the request line": post(LENGTH, line=b"POST\t/v1/chat/completions HTTP/1.1"),
    "no version": post(LENGTH, line=b"POST /v1/chat/completions"),
    "HTTP/0.9": post(LENGTH, line=b"POST /v1/chat/completions HTTP/0.9"),
    "HTTP/2.0": post(LENGTH, line=b"POST /v1/chat/completions HTTP/2.0"),
    "a version in lower case": post(LENGTH, line=b"POST /v1/chat/completions http/1.1"),
    "a method that is no token": post(LENGTH, line=b"PO(ST /v1/chat/completions HTTP/1.1"),
    "a null in the path": post(LENGTH, line=b"POST /v1/chat/\0completions HTTP/1.1"),
    "a fragment": post(LENGTH, line=b"POST /v1/chat/completions#x HTTP/1.1"),
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n",
    "a chunk size with a sign": post(CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with 0x": post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size that is empty": post(CHUNKED, body=b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk size beyond 64 bits": post(CHUNKED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than its size": post(CHUNKED, body=b"3\r\nhello\r\n0\r\n\r\n"),
    "a chunk whose line ends in LF": post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
    "a chunk extension with a bare CR": post(CHUNKED, body=b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "a chunk without its line end": post(CHUNKED, body=b"5\r\nhelloXX0\r\n\r\n"),
    "a field twice that may come once": post(LENGTH, LENGTH, b"content-length: 1"),
    "chunked in HTTP/1.0": post(CHUNKED, line=b"POST /v1/chat/completions HTTP/1.0", body=CHUNKED_BODY),
}


@pytest.fixture(scope="module")
def replica(shared):
    return shared.replica()


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway([replica], http={"headBytes": "8KiB", "requestLineBytes": "1KiB", "headFields": 32})


def exchange(gateway, data) -> tuple[list[int], bool]:
    """Sends `data` with a request behind it. Returns the statuses that came, and whether the connection was closed."""
    statuses = []
    with gateway.connect() as connection:
        connection.send(data + SMUGGLED)
        try:
            while True:
                statuses.append(connection.read_reply().status)
        except (EOFError, ConnectionResetError):
            return statuses, True
        except TimeoutError:
            return statuses, False


@pytest.mark.parametrize("what", MALFORMED)
def test_what_can_be_read_in_two_ways_is_refused_once_and_the_connection_ends(gateway, replica, what):
    replica.forget()
    statuses, is_closed = exchange(gateway, MALFORMED[what])
    assert is_closed, f"the connection stayed open after {statuses}"
    assert len(statuses) == 1, f"answered {statuses}: a second request was found in the first one's bytes"
    assert statuses[0] in (400, 408, 413, 414, 431, 501, 505)
    assert replica.posts == 0, "a replica heard of it"


def test_the_same_requests_without_their_fault_are_served_one_for_one(gateway, replica):
    replica.forget()
    for data in (post(LENGTH), post(CHUNKED, body=CHUNKED_BODY), post(LENGTH, LENGTH)):
        with gateway.connect() as connection:
            connection.send(data)
            first = connection.read_reply().status
            assert first == 200 or data == post(LENGTH, LENGTH) and first == 400
    assert replica.posts == sum(1 for request in replica.requests if request.body == BODY)


def test_a_head_over_its_limits_is_431_and_a_long_url_414(gateway, replica):
    replica.forget()
    assert exchange(gateway, post(b"x-long: " + b"a" * 9000, LENGTH))[0] == [431]
    assert exchange(gateway, post(*[b"x-%d: a" % n for n in range(40)], LENGTH))[0] == [431]
    assert exchange(gateway, post(LENGTH, line=b"POST /" + b"a" * 2000 + b" HTTP/1.1"))[0] == [414]
    assert replica.posts == 0


def test_a_slow_head_is_408_and_an_idle_connection_just_ends(stage):
    gateway = stage.gateway([stage.replica()], timeouts={"head": "200ms", "idle": "300ms", "bodyStall": "200ms"})
    with gateway.connect() as connection:
        connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
        assert connection.read_reply().status == 408
        assert connection.is_closed_by_peer()
    with gateway.connect() as connection:
        connection.send(post(b"content-length: 500", body=b"{"))
        assert connection.read_reply().status == 408
        assert connection.is_closed_by_peer()
    with gateway.connect() as connection:
        assert connection.is_closed_by_peer()


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_client_that_leaves_inside_its_body_harms_nobody(gateway, replica, leave, framing):
    replica.forget()
    data = post(b"content-length: 500", body=b"{") if framing == "length" else post(CHUNKED, body=b"40\r\n{")
    for _ in range(3):
        connection = gateway.connect()
        connection.send(data)
        getattr(connection, leave)()
    assert gateway.chat("Hello").status == 200 and replica.posts == 1


def test_upgrade_offers_are_answered_as_plain_http_1_1(gateway, replica):
    replica.forget()
    fields = [
        b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA", LENGTH]
    with gateway.connect() as connection:
        connection.send(post(*fields))
        assert connection.read_reply().status == 200
    assert all(replica.last.field(name) is None for name in ("upgrade", "http2-settings"))


def test_http_1_0_gets_its_answer_and_the_end_of_the_connection(gateway):
    with gateway.connect() as connection:
        connection.send(post(LENGTH, line=b"POST /v1/chat/completions HTTP/1.0"))
        reply = connection.read_reply()
        assert reply.status == 200 and reply.field("transfer-encoding") is None
        assert connection.is_closed_by_peer()


def test_a_stream_for_http_1_0_ends_with_the_connection(gateway):
    body = chat_body("Hello", stream=True)
    with gateway.connect() as connection:
        connection.send(
            post(b"content-length: %d" % len(body), line=b"POST /v1/chat/completions HTTP/1.0", body=body))
        reply = connection.read_reply()
        assert reply.field("transfer-encoding") is None and reply.events[-1] == "[DONE]"


def test_random_bytes_never_stop_the_gateway(gateway, replica):
    import random

    replica.forget()
    random = random.Random(7)
    valid = post(LENGTH)
    for _ in range(150):
        data = bytearray(valid)
        for _ in range(random.randint(1, 4)):
            data[random.randrange(len(data) - len(BODY))] = random.randrange(256)
        connection: Connection
        with gateway.connect() as connection:
            connection.send(bytes(data))
            connection.socket.shutdown(1)
            try:
                while True:
                    connection.more()
            except (EOFError, ConnectionResetError):
                pass
    assert gateway.chat("Hello").status == 200
