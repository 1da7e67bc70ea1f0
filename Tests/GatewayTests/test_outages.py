"""Outages: replicas and connections that end, freeze, flap, refuse and come back, while clients ask."""

import threading
import time

import pytest
from harness import cuts, modes
from harness.gateway import KEY, chat_body, replica_settings
from harness.load import CHAT, Load, problem_with, question
from harness.modes import answer_text
from harness.replica_process import ReplicaProcess
from harness.waiting import eventually

HELLO = [{"role": "user", "content": "Hello"}]
QUICK = {"interval": "1s", "timeout": "1s", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False}
#: For outages that no probe has to find: on a busy machine one that is late would be an outage of its own. A suspected
#: replica is probed at once all the same.
UNHURRIED = {**QUICK, "interval": "20s", "timeout": "20s"}
#: Short enough to test, long enough for a busy machine.
TIMEOUTS = {"connect": "1s", "firstByte": "1s", "firstContent": "1s", "streamStall": "1s"}
#: What an outage may cost the replicas.
GENERATIONS_MAX = 1.6


@pytest.fixture(scope="module")
def replicas(shared):
    return shared.replicas("one", "two", "three")


@pytest.fixture
def gateway(stage, replicas):
    """A gateway of the test's own: breakers, cool-downs and retry budgets remember what the test before did."""
    return over(stage, replicas, UNHURRIED)


@pytest.fixture
def watchful(stage, replicas):
    """The same, for outages that its probes have to find."""
    return over(stage, replicas, QUICK, timeouts=TIMEOUTS)


def over(stage, replicas, probe, **changes):
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, pool={"probe": probe, "retry": {"budgetPerSecond": 10}}, **changes)
    gateway.wait_for({"one", "two", "three"})
    return gateway


def test_without_a_fault_every_request_is_generated_once(gateway, replicas):
    load = Load(gateway).run(200)
    assert not load.problems, load.problems[:3]
    assert sum(replica.posts for replica in replicas) == 200, gateway.told()


def test_a_stream_cut_after_its_finish_reason_is_complete_and_asked_once(gateway, replicas):
    for mode in (cuts.without_done("reset"), cuts.without_done("close"), cuts.without_done("end")):
        for replica in replicas:
            replica.forget()
            replica.mode = mode
        gateway.wait_for({"one", "two", "three"})
        reply = gateway.chat("Hello", stream=True, stream_options={"include_usage": True})
        assert problem_with(reply, answer_text(HELLO)) is None
        # Another is asked for the usage that was lost, at the price of one token.
        asked = [request.json.get("max_tokens") for replica in replicas for request in replica.requests]
        assert asked in ([None], [None, 1], [1, None])
        assert reply.chunks[-1]["usage"]["completion_tokens"] > 0


def test_a_continuation_that_breaks_as_well_is_continued_again(gateway, replicas):
    lost = threading.Lock()
    left = [modes.stream_that("reset", after=2), modes.stream_that("error", after=3)]

    async def twice(exchange):
        with lost:
            mode = left.pop(0) if left else modes.answer
        await mode(exchange)

    for replica in replicas:
        replica.mode = twice
    reply = gateway.chat("Hello", stream=True)
    assert problem_with(reply, answer_text(HELLO)) is None
    assert [replica.posts for replica in replicas] == [1, 1, 1], gateway.told()


# Pools.


@pytest.mark.parametrize("fault", ["reset", "500", "half-open"])
def test_a_replica_whose_health_page_lies_is_left_alone(stage, replicas, fault):
    """Its probes succeed and its requests fail: traffic decides, and its breaker spares the clients."""
    mode = {"reset": modes.reset, "500": modes.broken, "half-open": modes.half_open}[fault]
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, timeouts=TIMEOUTS, pool={"probe": QUICK})
    gateway.wait_for({"one", "two", "three"})
    replicas[0].mode = mode
    load = Load(gateway, workers=4).run(200)
    assert not load.problems, load.problems[:3]
    # Without a breaker it would have been asked 67 times.
    assert replicas[0].posts <= 40, gateway.told()


def test_a_pool_whose_health_pages_all_fail_while_traffic_is_fine_goes_on_serving(watchful, replicas):
    for replica in replicas:
        replica.is_healthy = False
    watchful.wait_for(set())
    load = Load(watchful).run(30)
    assert not load.problems, load.problems[:3]


def test_a_replica_whose_health_page_fails_is_spared_while_others_serve(watchful, replicas):
    replicas[0].is_healthy = False
    watchful.wait_for({"two", "three"})
    load = Load(watchful).run(30)
    assert not load.problems and replicas[0].posts == 0


def test_all_replicas_down_is_503_at_once_and_the_first_200_comes_with_the_first_replica(watchful, replicas):
    for replica in replicas:
        replica.kill()
    try:
        watchful.wait_for(set())
        began = time.monotonic()
        reply = watchful.chat("Hello")
        assert reply.status == 503 and reply.field("retry-after") and reply.error["type"] == "server_error"
        reply = watchful.chat("Hello", stream=True)
        assert reply.status == 503 and reply.error["code"] == "overloaded"
        assert time.monotonic() - began < 5
        replicas[1].start()
        eventually(lambda: watchful.chat("Hello").status == 200, "the first answer after the outage")
    finally:
        for replica in replicas:
            replica.kill()
            replica.start()
    watchful.wait_for({"one", "two", "three"})
    load = Load(watchful).run(30)
    assert not load.problems


def test_the_retry_budget_keeps_a_pool_that_only_fails_from_being_asked_three_times_as_often(stage, replicas):
    for replica in replicas:
        replica.forget()
        replica.mode = modes.broken
    gateway = stage.gateway(
        replicas, pool={"probe": UNHURRIED, "retry": {"budgetPerSecond": 1, "budgetRatio": 0.2}}, listen={"loops": 1})
    gateway.wait_for({"one", "two", "three"})
    for _ in range(100):
        assert gateway.chat("Hello").status == 502
    # A fifth of the requests, and one for each of the last ten seconds.
    assert sum(replica.posts for replica in replicas) <= 100 + 20 + 10 + 1, gateway.told()


@pytest.mark.parametrize("status", [429, 503])
def test_one_busy_replica_of_three_does_not_spend_the_retry_budget(stage, replicas, status):
    """It says that it is busy, not until when: whoever asks it each time would retry a third of all requests."""
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(
        replicas, pool={"probe": UNHURRIED, "retry": {"budgetPerSecond": 1, "budgetRatio": 0.1}}, listen={"loops": 1})
    gateway.wait_for({"one", "two", "three"})
    replicas[0].mode = modes.status(status)
    load = Load(gateway, workers=4).run(300)
    assert not load.problems, load.problems[:3]


def test_replicas_that_are_all_overloaded_now_and_then_lose_no_request(stage, replicas):
    """Overload trips no breaker: each says 429 to whatever is more than it can take, and takes the rest."""
    for replica in replicas:
        replica.forget()

    async def at_most_two(exchange):
        if exchange.connection.replica.running > 2:
            return await modes.status(429)(exchange)
        await modes.delayed(0.002)(exchange)

    for replica in replicas:
        replica.mode = at_most_two
    gateway = stage.gateway(replicas, pool={"probe": UNHURRIED, "retry": {"budgetPerSecond": 1000}})
    gateway.wait_for({"one", "two", "three"})
    load = Load(gateway, workers=5).run(300)
    assert not load.problems, load.problems[:3]
    assert all(replica["serving"] for replica in gateway.replicas().values())


def test_a_flapping_replica_costs_no_request(watchful, replicas):
    with Load(watchful) as load:
        for _ in range(6):
            load.more(10)
            replicas[0].kill()
            load.more(10)
            replicas[0].start()
    assert not load.problems, load.problems[:3]
    assert sum(replica.posts for replica in replicas) <= GENERATIONS_MAX * load.done, watchful.told()


def test_a_slow_replica_is_waited_for(stage, replicas):
    """Slow is not dead: within the limits nothing is asked twice."""
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, pool={"probe": UNHURRIED})
    gateway.wait_for({"one", "two", "three"})
    replicas[0].mode = modes.delayed(0.5)
    load = Load(gateway, workers=6).run(18)
    assert not load.problems
    assert sum(replica.posts for replica in replicas) == 18, gateway.told()


def test_a_replica_that_returns_is_warmed_up_before_it_gets_a_client_s_request(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": {**QUICK, "warmUp": True}})
    gateway.wait_for({"one", "two"})
    one.kill()
    gateway.wait_for({"two"})
    one.forget()
    one.start()
    gateway.wait_for({"one", "two"})
    assert one.posts == 1 and one.last.json["max_tokens"] == 1
    load = Load(gateway).run(20)
    assert not load.problems


def test_a_drained_replica_finishes_its_streams_and_gets_no_other(gateway, replicas):
    steps = replicas[0].steps()
    for replica in replicas:
        replica.mode = modes.streamed(steps=replica.steps(1000))
    replicas[0].mode = modes.streamed(steps=steps)
    connections = [gateway.connect() for _ in range(6)]
    try:
        for connection in connections:
            connection.send_request("POST", CHAT, chat_body(*HELLO, stream=True), key=KEY)
        eventually(lambda: sum(replica.posts for replica in replicas) == 6, "all streams are at their replicas")
        held = replicas[0].posts
        gateway.admin("POST", "/admin/v1/replicas/one/drain")
        gateway.wait_for({"two", "three"})
        load = Load(gateway).run(10)
        assert not load.problems and replicas[0].posts == held
        steps.allow(1000)
        for connection in connections:
            assert problem_with(connection.read_reply(), answer_text(HELLO)) is None
    finally:
        for connection in connections:
            connection.close()
    assert sum(replica.posts for replica in replicas) == 16, gateway.told()


# Processes.


@pytest.fixture
def processes():
    """Three replicas in processes of their own, whose streams take some 50 ms."""
    processes = [ReplicaProcess(name, gap=0.005) for name in ("red", "green", "blue")]
    yield processes
    for process in processes:
        process.stop()


@pytest.fixture
def over_processes(stage, processes):
    gateway = stage.gateway(processes, pool={"probe": QUICK, "retry": {"budgetPerSecond": 10}})
    gateway.wait_for({"red", "green", "blue"})
    return gateway


@pytest.mark.parametrize("how", ["drain", "kill"])
def test_a_rolling_restart_costs_no_request(over_processes, processes, how):
    with Load(over_processes, workers=8) as load:
        for process in processes:
            load.more(30)
            getattr(process, how)()
            load.more(30)
            process.start()
            over_processes.wait_for({"red", "green", "blue"})
        load.more(30)
    assert not load.problems, load.problems[:3]
    assert generations(over_processes) <= GENERATIONS_MAX * load.done, over_processes.told()


def generations(gateway):
    """What was sent to replicas and was answered in any way."""
    unsent = ("connect_failed", "connect_timeout")
    return sum(
        value for name, value in gateway.metrics().items()
        if name.startswith("weir_replica_requests_total{") and not any(f'"{label}"' in name for label in unsent))


def test_two_of_three_replicas_are_killed_at_once(over_processes, processes):
    with Load(over_processes, workers=8) as load:
        load.more(30)
        processes[0].kill()
        processes[1].kill()
        load.more(60)
        processes[0].start()
        processes[1].start()
        over_processes.wait_for({"red", "green", "blue"})
        load.more(30)
    assert not load.problems, load.problems[:3]


def test_a_replica_that_is_frozen_costs_no_request(over_processes, processes):
    """Also of those whose streams it had begun: what is silent and does not answer its probe is left."""
    with Load(over_processes, workers=8) as load:
        load.more(30)
        processes[0].freeze()
        load.more(120)
        over_processes.wait_for({"green", "blue"})
        processes[0].thaw()
        over_processes.wait_for({"red", "green", "blue"})
        load.more(30)
    assert not load.problems, load.problems[:3]


def test_a_stream_on_a_replica_frozen_for_good_goes_on_when_its_probe_fails(over_processes, processes):
    with over_processes.connect() as connection:
        connection.send_request("POST", CHAT, chat_body(*question(1), stream=True), key=KEY)
        status, fields = connection.read_head()
        frozen = next(process for process in processes if process.name == dict(fields)["x-weir-replica"])
        events = connection.events()
        first = next(events)
        frozen.freeze()
        try:
            assert status == 200
            seen = [first, *events]
        finally:
            frozen.thaw()
    assert seen[-1] == "[DONE]"


def test_a_stream_that_goes_on_while_its_replica_s_health_page_fails_is_left_where_it_is(stage, replicas):
    """What still speaks is alive, whatever its probe says."""
    for replica in replicas:
        replica.forget()
    gateway = stage.gateway(replicas, pool={"probe": QUICK})
    gateway.wait_for({"one", "two", "three"})
    for replica in replicas:
        replica.mode = modes.streamed(gap=0.1)
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body(*HELLO, stream=True), key=KEY)
        _, fields = connection.read_head()
        busy = next(replica for replica in replicas if replica.name == dict(fields)["x-weir-replica"])
        busy.is_healthy = False
        events = list(connection.events())
    assert events[-1] == "[DONE]"
    assert sum(replica.posts for replica in replicas) == 1, gateway.told()


# The gateway's own side.


def test_a_configured_name_that_does_not_resolve_is_told_at_the_start(stage):
    gateway_settings = [{"name": "lost", "url": "http://no-such-host.invalid:9"}]
    with pytest.raises(AssertionError, match="lost|no-such-host"):
        stage.gateway(gateway_settings)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_connections_that_the_replicas_close_between_requests_cost_nothing(gateway, replicas, is_stream):
    """Every second request meets a connection that was kept and is gone: it goes out again on a new one."""
    for number in range(20):
        reply = gateway.chat(*question(number), stream=is_stream)
        assert problem_with(reply, answer_text(question(number))) is None
        for replica in replicas:
            for connection in list(replica.connections):
                replica._home.loop.call_soon_threadsafe(connection.transport.close)
    assert sum(replica.posts for replica in replicas) == 20, gateway.told()


def test_kept_connections_that_are_reset_under_the_request_cost_nothing(gateway, replicas):
    """The request is on its way when the replica gives its kept connection up: only the first byte tells."""

    async def first_on_its_connection(exchange):
        if getattr(exchange.connection, "is_used", False):
            return exchange.reset()
        exchange.connection.is_used = True
        await modes.answer(exchange)

    for replica in replicas:
        replica.mode = first_on_its_connection
    load = Load(gateway, workers=3).run(60)
    assert not load.problems, load.problems[:3]


def test_https_replicas_fail_over_too(stage, tmp_path):
    from harness.tls import Authority, TLSReplica

    authority = Authority(tmp_path)
    certificate = authority.certificate()
    pair = [stage._keep(TLSReplica(certificate, name)) for name in ("one", "two")]
    gateway = stage.gateway(
        [replica_settings(replica, caFile=str(authority.file)) for replica in pair], pool={"probe": QUICK})
    gateway.wait_for({"one", "two"})
    pair[0].mode = modes.stream_that("close")
    load = Load(gateway, workers=2, kinds=(True,)).run(20)
    assert not load.problems, load.problems[:3]
