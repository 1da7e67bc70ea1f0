"""TLS on the listener: versions, ALPN, client certificates, new certificates while running, and peers that dawdle."""

import json
import signal
import socket
import ssl
import time

import pytest
from harness import tls
from harness.gateway import KEY, chat_body
from harness.process import descriptor_count
from harness.waiting import eventually

V1_1, V1_2, V1_3 = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return tls.Authority(tmp_path_factory.mktemp("tls"))


def listen(certificate, **more):
    made, key = certificate
    return {"tls": {"certificateFile": str(made), "keyFile": str(key), **more}}


@pytest.fixture(scope="module")
def gateway(shared, replica, authority):
    gateway = shared.gateway(
        [replica], ready=False, listen=listen(authority.certificate()), timeouts={"head": "400ms", "idle": "30s"})
    gateway.wait_for(["one"])
    return gateway


@pytest.fixture
def context(authority):
    return tls.client_context(authority)


def post(body=None, stream=False):
    body = body or chat_body("Hello", stream=stream)
    line = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    return line + b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b" % (
        KEY.encode(), len(body), body)


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_tls_1_2_and_1_3_are_spoken(gateway, authority, version):
    with tls.connect(gateway, tls.client_context(authority, (version, version))) as connection:
        assert connection.socket.version() == {V1_2: "TLSv1.2", V1_3: "TLSv1.3"}[version]
        connection.send(post())
        assert connection.read_reply().status == 200
        connection.send(post(stream=True))
        assert connection.read_reply().events[-1] == "[DONE]"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(gateway, authority):
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        tls.connect(gateway, tls.client_context(authority, (V1_1, V1_1)))


def test_http_1_1_is_chosen_by_alpn_and_what_lacks_it_refused(gateway, authority):
    for offered in (["http/1.1"], ["h2", "http/1.1"]):
        with tls.connect(gateway, tls.client_context(authority, alpn=offered)) as connection:
            assert connection.socket.selected_alpn_protocol() == "http/1.1"
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        tls.connect(gateway, tls.client_context(authority, alpn=["h2"]))


def test_plain_http_on_the_tls_port_is_no_request(gateway, replica):
    replica.forget()
    with gateway.connect() as connection:
        connection.send(post())
        seen = b""
        try:
            while data := connection.socket.recv(4096):
                seen += data
        except ConnectionResetError:
            pass
    assert b"HTTP/" not in seen
    assert replica.posts == 0


def test_handshakes_that_fail_are_counted_and_others_are_not(gateway, authority, context):
    def count():
        return gateway.metrics()["weir_tls_handshake_failures_total"]

    before = count()
    for _ in range(2):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            tls.connect(gateway, tls.client_context(authority, (V1_1, V1_1)))
    eventually(lambda: count() == before + 2, "both are counted")
    with tls.connect(gateway, context) as connection:
        assert connection.request("GET", "/v1/models", key=KEY).status == 200
    eventually(lambda: gateway.metrics()["weir_connections"] == 0, "the good one is closed")
    assert count() == before + 2


@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "half a hello"])
def test_a_handshake_that_stalls_is_over_after_the_head_s_time(gateway, beginning):
    with gateway.connect() as connection:
        connection.send(beginning)
        assert connection.is_closed_by_peer()


def test_a_connection_whose_handshake_is_done_may_idle_longer_than_that(gateway, context):
    with tls.connect(gateway, context) as connection:
        connection.send(post())
        assert connection.read_reply().status == 200
        time.sleep(0.6)  # more than timeouts.head: what must not happen, happens then
        connection.send(post())
        assert connection.read_reply().status == 200


def test_large_bodies_arrive_whole_in_both_directions(gateway, replica, context):
    replica.forget()
    text = "0123456789abcdef" * (200 << 10)  # 3.2 MB
    answer = "fedcba9876543210" * (200 << 10)

    async def large(exchange):
        document = exchange.whole_document()
        document["choices"][0]["message"]["content"] = answer
        exchange.reply(200, json.dumps(document).encode())

    replica.next(large)
    with tls.connect(gateway, context) as connection:
        connection.send(post(chat_body(text)))
        reply = connection.read_reply()
        assert reply.content == answer
        assert replica.last.messages[0]["content"] == text
        connection.send(post())
        assert connection.read_reply().status == 200


def large_stream(count, size):
    async def mode(exchange):
        exchange.stream_head()
        for number in range(count):
            exchange.event(exchange.chunk_document({"content": f"{number:08}" + "x" * size}))
        exchange.end_stream(count)

    return mode


def test_a_large_stream_reaches_a_reader_that_pauses(gateway, replica, context):
    events = 1_000
    replica.forget()
    replica.next(large_stream(events, 20_000))
    with tls.connect(gateway, context, receive_buffer=16 << 10) as connection:
        connection.send(post(stream=True))
        status, fields = connection.read_head()
        assert status == 200
        # However much the kernel holds on the way: the reader has not begun when the replica has.
        eventually(lambda: replica.posts == 1, "the replica was asked", seconds=5)
        text = "".join(
            json.loads(event)["choices"][0]["delta"].get("content", "")
            for event in connection.events() if event != "[DONE]")
    assert len(text) == events * 20_008
    assert text[-20_008:-20_000] == "00000999"


def test_a_peer_that_has_shut_its_side_still_gets_what_the_gateway_answers_itself(gateway, context):
    with tls.connect(gateway, context) as connection:
        connection.send(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n\r\n" % KEY.encode())
        socket.socket.shutdown(connection.socket, socket.SHUT_WR)  # below TLS: the kernel's half close
        assert connection.read_reply().json["data"][0]["id"] == "tiny"


def test_two_hundred_slow_handshakes_cost_the_others_nothing(gateway, context):
    slow = []
    try:
        for number in range(200):
            peer = gateway.connect()
            peer.send(b"\x16\x03\x01\x02\x00\x01\x00"[: number % 8])
            slow.append(peer)
        taken = []
        for _ in range(10):
            with tls.connect(gateway, context) as connection:
                began = time.monotonic()
                connection.send(post())
                assert connection.read_reply().status == 200
                taken.append(time.monotonic() - began)
        assert sorted(taken)[5] < 2, f"normal requests took {taken} s"
        for peer in slow:
            assert peer.is_closed_by_peer()
    finally:
        for peer in slow:
            peer.close()


# Client certificates.


@pytest.fixture(scope="module")
def guarded(shared, replica, authority):
    gateway = shared.gateway(
        [replica], ready=False, listen=listen(authority.certificate(), clientCAFile=str(authority.file)))
    gateway.wait_for(["one"])
    return gateway


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(guarded, replica, authority, version):
    replica.forget()
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError, EOFError)):
        with tls.connect(guarded, tls.client_context(authority, (version, version))) as connection:
            connection.send(post())
            connection.read_reply()
    assert replica.posts == 0


def test_a_certificate_of_another_authority_is_refused(guarded, replica, authority, tmp_path):
    replica.forget()
    stranger = tls.Authority(tmp_path, "stranger").certificate()
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError, EOFError)):
        with tls.connect(guarded, tls.client_context(authority, certificate=stranger)) as connection:
            connection.send(post())
            connection.read_reply()
    assert replica.posts == 0


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_a_good_client_certificate_passes_and_its_session_can_be_resumed(guarded, authority, version):
    context = tls.client_context(authority, (version, version), certificate=authority.certificate())
    session = None
    for is_resumed in (False, True):
        with tls.connect(guarded, context, session=session) as connection:
            connection.send(post())
            assert connection.read_reply().status == 200
            assert connection.socket.session_reused is is_resumed
            session = connection.socket.session


# Certificates that change.


@pytest.mark.parametrize("how", ["signal", "admin"])
def test_certificates_are_read_again_on_reload_and_a_bad_file_changes_nothing(stage, authority, how):
    first, second = authority.certificate(), authority.certificate()
    gateway = stage.gateway([stage.replica()], ready=False, listen=listen(first))
    gateway.wait_for(["one"])
    context = tls.client_context(authority)

    def reload():
        if how == "admin":
            reply = gateway.admin("POST", "/admin/v1/reload")
            return None if reply.status == 200 else reply.error["message"]
        count = len(gateway.events)
        gateway.signal(signal.SIGHUP)
        found = eventually(
            lambda: next((e for e in gateway.events[count:] if e["event"] in ("reloaded", "reload_refused")), None),
            "the gateway says what became of the reload")
        return None if found["event"] == "reloaded" else found["message"]

    def serial():
        with tls.connect(gateway, context) as connection:
            return int(connection.socket.getpeercert()["serialNumber"], 16)

    before = serial()
    with tls.connect(gateway, context) as old:
        old.send(post())
        assert old.read_reply().status == 200
        for target, source in zip(first, second):
            target.write_bytes(source.read_bytes())
        assert reload() is None
        eventually(lambda: serial() == before + 1, "new connections get the new certificate")
        old.send(post())
        assert old.read_reply().status == 200, "a connection that stood was dropped"
    first[0].write_text("no certificate")
    assert str(first[0]) in reload()
    assert serial() == before + 1
    first[1].unlink()
    assert reload() is not None
    assert serial() == before + 1


def test_connections_over_tls_leave_no_descriptors(gateway, context):
    with tls.connect(gateway, context) as connection:
        connection.send(post())
        connection.read_reply()
    before = descriptor_count(gateway.process.pid)
    for number in range(60):
        with tls.connect(gateway, context) as connection:
            if number % 3:
                connection.send(post())
            if number % 3 == 2:
                connection.read_reply()
    eventually(
        lambda: descriptor_count(gateway.process.pid) <= before + 4, "descriptors of closed connections are given back")
