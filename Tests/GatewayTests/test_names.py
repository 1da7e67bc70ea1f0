"""A replica that is configured by name goes where its name leads, and no request is lost on the way."""

import pytest
from harness.gateway import KEY, chat_body, replica_settings
from harness.load import CHAT, Load, problem_with, question
from harness.modes import answer_text, streamed
from harness.names import Names, can_lead
from harness.waiting import eventually

pytestmark = pytest.mark.skipif(not can_lead(), reason="no user may have mounts of his own here")

NAME = "replica.test"
OLD, NEW = "127.0.0.1", "127.0.0.2"
#: A probe comes when somebody is suspected or has moved, not by itself.
RARE = {"interval": "20s", "timeout": "20s", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False}


@pytest.fixture
def names(tmp_path):
    names = Names(tmp_path)
    names.lead(NAME, OLD)
    return names


@pytest.fixture
def places(stage):
    """The same replica at its old and at its new address, on one port."""
    old = stage.replica("moving")
    return old, stage.replica("moving", host=NEW, port=old.port)


def by_name(replica):
    return replica_settings(replica, url=f"http://{NAME}:{replica.port}")


def address_of(gateway):
    return gateway.replicas()["moving"]["address"]


def test_new_requests_follow_the_name_and_a_stream_ends_where_it_began(stage, names, places):
    old, new = places
    gateway = stage.gateway([by_name(old)], names=names, pool={"probe": RARE, "resolveInterval": "20ms"})
    for _ in range(4):
        assert gateway.chat("Hello").status == 200
    steps = old.steps(allowed=2)
    old.mode = streamed(steps=steps)
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, chat_body(*question(1), stream=True), key=KEY)
        eventually(lambda: old.posts == 5, "the stream runs")
        probes = new.probes
        names.lead(NAME, NEW)
        eventually(lambda: address_of(gateway) == f"{NEW}:{old.port}", "the gateway knows")
        moved = eventually(lambda: gateway.event("replica_moved"), "it says so")
        assert moved["replica"] == "moving"
        eventually(lambda: new.probes > probes, "it is probed where it is now")
        eventually(lambda: len(old.connections) == 1, "the connections that waited for requests are closed")
        with Load(gateway) as load:
            load.more(20)
        assert not load.problems, load.problems[:3]
        assert old.posts == 5 and new.posts == load.done
        steps.allow(100)
        assert problem_with(connection.read_reply(), answer_text(question(1))) is None
    assert old.posts == 5 and not old.cancelled


def test_a_replica_that_comes_back_at_another_address_is_found_before_it_is_time(stage, names, places):
    """Its name would be looked up again in an hour; that it can't be reached makes it a matter of a second."""
    old, new = places
    other = stage.replica("other")
    gateway = stage.gateway([by_name(old), other], names=names, pool={"probe": RARE, "resolveInterval": "1h"})
    gateway.wait_for({"moving", "other"})
    with Load(gateway) as load:
        load.more(20)
        names.lead(NAME, NEW)
        old.kill()
        eventually(lambda: new.posts > 10, "it serves at its new address")
    assert not load.problems, load.problems[:3]
    assert address_of(gateway) == f"{NEW}:{old.port}"


def test_of_two_addresses_the_one_that_can_be_reached_is_taken(stage, names, places):
    old, new = places
    names.lead(NAME, OLD, NEW)
    gateway = stage.gateway([by_name(old)], names=names, pool={"probe": RARE, "resolveInterval": "1h"})
    gateway.wait_for({"moving"})
    here, there = (old, new) if address_of(gateway).startswith(OLD + ":") else (new, old)
    assert gateway.chat("Hello").status == 200 and here.posts == 1
    here.kill()
    eventually(lambda: gateway.chat("Hello").status == 200, "the other address answers")
    assert there.posts == 1


def test_a_name_that_is_lost_leaves_the_replica_where_it_is(stage, names, places):
    old, new = places
    gateway = stage.gateway([by_name(old)], names=names, pool={"probe": RARE, "resolveInterval": "20ms"})
    names.lead(NAME)
    with Load(gateway) as load:
        load.more(50)
    assert not load.problems, load.problems[:3]
    assert address_of(gateway) == f"{OLD}:{old.port}" and not gateway.event("replica_moved")
    names.lead(NAME, NEW)
    eventually(lambda: address_of(gateway) == f"{NEW}:{old.port}", "the name is found again")
    assert gateway.chat("Hello").status == 200 and new.posts == 1
