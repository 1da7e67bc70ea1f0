"""Connections of clients: the next client has what the one before left, and finds nothing of it."""

import contextlib
import socket

import pytest
from harness.client import Connection
from harness.gateway import KEY, chat_body
from harness.modes import held
from harness.waiting import eventually
from test_reload import reload

CHAT = "/v1/chat/completions"
BODY = chat_body("Hello")
AUTHORIZED = f"host: weir.test\r\nauthorization: Bearer {KEY}\r\n".encode()
HEAD = b"POST " + CHAT.encode() + b" HTTP/1.1\r\n" + AUTHORIZED
#: What a client sends before it leaves, and whether it waits for an answer.
LEAVINGS = {
    "nothing": (b"", False),
    "half a head": (HEAD + b"content-len", False),
    "half a body": (HEAD + b"content-length: 900000\r\n\r\n{\"model\": ", False),
    "a request and half of the next": (b"GET /v1/models HTTP/1.1\r\n" + AUTHORIZED + b"\r\nPOST /v1/ch", True),
    "a question without a body, in an old version": (b"HEAD /v1/models HTTP/1.0\r\n" + AUTHORIZED + b"\r\n", True),
    "its last request": (b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n" + AUTHORIZED + b"\r\n", True),
    "no request": (b"\x16\x03\x01\r\n\r\n", True),
}


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway(
        [replica], listen={"loops": 1}, pool={"probe": {"interval": "1m"}},
        http={"trustedProxies": ["127.0.0.2"]})


def nobody(gateway):
    eventually(lambda: gateway.metrics()["weir_connections"] == 0, "nobody is connected")


@contextlib.contextmanager
def coming_from(gateway, address):
    peer = socket.create_connection(gateway.address, 10, source_address=(address, 0))
    with Connection(peer) as connection:
        yield connection


def come_and_go(gateway, leaving, leave):
    sent, is_answered = LEAVINGS[leaving]
    connection = gateway.connect()
    connection.send(sent)
    if is_answered:
        connection.read_head()
    leave(connection)
    nobody(gateway)


@pytest.mark.parametrize("leave", [Connection.close, Connection.reset])
@pytest.mark.parametrize("leaving", LEAVINGS)
def test_a_client_finds_nothing_of_the_one_before(gateway, leaving, leave):
    come_and_go(gateway, leaving, leave)
    with gateway.connect() as client:
        replies = [client.request("POST", CHAT, BODY, key=KEY) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    lines = [gateway.access_line(reply.field("x-request-id")) for reply in replies]
    assert len({line["bytes_in"] for line in lines}) == 1
    nobody(gateway)


@pytest.mark.parametrize("leaving", LEAVINGS)
def test_what_is_no_request_is_not_taken_for_more_of_the_one_before(gateway, leaving):
    come_and_go(gateway, leaving, Connection.close)
    with gateway.connect() as client:
        client.send(b"nonsense\r\n\r\n")
        assert client.read_reply().error["type"] == "invalid_request_error"
    nobody(gateway)


def test_a_client_whose_request_was_cut_off_leaves_nothing_to_the_next(gateway, replica):
    steps = replica.steps()
    replica.next(held(steps))
    with gateway.connect() as before:
        before.send_request("POST", CHAT, BODY, key=KEY)
        eventually(lambda: replica.running == 1, "the request runs")
    nobody(gateway)
    steps.allow(1)
    with gateway.connect() as client:
        for _ in range(3):
            assert client.request("POST", CHAT, BODY, key=KEY).status == 200


def test_each_client_is_told_by_its_own_address(gateway):
    for peer, shown in [
        ("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "192.0.2.7"), ("127.0.0.1", "127.0.0.1"), ("127.0.0.3", "127.0.0.3"),
    ]:
        nobody(gateway)
        with coming_from(gateway, peer) as client:
            reply = client.request("POST", CHAT, BODY, [("x-forwarded-for", "192.0.2.7")], key=KEY)
        assert gateway.access_line(reply.field("x-request-id"))["client"] == shown


def test_a_client_that_comes_after_a_reload_meets_the_new_limits(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], listen={"loops": 1})
    assert gateway.chat("Hello").status == 200
    nobody(gateway)
    reload(gateway, http={"headFields": 8})
    fields = [(f"x-{number}", "1") for number in range(12)]
    with gateway.connect() as client:
        assert client.request("POST", CHAT, BODY, fields, key=KEY).status == 431


def test_more_clients_than_connections_are_kept_come_and_go(gateway):
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(gateway.connect()) for _ in range(100)]
            for client in clients:
                assert client.request("GET", "/v1/models", key=KEY).status == 200
        nobody(gateway)
