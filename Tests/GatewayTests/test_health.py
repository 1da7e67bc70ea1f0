"""What a health page says and what real traffic shows: neither decides alone."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import modes
from harness.gateway import KEY, chat_body, replica_settings
from harness.modes import answer_text
from harness.waiting import eventually

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
QUICK = {"interval": "1s", "timeout": "1s", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False}
ONE_TOKEN = [{"role": "user", "content": "Hi"}]


def deep_probes(replica):
    return [request for request in replica.requests if request.json.get("max_tokens") == 1]


def asked(replica):
    """Requests of clients."""
    return replica.posts - len(deep_probes(replica))


def was_stopped(replica):
    """Five failures stopped it. What was asked after that are single trials, each after a token that was well."""
    count = asked(replica)
    return 5 <= count <= 5 + len(deep_probes(replica))


def well_but(mode):
    """Probes of one token get an answer; every real request gets `mode`."""

    async def chosen(exchange):
        await (modes.answer if exchange.body.get("max_tokens") == 1 else mode)(exchange)

    return chosen


@pytest.mark.parametrize("kind", ["vllm", "generic"])
def test_a_replica_whose_page_is_fine_and_whose_answers_are_not_is_left_alone(stage, kind):
    """Its page answers 200 all the time; only a deep probe, or a request on trial, brings it back."""
    good, bad = stage.replicas("good", "bad")
    gateway = stage.gateway(
        [replica_settings(r, kind=kind) for r in (good, bad)],
        pool={"probe": {**QUICK, "interval": "200ms", "timeout": "200ms", "fall": 100, "deepInterval": "1h"}})
    gateway.wait_for({"good", "bad"})
    bad.mode = modes.broken
    for number in range(60):
        assert gateway.chat(f"Question {number}").status == 200
    probed = bad.probes
    # Five failures stop it. What comes after that are single trials: of a client's request, or of one token.
    assert asked(bad) <= 5 + 3 if kind == "generic" else was_stopped(bad), "its page let it in again"
    eventually(lambda: bad.probes > probed + 5, "its page answers on and on")
    assert gateway.replicas()["bad"]["health"] == "up" and gateway.replicas()["bad"]["stopped_models"] == 1
    assert gateway.metrics()['weir_replica_stopped_models{pool="main",replica="bad"}'] == 1
    if kind == "vllm":
        eventually(lambda: deep_probes(bad), "a deep probe tries")
        assert was_stopped(bad)
    else:
        assert not deep_probes(bad)
    bad.mode = modes.answer

    def is_back():
        gateway.chat("Hello")
        return bad.requests[-1].is_answered and bad.requests[-1].messages == HELLO and bad.posts

    eventually(is_back, "it serves again", seconds=20)
    before = bad.posts
    for number in range(10):
        assert gateway.chat(f"Question {number}").field("x-weir-attempts") == "1"
    assert bad.posts - before >= 3, "it has its share again"


def test_who_can_say_one_token_but_no_answer_gets_one_request_at_a_time(stage):
    good, bad = stage.replicas("good", "bad")
    gateway = stage.gateway([good, bad], pool={"probe": {**QUICK, "deepInterval": "1h"}})
    gateway.wait_for({"good", "bad"})
    bad.mode = well_but(modes.broken)
    for number in range(40):
        assert gateway.chat(f"Question {number}").status == 200
    assert was_stopped(bad)
    eventually(lambda: deep_probes(bad), "a deep probe tries")
    for number in range(40):
        assert gateway.chat(f"Question {number}").status == 200
    assert was_stopped(bad)


def test_the_breaker_keeps_one_model_off_a_replica_and_not_the_others(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"models": ["tiny", "other"], "probe": {**QUICK, "deepInterval": "0s"}})
    gateway.wait_for({"one", "two"})

    async def half(exchange):
        await (modes.broken if exchange.body["model"] == "tiny" else modes.answer)(exchange)

    one.mode = half
    body = json.dumps({"model": "other", "messages": HELLO}).encode()
    for _ in range(20):
        assert gateway.chat("Hello").status == 200
    others = [gateway.request("POST", CHAT, body, key=KEY) for _ in range(10)]
    assert {reply.field("x-weir-attempts") for reply in others} == {"1"}
    assert {reply.field("x-weir-replica") for reply in others} == {"one", "two"}
    assert sum(request.json["model"] == "tiny" for request in one.requests) <= 8


def test_busy_is_no_failure_however_often(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two])
    gateway.wait_for({"one", "two"})

    async def busy(exchange):
        await modes.status((429, 503)[one.posts % 2])(exchange)

    one.mode = busy
    eventually(lambda: gateway.chat("Hello").status == 200 and one.posts >= 7, "seven busy answers")
    one.mode = modes.answer
    answered = one.posts
    eventually(lambda: gateway.chat("Hello").status == 200 and one.posts > answered, "it is asked again")
    before = one.posts
    for number in range(10):
        assert gateway.chat(f"Question {number}").field("x-weir-attempts") == "1"
    assert one.posts - before >= 3 and not deep_probes(one)
    assert gateway.replicas()["one"]["health"] == "up"


def test_a_replica_that_answers_is_not_thrown_out_for_its_page(stage):
    """Four failed probes are enough for one that answers nobody; one that works is held for longer."""
    working, idle = stage.replicas("working", "idle")
    gateway = stage.gateway(
        [working, replica_settings(idle, backup=True)],
        pool={"probe": {**QUICK, "interval": "800ms", "timeout": "800ms", "fall": 4}})
    gateway.wait_for({"working", "idle"})
    steps = working.steps()
    working.mode = modes.streamed(steps=steps)
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
        steps.allow(1)
        connection.read_head()
        events = connection.events()
        next(events)
        probed = working.probes
        working.is_healthy = idle.is_healthy = False
        is_over = threading.Event()

        def work():
            while not is_over.wait(0.02):
                gateway.chat("Hello")

        working.mode = modes.answer
        worker = threading.Thread(target=work)
        worker.start()
        try:
            eventually(lambda: not gateway.replicas()["idle"]["serving"], "the idle one is out")
            assert gateway.replicas()["working"]["serving"]
            eventually(lambda: not gateway.replicas()["working"]["serving"], "its page is believed in the end")
            assert working.probes - probed >= 16
        finally:
            is_over.set()
            worker.join(20)
        steps.allow(50)
        assert list(events)[-1] == "[DONE]"


@pytest.mark.parametrize("page", ["says no", "silent"])
def test_the_events_of_a_running_stream_speak_for_a_replica_too(stage, page):
    working, idle = stage.replicas("working", "idle")
    gateway = stage.gateway([working, replica_settings(idle, backup=True)], pool={
        "probe": {**QUICK, "interval": "200ms", "timeout": "200ms", "fall": 4}})
    gateway.wait_for({"working", "idle"})

    async def long(exchange):
        exchange.stream_head()
        while not exchange.connection.gone.is_set():
            exchange.event(exchange.chunk_document({"content": "x"}))
            await asyncio.sleep(0.01)

    working.mode = long
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
        connection.read_head()
        next(connection.events())
        for replica in (working, idle):
            if page == "silent":
                replica.freeze()  # What runs goes on; nothing new is answered.
            else:
                replica.is_healthy = False
        eventually(lambda: not gateway.replicas()["idle"]["serving"], "the idle one is out")
        assert gateway.replicas()["working"]["serving"]
        eventually(lambda: not gateway.replicas()["working"]["serving"], "its page is believed in the end")
    working.thaw()
    idle.thaw()


def test_an_idle_replica_that_can_t_generate_is_found_out_before_a_client_asks(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": {
        **QUICK, "interval": "300ms", "timeout": "300ms", "deepInterval": "300ms", "deepTimeout": "500ms"}})
    gateway.wait_for({"one", "two"})
    one.mode = modes.half_open
    eventually(lambda: not gateway.replicas()["one"]["serving"], "one is out")
    probed = one.probes
    eventually(lambda: one.probes >= probed + 5, "its page is fine")
    assert not gateway.replicas()["one"]["serving"]
    assert gateway.event("replica_down")["replica"] == "one"
    one.mode = modes.answer
    gateway.wait_for({"one", "two"})
    for request in one.requests + two.requests:
        assert request.json == {"model": "tiny", "messages": ONE_TOKEN, "max_tokens": 1, "stream": False}
    metrics = gateway.metrics()
    assert metrics['weir_requests_total{pool="main",outcome="ok"}'] == 0
    assert not [name for name in metrics if name.startswith("weir_replica_requests_total") and metrics[name]]
    assert metrics['weir_tokens_total{direction="completion",pool="main"}'] == 0
    assert gateway.access_lines() == [] and metrics["weir_limiter_keys"] == 0


def test_a_deep_probe_is_sent_only_where_no_real_answer_came(stage):
    busy, idle, plain = stage.replicas("busy", "idle", "plain")
    gateway = stage.gateway(
        [busy, replica_settings(idle, backup=True), replica_settings(plain, kind="generic", backup=True)],
        pool={"probe": {**QUICK, "interval": "250ms", "timeout": "250ms", "fall": 100, "deepInterval": "1s"}})
    gateway.wait_for({"busy", "idle", "plain"})
    while len(deep_probes(idle)) < 4:
        assert gateway.chat("Hello").field("x-weir-replica") == "busy"
    assert len(deep_probes(busy)) <= 1  # before the first request
    assert plain.posts == 0


@pytest.mark.parametrize("what", ["html", "empty", "broken", "in_band_error", "no_choices", "401"])
def test_a_warm_up_wants_a_well_formed_answer(stage, what):
    mode = modes.status(401) if what == "401" else getattr(modes, what)
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": {**QUICK, "warmUp": True, "deepInterval": "0s"}})
    gateway.wait_for({"one", "two"})
    one.kill()
    gateway.wait_for({"two"})
    one.mode = mode
    one.start()
    eventually(lambda: one.posts >= 2, "two warm-ups are asked for")
    assert not gateway.replicas()["one"]["serving"]
    one.mode = modes.status(400, body=b'{"error":{"message":"No chat here.","code":400}}')
    gateway.wait_for({"one", "two"})


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_with_everyone_down_the_answer_is_503_within_a_second_and_200_within_one_of_the_return(stage, how):
    replicas = stage.replicas("one", "two", "three")
    gateway = stage.gateway(replicas, pool={"probe": {**QUICK, "interval": "500ms", "timeout": "400ms"}})
    gateway.wait_for({"one", "two", "three"})
    for replica in replicas:
        replica.kill() if how == "killed" else replica.freeze()
    gateway.wait_for(set())
    for stream in (False, True):
        began = time.monotonic()
        reply = gateway.chat("Hello", stream=stream)
        assert time.monotonic() - began < 1
        assert reply.status == 503 and reply.error["code"] == "overloaded", reply
        assert int(reply.field("retry-after")) >= 1 and int(reply.field("retry-after-ms")) >= 1
    replicas[1].start() if how == "killed" else replicas[1].thaw()
    began = time.monotonic()
    while gateway.chat("Hello").status != 200:
        assert time.monotonic() - began < 1
    assert time.monotonic() - began < 1


def test_a_slow_pool_whose_pages_fail_still_answers(stage):
    """Everybody's page says 503, but they work: panic waits for their answers as long as for anybody's."""
    replicas = stage.replicas("one", "two")
    gateway = stage.gateway(replicas, pool={"probe": QUICK})
    gateway.wait_for({"one", "two"})
    for replica in replicas:
        replica.is_healthy = False
    gateway.wait_for(set())
    for replica in replicas:
        replica.mode = modes.delayed(1.2)
    reply = gateway.chat("Hello")
    assert reply.status == 200 and reply.content == answer_text(HELLO)


def test_those_who_wait_in_the_queue_hear_when_the_last_replica_dies(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica_settings(replica, maxInFlight=1)], pool={"probe": QUICK})
    gateway.wait_for({"one"})
    replica.mode = modes.half_open
    with ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(gateway.chat, f"Question {n}") for n in range(8)]
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 7, "one runs and seven wait")
        replica.kill()
        began = time.monotonic()
        assert {reply.result().status for reply in replies} <= {502, 503}
        assert time.monotonic() - began < 5


def once(way, then):
    """The first request, at whichever replica, gets `way`; all others get `then`."""
    left = [way]

    async def mode(exchange):
        await (left.pop() if left else then)(exchange)

    return mode


@pytest.mark.parametrize("names", [("one",), ("one", "two")], ids=["alone", "a pair"])
@pytest.mark.parametrize("way", [modes.reset, modes.short_body], ids=["reset", "cut"])
def test_one_broken_connection_moves_no_request_that_waits_on_another(stage, names, way):
    """One reset, or one worker that crashed behind a balancer, says nothing of the replica's other connections."""
    replicas = stage.replicas(*names)
    steps = replicas[0].steps()
    gateway = stage.gateway(replicas, pool={"probe": {"interval": "1m", "timeout": "20s"}})
    gateway.wait_for(names)
    for replica in replicas:
        replica.mode = modes.held(steps)
    with ThreadPoolExecutor(21) as pool:
        waiting = [pool.submit(gateway.chat, f"Question {n}", stream=n % 2 == 0) for n in range(20)]
        eventually(lambda: sum(replica.posts for replica in replicas) == 20, "all wait at their replicas")
        breaking = once(way, modes.held(steps))
        for replica in replicas:
            replica.mode = breaking
        gateway.events.clear()
        broken = pool.submit(gateway.chat, "Hello")
        eventually(lambda: gateway.event("replica_up"), "a replica was suspected, and came back")
        gateway.wait_for(names)
        steps.allow(21)
        replies = [reply.result() for reply in waiting]
        assert broken.result().status == 200
    assert [(reply.status, reply.field("x-weir-attempts")) for reply in replies] == [(200, "1")] * 20
    assert sum(replica.posts for replica in replicas) == 22, gateway.told()
    assert all(not request.was_cancelled for replica in replicas for request in replica.requests)


def test_what_waits_at_a_suspected_replica_moves_when_its_probe_fails(stage):
    """One connection breaks and no other can be made: what runs there still may, but nobody waits for it."""
    one, two = pair = stage.replicas("one", "two")
    gateway = stage.gateway(pair, pool={"probe": {"interval": "1m", "timeout": "20s"}})
    gateway.wait_for({"one", "two"})
    held = [replica.steps() for replica in pair]
    for replica, steps in zip(pair, held):
        replica.mode = modes.held(steps)
    with ThreadPoolExecutor(9) as pool:
        waiting = [pool.submit(gateway.chat, f"Question {n}", stream=n % 2 == 0) for n in range(8)]
        eventually(lambda: one.posts + two.posts == 8, "all wait at their replicas")
        at_one = one.posts
        two.mode = modes.answer
        one.refuse()
        one.reset_one()
        eventually(lambda: two.posts == 8, "all that waited at the one are at the other")
        held[1].allow(8)
        replies = [reply.result() for reply in waiting]
    assert at_one > 1 and one.posts == at_one
    assert [reply.status for reply in replies] == [200] * 8
    assert {reply.field("x-weir-replica") for reply in replies} == {"two"}


#: Probes come when somebody is suspected, not by themselves, and wait for the test.
RARE = {"interval": "20s", "timeout": "20s", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False, "deepInterval": "0s"}


def suspect(gateway, replica):
    """Breaks one connection to the replica; the request on it is answered elsewhere."""
    replica.next(modes.reset)
    posts = replica.posts
    eventually(lambda: gateway.chat("Hello").status == 200 and replica.posts > posts, "it is asked")
    eventually(lambda: gateway.replicas()[replica.name]["health"] == "down", "it is suspected")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("way", [modes.half_open, modes.status(401), modes.broken], ids=["silent", "401", "500"])
def test_a_request_that_nobody_else_can_answer_is_worth_asking_a_suspected_replica(stage, way, stream):
    """Its connection broke a moment ago and its probe is on the way: for this request it is the best that is left."""
    one, two = stage.replicas("one", "two")
    timeouts = {"firstByte": "1s", "firstContent": "1s"}
    gateway = stage.gateway([one, two], timeouts=timeouts, pool={"probe": RARE})
    gateway.wait_for({"one", "two"})
    two.hold_pages()
    suspect(gateway, two)
    one.mode = way
    asked = one.posts + two.posts
    reply = gateway.chat("Hello", stream=stream)
    assert (reply.status, reply.field("x-weir-replica"), reply.field("x-weir-attempts")) == (200, "two", "2")
    assert one.posts + two.posts == asked + 2, gateway.told()
    one.mode = modes.answer
    posts = two.posts
    assert {gateway.chat("Hello").field("x-weir-replica") for _ in range(5)} == {"one"}
    assert two.posts == posts, "whoever can be answered by one that serves does not go there"


def test_a_request_that_asked_a_suspected_replica_leaves_it_when_its_probe_fails(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": RARE})
    gateway.wait_for({"one", "two"})
    pages = two.hold_pages()
    suspect(gateway, two)
    one.mode, two.mode = modes.status(401), modes.half_open
    posts = two.posts
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(gateway.chat, "Hello")
        eventually(lambda: two.posts > posts, "it waits at the suspected one")
        two.is_healthy = False
        pages.allow(1)
        assert reply.result().status == 503
    assert gateway.metrics()['weir_replica_requests_total{pool="main",replica="two",result="declared_dead"}'] == 1


@pytest.mark.parametrize("verdict", [False, True], ids=["confirms", "clears"])
def test_only_a_probe_that_was_sent_after_the_suspicion_began_settles_it(stage, verdict):
    """One that was on its way already may have been answered, or have failed, before."""
    two, one = stage.replicas("two", "one")
    gateway = stage.gateway([two, replica_settings(one, backup=True)], pool={"probe": RARE})
    gateway.wait_for({"one", "two"})
    answers, breaks = two.steps(), two.steps()

    async def breaking(exchange):
        await breaks.wait()
        exchange.reset()

    two.next(modes.held(answers), breaking)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(gateway.chat, "Hello")
        eventually(lambda: two.posts == 1, "one waits for its answer")
        broken = pool.submit(gateway.chat, "Hello")
        eventually(lambda: two.posts == 2, "another one for its end")
        # A replica whose maintenance ends is probed at once.
        gateway.admin("POST", "/admin/v1/replicas/two/maintenance")
        pages = two.hold_pages()
        probes, answered = two.probes, two.pages
        gateway.events.clear()
        gateway.admin("POST", "/admin/v1/replicas/two/enable")
        eventually(lambda: two.probes == probes + 1, "a probe is on its way")
        breaks.allow(1)
        eventually(lambda: two.probes == probes + 2, "another one is sent at once")
        two.is_healthy = not verdict
        pages.allow(1)
        eventually(lambda: two.pages == answered + 1, "the first one is answered")
        two.is_healthy = verdict
        pages.allow(1)
        if verdict:
            eventually(lambda: gateway.event("replica_up"), "the second one clears it")
            answers.allow(1)
        reply = waiting.result()
        assert broken.result().status == 200
    assert (reply.status, reply.field("x-weir-replica")) == (200, "two" if verdict else "one"), gateway.told()
    assert bool(gateway.event("replica_up")) == verdict, gateway.told()


def test_a_suspected_replica_that_goes_on_answering_is_not_declared_dead_for_its_page(stage):
    """What was answered after one connection broke says more than a page that fails."""
    two, one = stage.replicas("two", "one")
    gateway = stage.gateway(
        [two, replica_settings(one, backup=True)], pool={"probe": {**RARE, "interval": "4s", "timeout": "4s"}})
    gateway.wait_for({"one", "two"})
    steps = [two.steps(), two.steps()]
    two.next(*[modes.held(step) for step in steps])
    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for count in (1, 2):
            waiting.append(pool.submit(gateway.chat, "Hello"))
            eventually(lambda: two.posts == count, f"{count} wait for their answers")
        pages = two.hold_pages()
        gateway.events.clear()
        suspect(gateway, two)
        steps[0].allow(1)
        assert waiting[0].result().field("x-weir-replica") == "two"
        two.is_healthy = False
        probes = two.probes
        pages.allow(100)
        eventually(lambda: two.probes > probes, "its page has failed, and is asked again")
        two.is_healthy = True
        eventually(lambda: gateway.event("replica_up"), "it is back")
        steps[1].allow(1)
        reply = waiting[1].result()
    assert (reply.field("x-weir-replica"), reply.field("x-weir-attempts")) == ("two", "1"), gateway.told()


def test_what_waits_at_a_dead_replica_moves_as_soon_as_another_one_serves(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], pool={"probe": QUICK})
    two.kill()
    gateway.wait_for({"one"})
    one.mode = modes.half_open
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(gateway.chat, "Hello")
        eventually(lambda: one.posts == 1, "it waits at the one")
        one.freeze()
        try:
            gateway.wait_for(set())
            two.start()
            reply = reply.result()
        finally:
            one.thaw()
    assert reply.status == 200 and reply.field("x-weir-replica") == "two"


def test_going_down_is_an_event_once_whatever_is_found_out_later(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], pool={"probe": {"interval": "1m"}})
    replica.kill()
    assert gateway.chat("Hello").status == 503
    eventually(lambda: gateway.replicas()["one"]["health"] == "down", "it is down")
    probes = replica.probes
    replica.is_healthy = False
    replica.start()
    eventually(lambda: replica.probes > probes + 1, "its page has said no")
    replica.is_healthy = True
    eventually(lambda: gateway.event("replica_up"), "replica_up is said")
    assert [event["event"] for event in gateway.events].count("replica_down") == 1


def faulty(share):
    """Every `share`th request fails in one of many ways."""
    ways = [modes.reset, modes.broken, modes.html, modes.empty, modes.garbage, modes.status(503), modes.aborted]
    count = [0]

    async def mode(exchange):
        count[0] += 1
        if count[0] % share == 0:
            await ways[count[0] // share % len(ways)](exchange)
        else:
            await modes.answer(exchange)

    return mode


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_faults_cost_few_generations_and_their_absence_none(stage, stream):
    """Counted where it costs: requests that replicas began to answer."""
    replicas = stage.replicas("one", "two", "three")
    gateway = stage.gateway(replicas, pool={"probe": {**QUICK, "deepInterval": "0s"}})
    gateway.wait_for({"one", "two", "three"})

    def ask(number):
        return gateway.chat(f"Question {number}", stream=stream).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(300))) == {200}
        calm = sum(replica.posts for replica in replicas)
        for replica in replicas:
            replica.mode = faulty(3)
        statuses = list(pool.map(ask, range(300)))
    faults = sum(replica.posts for replica in replicas) - calm
    assert calm <= 300 * 1.01, gateway.told()
    assert faults <= 300 * 1.6, gateway.told()
    assert statuses.count(200) >= 270
