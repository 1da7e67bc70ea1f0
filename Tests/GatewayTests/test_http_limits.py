"""Bounds of what a client may send, and of what all of them may hold together."""

import time

import pytest
from harness.client import Connection
from harness.gateway import KEY, chat_body
from harness.waiting import eventually

LIMITS = {
    "headBytes": "4KiB", "requestLineBytes": 512, "headFields": 16, "bodyBytes": "64KiB", "bodyMemoryBytes": "128KiB",
    "chunkExtensionBytes": 64, "trailerBytes": 256,
}
BODY = chat_body("Hello")


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway([replica], http=LIMITS, timeouts={"bodyStall": "20s"})


def head(*fields, line=b"POST /v1/chat/completions HTTP/1.1", key=KEY):
    return b"\r\n".join([line, b"host: x", b"authorization: Bearer " + key.encode(), *fields]) + b"\r\n\r\n"


def chunks(*pieces, extension=b"", trailer=b""):
    return b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + b"0\r\n" + trailer + b"\r\n"


def answer(gateway, data):
    """Sends `data` and reads one answer. Returns it, and whether the connection ended behind it."""
    with gateway.connect() as connection:
        connection.send(data)
        reply = connection.read_reply()
        return reply, reply.field("connection") == "close" and connection.is_closed_by_peer()


LENGTH = b"content-length: %d" % len(BODY)
CHUNKED = b"transfer-encoding: chunked"
TOO_MUCH = {
    "a long head": (head(b"x: " + b"a" * 5000, LENGTH) + BODY, 431, "head_too_large"),
    "a head that never ends": (head(*[b"x: " + b"a" * 1000] * 8)[:-2], 431, "head_too_large"),
    "many fields": (head(*[b"x-%d: a" % n for n in range(20)], LENGTH) + BODY, 431, "head_too_large"),
    "a long request line": (head(LENGTH, line=b"POST /" + b"a" * 600 + b" HTTP/1.1") + BODY, 414, "target_too_long"),
    "a request line that never ends": (b"GET /" + b"a" * 2000, 414, "target_too_long"),
    "a long body": (head(b"content-length: 65537"), 413, "request_too_large"),
    "an endless body": (head(b"content-length: 9007199254740992"), 413, "request_too_large"),
    "a long body in one small read of chunks": (
        head(CHUNKED) + chunks(chat_body("a" * 33_000), b" " * 33_000), 413, "request_too_large"),
    "chunks of one byte each": (head(CHUNKED) + chunks(*[b" "] * 65_537), 413, "request_too_large"),
    "long chunk extensions": (
        head(CHUNKED) + chunks(BODY, extension=b";a=" + b"b" * 100), 400, "malformed_request"),
    "many short chunk extensions": (
        head(CHUNKED) + chunks(*[BODY[n:n + 1] for n in range(len(BODY))], extension=b";abc"),
        400, "malformed_request"),
    "long trailers": (
        head(CHUNKED) + chunks(BODY, trailer=b"x: " + b"a" * 300 + b"\r\n"), 431, "head_too_large"),
    "another expectation": (head(LENGTH, b"expect: 200-ok") + BODY, 417, "unsupported_expectation"),
    "another coding": (head(b"transfer-encoding: gzip, chunked"), 501, "unsupported_coding_or_method"),
    "CONNECT": (head(line=b"CONNECT x:443 HTTP/1.1"), 501, "unsupported_coding_or_method"),
    "another version": (head(LENGTH, line=b"POST /v1/chat/completions HTTP/1.2"), 505, "unsupported_http_version"),
    "HTTP/2 at once": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "unsupported_http_version"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_much_is_refused_with_its_own_code_and_the_connection_ends(gateway, replica, what):
    replica.forget()
    data, status, code = TOO_MUCH[what]
    before = gateway.metrics()
    reply, is_closed = answer(gateway, data)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert is_closed
    assert replica.posts == 0
    assert gateway.access_line(reply.field("x-request-id"))["outcome"] == code
    counted = [name for name, value in gateway.metrics().items()
               if name.startswith("weir_requests_total") and f'"{code}"' in name and value > before.get(name, 0)]
    assert counted, "no metric counts it"


def test_what_is_within_the_limits_passes(gateway, replica):
    replica.forget()
    spaces = b" " * (65_536 - len(BODY))
    for data in (
        head(b"x: " + b"a" * 3000, *[b"x-%d: a" % n for n in range(10)], LENGTH) + BODY,
        head(b"content-length: 65536") + BODY + spaces,
        head(CHUNKED) + chunks(BODY, spaces),
        head(CHUNKED) + chunks(BODY, extension=b";a=" + b"b" * 50, trailer=b"x: a\r\n"),
        head(LENGTH, line=b"POST /v1/chat/completions?" + b"a" * 400 + b" HTTP/1.1") + BODY,
    ):
        reply, _ = answer(gateway, data)
        assert reply.status == 200, reply
    assert replica.posts == 5


def test_a_declared_body_is_refused_before_it_is_sent_and_without_an_invitation(gateway):
    with gateway.connect() as connection:
        connection.send(head(b"content-length: 65537", b"expect: 100-continue"))
        status, _ = connection.read_head()  # read_reply would pass over a 100
        assert status == 413


def test_the_answer_to_a_refused_body_can_be_read_though_the_client_goes_on_sending(gateway):
    with gateway.connect() as connection:
        connection.send(head(b"content-length: 9000000"))
        connection.send(b"a" * 9_000_000)
        reply = connection.read_reply()
        assert reply.status == 413
        assert connection.is_closed_by_peer()


def test_announced_bodies_take_no_memory_and_bodies_that_came_do_until_they_are_answered(gateway, replica):
    replica.forget()
    limit, body = 128 << 10, 60_000
    used = lambda: gateway.metrics()["weir_body_memory_bytes"]  # noqa: E731
    assert used() == 0
    announced: list[Connection] = []
    holding: list[Connection] = []
    try:
        for _ in range(8):
            announced.append(gateway.connect())
            announced[-1].send(head(b"content-length: 65536") + b"{")
        eventually(lambda: used() == 8, "only what came is counted")
        assert gateway.chat("Hello").status == 200, "others are shut out by bodies that are only announced"
        for _ in range(2):
            holding.append(gateway.connect())
            # Both together fit: the first one's memory may still be held when the second one's last byte comes.
            holding[-1].send(head(b"content-length: 65000") + BODY + b" " * (body - len(BODY)))
        eventually(lambda: used() == 8 + 2 * body, "what came is counted")
        for data in (
            head(b"content-length: 65536") + b" " * 65_536, head(CHUNKED) + chunks(b" " * 30_000, b" " * 30_000)
        ):
            reply, _ = answer(gateway, data)
            assert (reply.status, reply.error["code"]) == (503, "body_memory_exhausted")
            assert reply.field("retry-after") == "1"
            assert gateway.access_line(reply.field("x-request-id"))["outcome"] == "body_memory_exhausted"
        assert used() <= limit
        for connection in holding:
            connection.send(b" " * (65_000 - body))
            assert connection.read_reply().status == 200
        # Both connections are idle now and hold nothing.
        eventually(lambda: used() == 8, "an answered body is given back")
        reply, _ = answer(gateway, head(b"content-length: 65536") + BODY + b" " * (65_536 - len(BODY)))
        assert reply.status == 200
    finally:
        for connection in announced + holding:
            connection.close()
    eventually(lambda: used() == 0, "a body that was left is given back")


def test_connections_beyond_the_limit_are_closed_and_room_is_used_again(stage):
    gateway = stage.gateway([stage.replica()], listen={"connectionsMax": 8})
    count = lambda: gateway.metrics()["weir_connections"]  # noqa: E731
    eventually(lambda: count() == 0, "what readiness was asked on is closed")
    kept = []
    try:
        for number in range(8):
            kept.append(gateway.connect())
            eventually(lambda: count() == number + 1, "the connection is accepted")
        for _ in range(3):
            with gateway.connect() as connection:
                assert connection.is_closed_by_peer()
        # Asked over the admin socket, which does not count among them.
        assert gateway.metrics()["weir_connections_refused_total"] == 3
        assert kept[0].request("POST", "/v1/chat/completions", BODY, key=KEY).status == 200
        kept.pop().close()
        eventually(lambda: count() == 7, "the closed one is gone")
        assert gateway.chat("Hello").status == 200
    finally:
        for connection in kept:
            connection.close()


def test_a_flood_of_slow_heads_costs_the_others_nothing(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], timeouts={"head": "60s", "bodyStall": "60s"})
    slow = []
    try:
        for number in range(400):
            connection = gateway.connect()
            slow.append(connection)
            if number % 2:
                connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
            else:
                connection.send(head(b"content-length: 8000000") + b'{"model"')
        taken = []
        with gateway.connect() as connection:
            for round in range(40):
                for one in slow[round::40]:
                    one.send(b"a")
                began = time.monotonic()
                assert connection.request("POST", "/v1/chat/completions", BODY, key=KEY).status == 200
                taken.append(time.monotonic() - began)
        assert sorted(taken)[20] < 2, f"normal requests took {taken} s"
    finally:
        for connection in slow:
            connection.close()
