"""Who gets how many requests, and never more at once than allowed."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import modes
from harness.gateway import KEY, OTHER_KEY, chat_body, replica_settings
from harness.waiting import eventually

WEIGHTS = {"one": 5, "two": 3, "three": 1}
CHAT = "/v1/chat/completions"


def weighted(replicas, **changes):
    return [replica_settings(replica, weight=WEIGHTS[replica.name], **changes) for replica in replicas]


def fire(gateway, count, answers):
    """Sends `count` requests on one connection, as fast as answers come; counts the statuses."""
    body = chat_body("Hello")
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body))
    statuses = Counter()
    with gateway.connect() as connection:
        peer = connection.socket
        waiting, left, received = 0, count, b""
        while left or waiting:
            # A few requests ahead, so that both sides have something to do.
            ahead = min(left, 8 - waiting)
            if ahead:
                peer.sendall(request * ahead)
                left, waiting = left - ahead, waiting + ahead
            data = peer.recv(65536)
            assert data, "the gateway closed the connection"
            received += data
            while (end := received.find(b"\r\n\r\n")) >= 0:
                length = int(received[received.index(b"content-length: ") + 16:].split(b"\r\n", 1)[0])
                if len(received) < end + 4 + length:
                    break
                statuses[received[9:12]] += 1
                received = received[end + 4 + length:]
                waiting -= 1
    answers.update(statuses)


def test_10_000_requests_fall_on_the_replicas_by_weight_within_one_percent(stage):
    replicas = stage.replicas(*WEIGHTS)
    gateway = stage.gateway(weighted(replicas))
    gateway.wait_for(WEIGHTS)
    for replica in replicas:
        replica.forget()
        replica.mode = modes.small
        replica.keeps_records = False
    answers = Counter()
    threads = [threading.Thread(target=fire, args=[gateway, 2500, answers]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {b"200": 10_000}
    total = sum(WEIGHTS.values())
    for replica in replicas:
        share = 10_000 * WEIGHTS[replica.name] / total
        assert abs(replica.posts - share) <= 0.01 * share, f"{replica.name}: {replica.posts}, not {share:.0f}"


def test_one_loop_gives_the_smooth_sequence_of_nginx(stage):
    replicas = stage.replicas(*WEIGHTS)
    gateway = stage.gateway(weighted(replicas), listen={"loops": 1})
    gateway.wait_for(WEIGHTS)
    with gateway.connect() as connection:
        names = [connection.request("POST", CHAT, chat_body("Hi"), key=KEY).field("x-weir-replica") for _ in range(18)]
    for start in range(10):
        assert Counter(names[start:start + 9]) == WEIGHTS
    assert "one" in names[:2] and names[:9] == names[9:], "the sequence is not the same again"


def test_max_in_flight_is_never_exceeded_and_the_others_wait_their_turn(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([replica_settings(one, maxInFlight=2), replica_settings(two, maxInFlight=3)])
    gateway.wait_for({"one", "two"})
    one.mode = two.mode = modes.delayed(0.02)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda n: gateway.chat(f"Question {n}").status, range(80)))
    assert set(statuses) == {200}
    assert (one.running_max, two.running_max) == (2, 3)
    assert all(replica["in_flight"] == 0 for replica in gateway.replicas().values())


def test_a_full_queue_is_503_with_a_time_to_come_back_and_a_place_is_given_on(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica_settings(replica, maxInFlight=1)], pool={"queue": {"length": 1, "timeout": "20s"}})
    steps = replica.steps()
    replica.mode = modes.held(steps)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gateway.chat, "first")
        eventually(lambda: replica.running == 1, "the first request runs")
        second = pool.submit(gateway.chat, "second")
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 1, "the second request waits")
        third = gateway.chat("third")
        assert third.status == 503 and third.error["code"] == "queue_full"
        assert int(third.field("retry-after")) >= 1 and int(third.field("retry-after-ms")) >= 1
        steps.allow(2)
        assert first.result().status == second.result().status == 200
    assert replica.running_max == 1


def test_who_waits_longer_than_the_queue_allows_gets_503(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica_settings(replica, maxInFlight=1)], pool={"queue": {"timeout": "100ms"}})
    steps = replica.steps()
    replica.mode = modes.held(steps)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.chat, "first")
        eventually(lambda: replica.running == 1, "the first request runs")
        reply = gateway.chat("second")
        assert reply.status == 503 and reply.error["code"] == "queue_timeout"
        steps.allow(1)
        assert first.result().status == 200


def waiting(gateway):
    return gateway.metrics()['weir_queue_length{pool="main"}']


def test_callers_take_turns_in_one_queue_over_all_loops(stage):
    """One key's twenty waiting requests delay another key's by one place each, whichever loop they came to."""
    replica = stage.replica()
    gateway = stage.gateway([replica_settings(replica, maxInFlight=1)])
    steps = replica.steps()
    replica.mode = modes.held(steps)
    bodies = [("busy", KEY, n) for n in range(20)] + [("modest", OTHER_KEY, n) for n in range(5)]
    with ThreadPoolExecutor(32) as pool:
        replies = [pool.submit(gateway.chat, "first")]
        eventually(lambda: replica.running == 1, "the first request runs")
        for place, (name, key, number) in enumerate(bodies):
            replies.append(pool.submit(gateway.chat, f"{name} {number}", key=key))
            eventually(lambda: waiting(gateway) == place + 1, f"{place + 1} requests wait")
        # Whoever waits longest comes next: step by step, so that the order is the queue's.
        for done in range(len(replies)):
            eventually(lambda: replica.posts == done + 1, f"request {done + 1} is sent")
            steps.allow(1)
        assert all(reply.result().status == 200 for reply in replies)
    order = [request.messages[0]["content"] for request in replica.requests[1:]]
    expected = [f"{name} {n}" for n in range(5) for name in ("busy", "modest")] + [f"busy {n}" for n in range(5, 20)]
    assert order == expected
    assert replica.running_max == 1 and waiting(gateway) == 0
    assert gateway.metrics()['weir_queue_wait_seconds_count{pool="main"}'] == 25


def test_every_free_place_is_given_to_somebody_who_waits(stage):
    """Two loops, three replicas, a hundred requests at once: all places are used, none is used twice."""
    replicas = stage.replicas("one", "two", "three")
    gateway = stage.gateway([replica_settings(replica, maxInFlight=2) for replica in replicas])
    gateway.wait_for({"one", "two", "three"})
    steps = [replica.steps() for replica in replicas]
    for replica, its in zip(replicas, steps):
        replica.mode = modes.held(its)
    with ThreadPoolExecutor(100) as pool:
        replies = [pool.submit(gateway.chat, f"Question {n}", key=(KEY, OTHER_KEY)[n % 2]) for n in range(100)]
        eventually(lambda: waiting(gateway) == 94, "six run and the others wait")
        assert [replica.running for replica in replicas] == [2, 2, 2]
        for _ in range(16):
            posts = sum(replica.posts for replica in replicas)
            for its in steps:
                its.allow(2)
            eventually(lambda: sum(replica.posts for replica in replicas) >= min(100, posts + 6), "all places are used")
        for its in steps:
            its.allow(100)
        assert {reply.result().status for reply in replies} == {200}
    assert [replica.running_max for replica in replicas] == [2, 2, 2]
    assert sum(replica.posts for replica in replicas) == 100


def test_a_replica_that_comes_back_takes_those_who_wait(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway(
        [replica_settings(one, maxInFlight=1), replica_settings(two, maxInFlight=4)],
        pool={"probe": {"interval": "1s", "timeout": "1s", "fall": 1}})
    gateway.wait_for({"one", "two"})
    two.kill()
    gateway.wait_for({"one"})
    steps = one.steps()
    one.mode = modes.held(steps)
    with ThreadPoolExecutor(4) as pool:
        replies = [pool.submit(gateway.chat, f"Question {n}") for n in range(4)]
        eventually(lambda: one.running == 1 and waiting(gateway) == 3, "one runs and three wait")
        two.start()
        eventually(lambda: two.posts == 3 and waiting(gateway) == 0, "the three go to the one that came back")
        steps.allow(1)
        assert {reply.result().status for reply in replies} == {200}


def test_least_in_flight_avoids_the_replica_that_is_at_work(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"policy": "leastInFlight"})
    gateway.wait_for({"one", "two"})
    steps = one.steps()
    one.mode = two.mode = modes.held(steps)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gateway.chat, "first")
        busy = eventually(lambda: next((r for r in (one, two) if r.running), None), "one request runs")
        free = two if busy is one else one
        free.mode = modes.answer
        for _ in range(10):
            assert gateway.chat("Hello").field("x-weir-replica") == free.name
        steps.allow(1)
        assert first.result().status == 200


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("when", ["before the head", "in mid-stream", "in the queue"])
def test_a_client_that_leaves_cancels_upstream_within_a_second(stage, when, how):
    replica = stage.replica()
    gateway = stage.gateway([replica_settings(replica, maxInFlight=1)])
    steps = replica.steps(allowed=2 if when == "in mid-stream" else 0)
    replica.mode = modes.streamed(steps=steps)
    connection = gateway.connect()
    connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
    if when == "in mid-stream":
        events = connection.events()
        connection.read_head()
        for _ in range(3):
            next(events)
    else:
        eventually(lambda: replica.running == 1, "the request runs")
    if when == "in the queue":
        waiting = gateway.connect()
        waiting.send_request("POST", CHAT, chat_body("second"), key=KEY)
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 1, "the second request waits")
        getattr(waiting, how)()
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 0, "it left the queue", seconds=5)
    began = time.monotonic()
    getattr(connection, how)()
    eventually(lambda: replica.cancelled == 1, "the replica's connection ends")
    assert time.monotonic() - began < 1
    eventually(lambda: gateway.replicas()["one"]["in_flight"] == 0, "the place is given back")
    replica.mode = modes.answer
    assert gateway.chat("Hello").status == 200
    assert replica.posts == 2, "the one that left the queue must not have been sent"
    gone = eventually(
        lambda: [line for line in gateway.access_lines() if line["outcome"] == "client_gone"], "the log says so")
    assert {line["path"] for line in gone} == {"chat_completions"}
