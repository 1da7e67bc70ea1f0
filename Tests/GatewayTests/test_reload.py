"""What a reload must not forget: requests that run, what is known of replicas, and which series counts what."""

import contextlib
import json
import threading

from harness import modes
from harness.asking import Asking, on_new_connections, streaming
from harness.gateway import KEY, chat_body, merged, replica_settings, sha256
from harness.modes import answer_text
from harness.waiting import eventually
from test_restarts import PROBE, restarting, webhook, weir  # noqa: F401

CHAT = "/v1/chat/completions"
#: For tests that wait for one probe after the other; a late one is held against nobody.
OFTEN = {"interval": "100ms", "timeout": "100ms", "fall": 100}
HELLO = answer_text([{"role": "user", "content": "Hello"}])


def reload(gateway, *replicas, pool=None, **changes):
    """Reloads with these replicas, scripted ones or settings, and `pool` laid over the pool."""
    listed = [r if isinstance(r, dict) else replica_settings(r) for r in replicas]
    first = merged(gateway.settings["pools"][0], pool or {})
    if listed:
        first["replicas"] = listed
    gateway.configure(merged(gateway.settings, {"pools": [first, *gateway.settings["pools"][1:]], **changes}))
    reply = gateway.admin("POST", "/admin/v1/reload")
    assert reply.status == 200, reply.body


class Held:
    """Streams that stand after their first events until they are let go."""

    def __init__(self, gateway, replica, count=1):
        self.steps = [replica.steps(allowed=2) for _ in range(count)]
        self.stack = contextlib.ExitStack()
        self.streams = []
        for steps in self.steps:
            replica.next(modes.streamed(steps=steps))
            connection = self.stack.enter_context(gateway.connect(60))
            connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
            status, *_ = connection.read_head()
            assert status == 200
            events = connection.events()
            self.streams.append((events, [next(events)]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.let_go()
        self.stack.close()

    def let_go(self):
        for steps in self.steps:
            steps.allow(50)

    def finish(self):
        """Lets them go, and checks every byte."""
        self.let_go()
        self.check()

    def check(self):
        for events, seen in self.streams:
            whole = seen + list(events)
            assert whole[-1] == "[DONE]"
            chunks = [json.loads(event) for event in whole[:-1]]
            assert not any("error" in chunk for chunk in chunks), chunks[-1]
            texts = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]]
            assert "".join(texts) == HELLO


@contextlib.contextmanager
def held_at(replica, gateway, other):
    """A stream that stands at this replica: the other one is drained while it begins."""
    gateway.admin("POST", f"/admin/v1/replicas/{other.name}/drain")
    with Held(gateway, replica) as held:
        gateway.admin("POST", f"/admin/v1/replicas/{other.name}/enable")
        yield held


def ask_in_background(gateway, **members):
    """One question on a thread of its own: (thread, list that the reply comes to)."""
    replies = []
    thread = threading.Thread(target=lambda: replies.append(gateway.chat("Hello", **members)))
    thread.start()
    return thread, replies


def test_reloads_in_a_row_under_load_fail_nothing_and_forget_nothing(stage):
    held_one, other, dead, drained = replicas = stage.replicas("held", "other", "dead", "drained")
    dead.kill()
    gateway = stage.gateway(
        [replica_settings(held_one, weight=1), other, dead, replica_settings(drained, weight=9)], pool={"probe": PROBE})
    gateway.wait_for({"held", "other", "drained"})
    eventually(lambda: gateway.replicas()["dead"]["health"] == "down", "it is found down")
    gateway.admin("POST", "/admin/v1/replicas/drained/drain")
    gateway.admin("POST", "/admin/v1/replicas/other/drain")
    with Held(gateway, held_one, 3) as held:
        gateway.admin("POST", "/admin/v1/replicas/other/enable")
        posts = drained.posts

        def ups():
            return sum(event["event"] == "replica_up" for event in gateway.events)

        eventually(lambda: ups() == 4, "three came up, and one of them was enabled again")
        with Asking(gateway, on_new_connections, streaming) as asking:
            for number in range(20):
                reload(gateway, *[
                    replica_settings(replica, weight=1 + (number + place) % 4) for place, replica in enumerate(replicas)
                ])
                said = gateway.replicas()
                assert said["dead"]["health"] == "down", number
                assert said["drained"]["intent"] == "draining" and said["drained"]["health"] == "up"
                assert said["held"]["serving"] and said["other"]["serving"]
                assert said["held"]["in_flight"] >= 3, "the streams of before count"
                assert [said[replica.name]["weight"] for replica in replicas] == [
                    1 + (number + place) % 4 for place in range(4)]
                asking.more(3)
        assert not asking.failed, asking.failed[:2]
        assert drained.posts == posts
        assert ups() == 4, "nobody was found anew"
        held.finish()
    eventually(lambda: gateway.replicas()["held"]["in_flight"] == 0, "all places are given back")
    assert all(replica["in_flight"] == 0 for replica in gateway.replicas().values())


def test_a_limit_of_requests_in_flight_holds_across_a_reload(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica_settings(replica, maxInFlight=2)], listen={"loops": 1})
    with Held(gateway, replica, 2) as held:
        reload(gateway, replica_settings(replica, maxInFlight=2, weight=3))
        assert gateway.replicas()["one"]["in_flight"] == 2
        thread, replies = ask_in_background(gateway)
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 1, "the third one waits")
        assert replica.running == 2
        held.finish()
        thread.join(20)
    assert replies[0].status == 200 and replica.running_max == 2


def test_a_key_s_own_limit_changes_and_what_it_spent_counts(stage):
    def keys(requests):
        return {"apiKeys": [{"id": "team-a", "sha256": sha256(KEY), "requests": requests}]}

    replica = stage.replica()
    gateway = stage.gateway([replica], rateLimit={"requests": 1}, identity=keys(2))
    assert [gateway.chat("Hello").status for _ in range(3)] == [200, 200, 429]
    reload(gateway, replica, identity=keys(4))
    assert [gateway.chat("Hello").status for _ in range(3)] == [200, 200, 429]
    reload(gateway, replica, identity=keys(3))
    refused = gateway.chat("Hello")
    assert (refused.status, refused.field("x-ratelimit-limit-requests")) == (429, "3")


def test_a_request_that_waits_goes_on_under_the_new_limit(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica_settings(replica, maxInFlight=1)])
    with Held(gateway, replica):
        waiting = [ask_in_background(gateway) for _ in range(2)]
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 2, "both wait")
        reload(gateway, replica_settings(replica, maxInFlight=2))
        for thread, replies in waiting:
            thread.join(20)
            assert replies[0].status == 200
    assert gateway.metrics()['weir_queue_length{pool="main"}'] == 0


def test_a_request_that_waits_goes_to_a_replica_that_came_with_the_reload(stage):
    replica, new = stage.replicas("one", "new")
    gateway = stage.gateway([replica_settings(replica, maxInFlight=1)])
    with Held(gateway, replica):
        thread, replies = ask_in_background(gateway)
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 1, "it waits")
        reload(gateway, new, replica_settings(replica, maxInFlight=1))
        thread.join(20)
        assert replies[0].field("x-weir-replica") == "new"


def test_requests_that_wait_keep_their_place_when_the_queue_becomes_shorter(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica_settings(replica, maxInFlight=1)], pool={"queue": {"length": 8}})
    with Held(gateway, replica) as held:
        waiting = [ask_in_background(gateway) for _ in range(4)]
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 4, "all wait")
        reload(gateway, pool={"queue": {"length": 1}})
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 4, "all wait in the new queue")
        assert gateway.chat("Hello").status == 503, "and nobody else may"
        held.finish()
        for thread, replies in waiting:
            thread.join(20)
            assert replies[0].status == 200


def test_counters_keep_their_series_when_replicas_and_pools_change_places(stage):
    one, two, three = stage.replicas("one", "two", "three")
    other = {
        "name": "other", "models": ["small"], "replicas": [replica_settings(three)],
        "probe": {"interval": "1s", "ramp": "0s", "warmUp": False}}
    gateway = stage.gateway([one, two])
    gateway.configure(merged(gateway.settings, {"pools": [other, gateway.settings["pools"][0]]}))
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    gateway.wait_for({"one", "two", "three"})
    gateway.admin("POST", "/admin/v1/replicas/one/drain")
    with Held(gateway, two) as held:
        gateway.admin("POST", "/admin/v1/replicas/one/enable")
        main = merged(gateway.settings["pools"][1], {})
        main["replicas"] = [replica_settings(two), replica_settings(one)]
        gateway.configure(merged(gateway.settings, {"pools": [main, other]}))
        assert gateway.admin("POST", "/admin/v1/reload").status == 200
        held.finish()
    samples = eventually(
        lambda: (found := gateway.metrics()).get('weir_requests_total{pool="main",outcome="ok"}') and found,
        "the stream is counted")
    attempts = {
        name: value for name, value in samples.items() if name.startswith("weir_replica_requests_total") and value}
    assert attempts == {'weir_replica_requests_total{pool="main",replica="two",result="ok"}': 1}
    assert not any(value for name, value in samples.items() if name.startswith('weir_requests_total{pool="other"'))
    assert samples['weir_tokens_total{direction="completion",pool="main"}'] > 0


def test_a_rolling_restart_waits_for_streams_of_before_a_reload(stage, webhook):  # noqa: F811
    one, two = replicas = stage.replicas("one", "two")
    webhook.react = restarting(replicas)
    gateway = stage.gateway(replicas, pool={"probe": PROBE}, hooks={"restart": {"url": webhook.url}})
    gateway.wait_for({"one", "two"})
    gateway.admin("POST", "/admin/v1/replicas/two/drain")
    with Held(gateway, one) as held:
        gateway.admin("POST", "/admin/v1/replicas/two/enable")
        reload(gateway, two, one)
        assert gateway.admin("POST", "/admin/v1/restarts", b'{"replicas":["one"],"drain_seconds":60}').status == 202
        eventually(lambda: gateway.replicas()["one"]["intent"] == "draining", "it is drained")
        reload(gateway, one, two)
        assert gateway.replicas()["one"]["intent"] == "draining"
        assert gateway.admin("GET", "/admin/v1/restarts").json["replicas"][0]["state"] == "draining"
        assert not webhook.events, "not before its stream has ended"
        held.finish()
        eventually(lambda: gateway.admin("GET", "/admin/v1/restarts").json["state"] == "done", "it is restarted")
    assert gateway.replicas()["one"]["intent"] == "enabled"


def test_a_removed_replica_finishes_what_it_has_and_gets_nothing_more(stage):
    stays, goes = stage.replicas("stays", "goes")
    gateway = stage.gateway([stays, goes], pool={"probe": OFTEN})
    gateway.wait_for({"stays", "goes"})
    with held_at(goes, gateway, other=stays) as held:
        posts = goes.posts
        reload(gateway, stays)
        assert {gateway.chat("Hello").field("x-weir-replica") for _ in range(6)} == {"stays"}
        leaving = gateway.admin("GET", "/admin/v1/replicas").json["leaving"]
        assert [(replica["name"], replica["in_flight"]) for replica in leaving] == [("goes", 1)]
        assert "removed" in weir(gateway, "replicas").stdout
        reload(gateway, stays, goes)
        assert gateway.replicas()["goes"]["in_flight"] == 1, "back before its stream has ended, it is the same one"
        reload(gateway, stays)
        probes = goes.probes
        eventually(lambda: goes.probes > probes + 2, "it is probed for its stream's sake")
        held.finish()
    eventually(lambda: not gateway.admin("GET", "/admin/v1/replicas").json["leaving"], "it is gone")
    assert goes.posts == posts

    def is_left_alone():
        before = goes.probes
        for _ in range(8):
            gateway.chat("Hello")
        reload(gateway, stays)
        seen = stays.probes
        eventually(lambda: stays.probes > seen + 5, "the other one is probed")
        return goes.probes == before

    eventually(is_left_alone, "nobody probes it any more")


def test_a_stream_on_a_removed_replica_that_freezes_goes_on_elsewhere(stage):
    stays, goes = stage.replicas("stays", "goes")
    gateway = stage.gateway([goes, stays], pool={"probe": PROBE})
    gateway.wait_for({"stays", "goes"})
    with held_at(goes, gateway, other=stays) as held:
        reload(gateway, stays)
        goes.freeze()
        try:
            held.check()
        finally:
            goes.thaw()
    assert stays.posts == 1


def test_a_stream_goes_on_at_a_replica_that_came_with_the_reload(stage):
    old, new = stage.replicas("old", "new")
    gateway = stage.gateway([old], pool={"probe": PROBE})
    with Held(gateway, old) as held:
        reload(gateway, new)
        gateway.wait_for({"new"})
        old.kill()
        held.finish()
    assert new.posts == 1


def test_a_retry_after_a_reload_does_not_go_where_the_request_failed(stage):
    one, two, three = stage.replicas("one", "two", "three")
    gateway = stage.gateway([one, two, three], pool={"probe": {**PROBE, "deepInterval": "0s"}})
    gateway.wait_for({"one", "two", "three"})
    steps = one.steps()

    async def fails(exchange):
        await steps.wait()
        await modes.status(500)(exchange)

    one.mode = fails
    for name in ("two", "three"):
        gateway.admin("POST", f"/admin/v1/replicas/{name}/drain")
    thread, replies = ask_in_background(gateway)
    eventually(lambda: one.running, "it is there")
    reload(gateway, two, one)
    gateway.admin("POST", "/admin/v1/replicas/two/enable")
    steps.allow()
    thread.join(20)
    assert replies[0].status == 200 and replies[0].field("x-weir-replica") == "two"
    assert one.posts == 1


def test_a_replica_in_maintenance_is_not_probed_because_of_a_reload(stage):
    resting, other = stage.replicas("resting", "other")
    gateway = stage.gateway([resting, other], pool={"probe": OFTEN})
    gateway.wait_for({"resting", "other"})
    gateway.admin("POST", "/admin/v1/replicas/resting/maintenance")
    seen = other.probes
    eventually(lambda: other.probes > seen + 2, "a probe that was on its way is over")
    probes = resting.probes
    for _ in range(3):
        reload(gateway, resting, other)
        seen = other.probes
        eventually(lambda: other.probes > seen + 3, "the other one is probed")
    assert resting.probes == probes
    assert gateway.replicas()["resting"]["intent"] == "maintenance"


def test_another_address_is_another_replica(stage):
    old, new = stage.replica("one"), stage.replica("one")
    gateway = stage.gateway([replica_settings(old, maxInFlight=1)])
    with Held(gateway, old) as held:
        reload(gateway, replica_settings(new, maxInFlight=1))
        gateway.wait_for({"one"})
        assert gateway.replicas()["one"]["in_flight"] == 0
        assert gateway.chat("Hello").status == 200 and new.posts == 1
        held.finish()


def test_a_replica_that_asked_to_be_left_alone_is_left_alone_after_a_reload_too(stage):
    busy, free = stage.replicas("busy", "free")
    gateway = stage.gateway([busy, free])
    gateway.wait_for({"busy", "free"})
    busy.mode = modes.status(503, "retry-after: 60")
    eventually(lambda: gateway.chat("Hello").status == 200 and busy.posts, "it says that it is busy")
    posts = busy.posts
    reload(gateway, replica_settings(busy, weight=5), free)
    for _ in range(12):
        assert gateway.chat("Hello").status == 200
    assert busy.posts == posts


def test_a_model_that_was_stopped_on_a_replica_stays_stopped(stage):
    broken, well = stage.replicas("broken", "well")
    gateway = stage.gateway([broken, well])
    gateway.wait_for({"broken", "well"})
    broken.mode = modes.status(500)
    eventually(
        lambda: gateway.chat("Hello").status == 200 and gateway.replicas()["broken"]["stopped_models"] == 1,
        "its breaker stops the model")
    reload(gateway, replica_settings(broken, weight=5), well)
    assert gateway.replicas()["broken"]["stopped_models"] == 1


def test_a_model_that_moved_to_another_pool_takes_its_waiting_requests_along(stage):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([replica_settings(one, maxInFlight=1)])
    with Held(gateway, one) as held:
        thread, replies = ask_in_background(gateway)
        eventually(lambda: gateway.metrics()['weir_queue_length{pool="main"}'] == 1, "it waits")
        pool = merged(gateway.settings["pools"][0], {"name": "moved"})
        pool["replicas"] = [replica_settings(two)]
        gateway.configure(merged(gateway.settings, {"pools": [pool]}))
        assert gateway.admin("POST", "/admin/v1/reload").status == 200
        thread.join(20)
        assert replies[0].status == 200 and replies[0].field("x-weir-replica") == "two"
        held.finish()
    eventually(
        lambda: gateway.metrics().get('weir_requests_total{pool="",outcome="ok"}') == 1,
        "the stream of the pool that is gone counts to no pool")
    assert gateway.metrics()['weir_requests_total{pool="moved",outcome="ok"}'] == 1


def test_a_replica_that_is_configured_by_name_is_looked_up_again_and_again_and_served(stage):
    replica, other = stage.replicas("one", "other")
    by_name = {**replica_settings(replica), "url": f"http://localhost:{replica.port}"}
    gateway = stage.gateway([by_name, other], pool={"probe": PROBE, "resolveInterval": "20ms"})
    gateway.wait_for({"one", "other"})
    with Asking(gateway, on_new_connections, streaming) as asking:
        asking.more(40)
        replica.kill()
        gateway.wait_for({"other"})
        replica.start()
        gateway.wait_for({"one", "other"})
        asking.more(10)
    assert not asking.failed, asking.failed[:2]
    assert gateway.replicas()["one"]["address"] == f"127.0.0.1:{replica.port}"
    assert not gateway.event("replica_moved"), "it is where it was"


def test_a_name_that_leads_nowhere_refuses_the_reload_and_holds_nothing_up(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica])
    pool = {**gateway.settings["pools"][0], "replicas": [
        replica_settings(replica), {"name": "lost", "url": "http://nowhere.invalid:8000"}]}
    gateway.configure(merged(gateway.settings, {"pools": [pool]}))
    with Asking(gateway, on_new_connections, streaming) as asking:
        reply = gateway.admin("POST", "/admin/v1/reload")
        asking.more(4)
    assert reply.status == 400 and "nowhere.invalid" in reply.error["message"]
    assert not asking.failed and set(gateway.replicas()) == {"one"}
