"""The loops share the work, however few and long the connections are, and there are as many as cores may be used."""

import os

import pytest
from harness.gateway import KEY
from harness.process import sockets_by_loop
from harness.waiting import eventually


@pytest.mark.parametrize("loops", [2, 3])
def test_few_long_connections_are_spread_over_the_loops(stage, loops):
    gateway = stage.gateway([stage.replica()], listen={"loops": loops})
    count = lambda: sockets_by_loop(gateway.process.pid, gateway.address[1])  # noqa: E731
    eventually(lambda: sum(count()) == 0, "what readiness was asked on is closed")
    kept = []
    try:
        for number in range(5 * loops):
            kept.append(gateway.connect())
            assert kept[-1].request("GET", "/v1/models", key=KEY).status == 200
        counts = count()[-loops:]
        assert sum(counts) == 5 * loops
        assert max(counts) - min(counts) <= 2, counts
        for connection in kept:
            assert connection.request("GET", "/v1/models", key=KEY).status == 200
    finally:
        for connection in kept:
            connection.close()


def test_many_connections_are_spread_too(stage):
    gateway = stage.gateway([stage.replica()], listen={"loops": 2})
    kept = []
    try:
        for _ in range(200):
            kept.append(gateway.connect())
        for connection in kept:
            assert connection.request("GET", "/healthz", key=None).status == 200
        counts = sockets_by_loop(gateway.process.pid, gateway.address[1])[-2:]
        assert sum(counts) == 200 and max(counts) - min(counts) <= 30, counts
    finally:
        for connection in kept:
            connection.close()


def test_a_connection_that_was_handed_over_counts_where_it_is_served(stage):
    gateway = stage.gateway([stage.replica()], listen={"loops": 2})
    for _ in range(3):
        kept = [gateway.connect() for _ in range(30)]
        for connection in kept:
            assert connection.request("GET", "/healthz", key=None).status == 200
            connection.close()
        eventually(lambda: gateway.metrics()["weir_connections"] == 0, "all are gone")
    kept = [gateway.connect() for _ in range(10)]
    for connection in kept:
        assert connection.request("GET", "/healthz", key=None).status == 200
    counts = sockets_by_loop(gateway.process.pid, gateway.address[1])[-2:]
    for connection in kept:
        connection.close()
    assert sum(counts) == 10 and max(counts) - min(counts) <= 2, counts


def test_there_is_one_loop_for_each_core_that_may_be_used(stage):
    allowed = os.sched_getaffinity(0)
    for cores in ({min(allowed)}, allowed):
        os.sched_setaffinity(0, cores)
        try:
            gateway = stage.gateway([stage.replica()], listen={"loops": 0})
        finally:
            os.sched_setaffinity(0, allowed)
        assert gateway.event("started")["loops"] == str(len(cores))
