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


GET = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n\r\n" % KEY.encode()
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


def line(text):
    return post(LENGTH, line=text)


def host(value):
    """A request with that Host instead of its own."""
    return post(LENGTH).replace(b"host: x\r\n", b"host: " + value + b"\r\n", 1)


def length(value):
    return post(b"content-length: " + value)


def coding(value, field=b"transfer-encoding: "):
    return post(field + value, body=CHUNKED_BODY)


def chunks(body):
    return post(CHUNKED, body=body)


# From what parsers were found to disagree on: RFC 9112, the cases of request smuggling in the literature.
MALFORMED |= {
    # Content-Length.
    "the same length twice": post(LENGTH, LENGTH),
    "the same length twice, in other letters": post(LENGTH, b"CONTENT-LENGTH: %d" % len(BODY)),
    "a list of equal lengths": length(b"%d, %d" % (len(BODY), len(BODY))),
    "a list of equal lengths without a space": length(b"%d,%d" % (len(BODY), len(BODY))),
    "a list that begins with a comma": length(b",%d" % len(BODY)),
    "a list that ends with a comma": length(b"%d," % len(BODY)),
    "a length of minus nothing": length(b"-0"),
    "a length with an underscore": length(b"1_0"),
    "a length with a point": length(b"%d.0" % len(BODY)),
    "a length with an exponent": length(b"1e1"),
    "a length in quotes": length(b'"%d"' % len(BODY)),
    "a length with a parameter": length(b"%d;a=b" % len(BODY)),
    "a length in other digits": length("١٠".encode()),
    "a length with a vertical tab": length(b"\x0b%d" % len(BODY)),
    "a length with a form feed behind it": length(b"%d\x0c" % len(BODY)),
    "a length with a null behind it": length(b"%d\0" % len(BODY)),
    "a length with a no-break space": length(b"\xa0%d" % len(BODY)),
    "a length in octal": length(b"0o10"),
    "a length of 2^64 and more": length(b"%d" % (2**64 + len(BODY))),
    "a length of 2^63": length(b"%d" % 2**63),
    "a folded length": post(b"content-length:\r\n %d" % len(BODY)),
    "a tab before the colon of a length": post(b"content-length\t: %d" % len(BODY)),
    # Transfer-Encoding.
    "chunked and a comma": coding(b"chunked,"),
    "a comma and chunked": coding(b", chunked"),
    "identity": coding(b"identity"),
    "identity and chunked": coding(b"identity, chunked"),
    "identity and a length": post(LENGTH, b"transfer-encoding: identity"),
    "chunked with a parameter": coding(b"chunked;a=b"),
    "chunked with a quality": coding(b"chunked; q=1"),
    "chunked in quotes": coding(b'"chunked"'),
    "chunked with a null": coding(b"chunked\0"),
    "chunked with a null inside": coding(b"chun\0ked"),
    "chunked with a form feed": coding(b"\x0cchunked"),
    "chunked with a no-break space": coding(b"chunked\xa0"),
    "chunked with a bare CR before it": coding(b"\rchunked"),
    "chunked with a bare CR behind it": coding(b"chunked\r"),
    "chunked, folded": coding(b"\r\n chunked"),
    "chunked with letters that look alike": coding("сhunked".encode()),
    "chunked and something unknown": coding(b"chunked, x"),
    "an empty coding": coding(b""),
    "an empty coding beside a length": post(LENGTH, b"transfer-encoding:"),
    "gzip alone": coding(b"gzip"),
    "a tab before the colon of chunked": coding(b"chunked", b"transfer-encoding\t: "),
    "a null before the colon of chunked": coding(b"chunked", b"transfer-encoding\0: "),
    "a space before the name of chunked": coding(b"chunked", b" transfer-encoding: "),
    "a control before the name of chunked": coding(b"chunked", b"\x01transfer-encoding: "),
    "a byte above ASCII in a name": post(b"x-\xff: a", LENGTH),
    "chunked behind a bare LF": post(LENGTH, b"x-a: b\ntransfer-encoding: chunked", body=CHUNKED_BODY),
    "chunked behind a bare CR": post(LENGTH, b"x-a: b\rtransfer-encoding: chunked", body=CHUNKED_BODY),
    "both framings, the length nothing": post(b"content-length: 0", CHUNKED, body=CHUNKED_BODY),
    "both framings in HTTP/1.0": post(
        LENGTH, CHUNKED, line=b"POST /v1/chat/completions HTTP/1.0", body=CHUNKED_BODY),
    # Lines and fields.
    "lines that end in LF": post(LENGTH, end=b"\n"),
    "lines that end in CR": post(LENGTH, end=b"\r"),
    "two CRs before a line feed": post(b"x-a: b\r", LENGTH),
    "a line of spaces among the fields": post(b"   ", LENGTH),
    "a line of tabs among the fields": post(b"\t", LENGTH),
    "a colon alone": post(b":", LENGTH),
    "a delete in a value": post(b"x-a: a\x7fb", LENGTH),
    "an escape in a value": post(b"x-a: a\x1bb", LENGTH),
    "a backspace in a value": post(b"x-a: \x08", LENGTH),
    "a framing field with an underscore": post(LENGTH, b"transfer_encoding: chunked"),
    "a name in brackets": post(b"[x]: a", LENGTH),
    "a name with a slash": post(b"x/a: a", LENGTH),
    "a name with a quote": post(b'x"a: a', LENGTH),
    "a name with an at sign": post(b"x@a: a", LENGTH),
    "a name with a comma": post(b"x,a: a", LENGTH),
    # The request line.
    "no method": line(b" /v1/chat/completions HTTP/1.1"),
    "no target": line(b"POST HTTP/1.1"),
    "an empty target": line(b"POST  HTTP/1.1"),
    "two spaces before the version": line(b"POST /v1/chat/completions  HTTP/1.1"),
    "a space behind the version": line(b"POST /v1/chat/completions HTTP/1.1 "),
    "a tab before the version": line(b"POST /v1/chat/completions\tHTTP/1.1"),
    "a vertical tab for a space": line(b"POST\x0b/v1/chat/completions HTTP/1.1"),
    "a form feed for a space": line(b"POST /v1/chat/completions\x0cHTTP/1.1"),
    "a no-break space for a space": line(b"POST\xa0/v1/chat/completions HTTP/1.1"),
    "a space inside the target": line(b"POST /v1/chat completions HTTP/1.1"),
    "a bare CR in the target": line(b"POST /v1/chat/\rcompletions HTTP/1.1"),
    "a byte above ASCII in the target": line(b"POST /v1/chat/\xe9 HTTP/1.1"),
    "a delete in the target": line(b"POST /v1/chat/\x7f HTTP/1.1"),
    "a tab in the target": line(b"POST /v1/chat/\t HTTP/1.1"),
    "a target without a slash": line(b"POST v1/chat/completions HTTP/1.1"),
    "a version of three parts": line(b"POST /v1/chat/completions HTTP/1.1.1"),
    "a version with two digits": line(b"POST /v1/chat/completions HTTP/1.10"),
    "a version with a leading nought": line(b"POST /v1/chat/completions HTTP/01.1"),
    "a version with a comma": line(b"POST /v1/chat/completions HTTP/1,1"),
    "a version with a space": line(b"POST /v1/chat/completions HTTP/ 1.1"),
    "a version without a minor one": line(b"POST /v1/chat/completions HTTP/1"),
    "a version with a sign": line(b"POST /v1/chat/completions HTTP/+1.1"),
    "another protocol": line(b"POST /v1/chat/completions HTTPS/1.1"),
    "HTTP/1.2": line(b"POST /v1/chat/completions HTTP/1.2"),
    "HTTP/2": line(b"POST /v1/chat/completions HTTP/2"),
    "HTTP/3.0": line(b"POST /v1/chat/completions HTTP/3.0"),
    "HTTP/0.9 with nothing else": b"GET /v1/models\r\n\r\n",
    "a proxy's authority": b"CONNECT elsewhere.test:443 HTTP/1.1\r\nhost: elsewhere.test:443\r\n\r\n",
    "an authority for a target": line(b"POST elsewhere.test:443 HTTP/1.1"),
    "an asterisk for a target": line(b"POST * HTTP/1.1"),
    "an absolute target without a host": line(b"POST http:///v1/chat/completions HTTP/1.1"),
    "an absolute target with a user": line(b"POST http://ada@x/v1/chat/completions HTTP/1.1"),
    "an absolute target with a fragment": line(b"POST http://x/v1/chat/completions#y HTTP/1.1"),
    # Host.
    "a host in two letters": post(b"Host: x", LENGTH),
    "two hosts in a list": host(b"x, y"),
    "two hosts and a space": host(b"x y"),
    "a host with a user": host(b"ada@x"),
    "a host with a path": host(b"x/y"),
    "a host with a query": host(b"x?y"),
    "a host with a fragment": host(b"x#y"),
    "a host with a backslash": host(b"x\\y"),
    "a host with a tab": host(b"x\ty"),
    "a host with a byte above ASCII": host(b"\xff"),
    "a host with a port that is none": host(b"x:http"),
    "a host with a bracket open": host(b"[::1"),
    # Chunks.
    "a chunk size with a space before it": chunks(b" 5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a tab behind it": chunks(b"5\t\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a minus": chunks(b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size of minus nothing": chunks(b"-0\r\n\r\n"),
    "a chunk size with an underscore": chunks(b"0_5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size of 0x": chunks(b"0x\r\n\r\n"),
    "a chunk size with an h": chunks(b"5h\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a point": chunks(b"5.0\r\nhello\r\n0\r\n\r\n"),
    "a chunk size of 2^64": chunks(b"10000000000000000\r\nhello\r\n0\r\n\r\n"),
    "a chunk size of 2^64 - 1": chunks(b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "a chunk size of 2^63": chunks(b"8000000000000000\r\nhello\r\n0\r\n\r\n"),
    "a chunk size of 2^32 and 5": chunks(b"100000005\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a null": chunks(b"5\0\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with two CRs": chunks(b"5\r\r\nhello\r\n0\r\n\r\n"),
    "a chunk size in other digits": chunks("٥\r\nhello\r\n0\r\n\r\n".encode()),
    "a chunk size in quotes": chunks(b'"5"\r\nhello\r\n0\r\n\r\n'),
    "an extension without a semicolon": chunks(b"5 a=b\r\nhello\r\n0\r\n\r\n"),
    "an extension with a bare LF": chunks(b"5;a\nhello\r\n0\r\n\r\n"),
    "an extension with a null": chunks(b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    "an extension with a line end in quotes": chunks(b'5;a="\r\nhello\r\n0\r\n\r\n"\r\nhello\r\n0\r\n\r\n'),
    "a chunk that ends in LF": chunks(b"5\r\nhello\n0\r\n\r\n"),
    "a chunk that ends in CR": chunks(b"5\r\nhello\r0\r\n\r\n"),
    "a chunk that ends in nothing": chunks(b"5\r\nhello0\r\n\r\n"),
    "a chunk shorter than its size": chunks(b"8\r\nhello\r\n0\r\n\r\n"),
    "a last chunk that ends in LF": chunks(b"%x\r\n%b\r\n0\n\n" % (len(BODY), BODY)),
    "trailers that end in LF": chunks(b"%x\r\n%b\r\n0\r\nx-a: b\n\r\n" % (len(BODY), BODY)),
    "a trailer without a colon": chunks(b"%x\r\n%b\r\n0\r\nnonsense\r\n\r\n" % (len(BODY), BODY)),
    "a trailer with a space before its colon": chunks(b"%x\r\n%b\r\n0\r\nx-a : b\r\n\r\n" % (len(BODY), BODY)),
    "a trailer with a null": chunks(b"%x\r\n%b\r\n0\r\nx-a: \0\r\n\r\n" % (len(BODY), BODY)),
    "a folded trailer": chunks(b"%x\r\n%b\r\n0\r\nx-a: b\r\n c\r\n\r\n" % (len(BODY), BODY)),
    # Expectations.
    "an expectation that is unknown": post(b"expect: 200-ok", LENGTH),
    "an expectation besides 100-continue": post(b"expect: 100-continue, x", LENGTH),
}

#: What looks odd and has one meaning: served once, and normalised on its way.
ODD = {
    "an empty line before the request": b"\r\n" + post(LENGTH),
    "a length with spaces around it": length(b" %d  " % len(BODY)),
    "a length with a tab before it": post(b"content-length:\t%d" % len(BODY)),
    "a length with leading noughts": length(b"000%d" % len(BODY)),
    "chunked in capitals": coding(b"CHUNKED"),
    "chunked with a tab before it": coding(b"chunked", b"transfer-encoding:\t"),
    "chunked with spaces behind it": coding(b"chunked  "),
    "no space behind a colon": post(b"x-a:b", b"content-length:%d" % len(BODY)),
    "an empty value": post(b"x-a:", LENGTH),
    "a tab inside a value": post(b"x-a: a\tb", LENGTH),
    "bytes above ASCII in a value": post(b"x-a: \xc3\xa9\xff", LENGTH),
    "a name of every token character": post(b"!#$%&'*+-.^_`|~09azAZ: a", LENGTH),
    "a name like a framing field's": post(LENGTH, b"content-length-x: 5", b"x-transfer-encoding: chunked"),
    "a query": line(b"POST /v1/chat/completions?a=b&c HTTP/1.1"),
    "an absolute target of another host": line(b"POST http://elsewhere.test/v1/chat/completions HTTP/1.1"),
    "a host with a port": host(b"weir.test:8080"),
    "a host in brackets": host(b"[::1]:8080"),
    "chunk sizes with leading noughts": chunks(b"000%x\r\n%b\r\n00\r\n\r\n" % (len(BODY), BODY)),
    "chunk sizes in capitals": chunks(b"%X\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "extensions": chunks(b"%x;a;b=c;d=\"e f\"\r\n%b\r\n0;z\r\n\r\n" % (len(BODY), BODY)),
    "trailers, framing ones among them": chunks(
        b"%x\r\n%b\r\n0\r\nx-a: b\r\ncontent-length: 5\r\ntransfer-encoding: gzip\r\nhost: y\r\n\r\n" % (
            len(BODY), BODY)),
}


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
    assert statuses[0] in (400, 408, 413, 414, 417, 431, 501, 505)
    assert replica.posts == 0, "a replica heard of it"


@pytest.mark.parametrize("what", ODD)
def test_what_is_odd_and_has_one_meaning_is_served_once_and_normalised(gateway, replica, what):
    replica.forget()
    with gateway.connect() as connection:
        connection.send(ODD[what] + GET)
        assert connection.read_reply().status == 200
        # The next request begins where this one ended.
        assert connection.read_reply().json["object"] == "list"
    assert replica.posts == 1 and replica.last.body == BODY
    assert replica.last.line == "POST /v1/chat/completions HTTP/1.1"
    assert replica.last.field("content-length") == str(len(BODY))
    assert replica.last.field("transfer-encoding") is None and replica.last.field("trailer") is None
    assert replica.last.field("host") == f"127.0.0.1:{replica.port}"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
def test_a_body_that_nobody_expects_is_a_body_all_the_same(gateway, replica, method):
    replica.forget()
    for framing, body in ((b"content-length: %d" % len(SMUGGLED), SMUGGLED),
                          (CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED))):
        with gateway.connect() as connection:
            connection.send(post(framing, line=method + b" /v1/models HTTP/1.1", body=body))
            connection.socket.shutdown(1)
            reply = connection.read_reply(is_head=method == b"HEAD")
            assert reply.status in (200, 204, 400, 405)
            assert connection.is_closed_by_peer(), f"a second answer: {connection.buffer!r}"
    assert replica.posts == 0


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
