"""Whoever is slow holds whoever sends to it, and not the gateway's memory; and nothing grows with what has passed."""

import json
import threading
import time

import pytest
from harness.gateway import KEY, chat_body
from harness.modes import endless, small, streamed
from harness.process import descriptor_count, resident_bytes
from harness.waiting import eventually

MIB = 1 << 20


def settled(count, seconds=20.0):
    """Waits until `count()` has stopped to change, and returns it."""
    deadline = time.monotonic() + seconds
    last = count()
    while time.monotonic() < deadline:
        time.sleep(0.3)  # long enough for anything that still flows to be seen
        if (now := count()) == last:
            return now
        last = now
    raise AssertionError("it never stopped")


def test_a_reader_that_takes_nothing_holds_the_replica_and_goes_on_when_it_reads(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica])
    gateway.chat("Hello", stream=True)
    flow = []
    replica.next(endless(16_000, flow))
    before = resident_bytes(gateway.process.pid)
    with gateway.connect(receive_buffer=64 << 10) as connection:
        connection.send_request("POST", "/v1/chat/completions", chat_body("Hello", stream=True), key=KEY)
        assert connection.read_head()[0] == 200
        held = settled(lambda: len(flow))
        assert held * 16_000 < 16 * MIB, "the replica was not held"
        assert resident_bytes(gateway.process.pid) - before < 4 * MIB
        taken = 0
        for event in connection.events():
            taken += len(json.loads(event)["choices"][0]["delta"].get("content", ""))
            if taken > 64 * MIB:
                break
        assert len(flow) > held, "the replica did not go on"
        # What passed was counted and kept up to the bound of a resume, not beyond.
        assert resident_bytes(gateway.process.pid) - before < 24 * MIB
    eventually(lambda: replica.running == 0, "the replica is freed")


def test_a_large_upload_arrives_whole_and_one_over_the_limit_is_refused_unsent(stage):
    replica = stage.replica()
    gateway = stage.gateway(
        [replica], http={"bodyBytes": "32MiB"}, pool={"probe": {"interval": "1m", "timeout": "30s"}})
    text = "x" * (24 * MIB)
    reply = gateway.chat(text)
    assert reply.status == 200
    assert len(replica.last.messages[0]["content"]) == len(text)
    too_long = chat_body("x" * (33 * MIB))
    with gateway.connect() as connection:
        connection.send_request("POST", "/v1/chat/completions", None, [("content-length", str(len(too_long)))], KEY)
        assert connection.read_reply().status == 413
    eventually(
        lambda: gateway.metrics()["weir_body_memory_bytes"] == 0, "the body is given back")


def run_together(count, work):
    problems = []

    def guarded(number):
        try:
            work(number)
        except Exception as problem:  # noqa: BLE001 - told below
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[0]


@pytest.fixture(scope="module")
def worn(shared):
    replica = shared.replica("one", small)
    replica.keeps_records = False
    gateway = shared.gateway([replica], log={"access": "off"})
    # Memory that everyday work needs is there before anything is compared.
    replica.mode = streamed()
    for _ in range(50):
        assert gateway.chat("Hello", stream=True).status == 200
    replica.mode = small
    for _ in range(200):
        assert gateway.chat("Hello").status == 200
    return replica, gateway


def open_sockets(gateway):
    return eventually(
        lambda: gateway.metrics()["weir_connections"] == 0 and descriptor_count(gateway.process.pid),
        "all client connections are gone")


def test_short_connections_leave_nothing_behind(worn):
    _, gateway = worn
    head = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"

    def work(number):
        for turn in range(2_500):
            with gateway.connect() as connection:
                kind = (number + turn) % 4
                if kind == 0:
                    connection.send(head)
                    assert connection.read_reply().status == 200
                elif kind == 1:
                    connection.send(head[:10])
                elif kind == 2:
                    connection.send(b"nonsense\r\n\r\n")
                    connection.read_reply()

    run_together(4, lambda number: [work(number) for _ in range(1)])
    descriptors, memory = open_sockets(gateway), resident_bytes(gateway.process.pid)
    run_together(4, lambda number: [work(number) for _ in range(1)])
    assert open_sockets(gateway) <= descriptors + 4
    assert resident_bytes(gateway.process.pid) - memory < 2 * MIB


def test_two_thousand_streams_leave_nothing_behind(worn):
    replica, gateway = worn
    replica.mode = streamed()

    def work(number):
        for turn in range(250):
            with gateway.connect() as connection:
                connection.send_request("POST", "/v1/chat/completions", chat_body("Hello", stream=True), key=KEY)
                if (number + turn) % 4 == 0:
                    connection.read_head()
                    connection.reset()
                else:
                    assert connection.read_reply().events[-1] == "[DONE]"

    run_together(4, work)
    descriptors, memory = open_sockets(gateway), resident_bytes(gateway.process.pid)
    run_together(4, work)
    # Idle connections to the replica stay, at most so many as requests ran at once on each loop.
    assert open_sockets(gateway) <= descriptors + 8
    assert resident_bytes(gateway.process.pid) - memory < 2 * MIB
    in_flight = 'weir_replica_in_flight{pool="main",replica="one"}'
    eventually(lambda: gateway.metrics()[in_flight] == 0, "no request is counted as running")
    replica.mode = small
