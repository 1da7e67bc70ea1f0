"""Replicas behind https: their certificates are verified, and nothing is ever sent to one that fails."""

import json

import pytest
from harness import tls
from harness.gateway import replica_settings
from harness.waiting import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return tls.Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secured(stage):
    """Makes https replicas that the stage ends."""

    def make(certificate, name="one", mode=None):
        return stage._keep(tls.TLSReplica(certificate, name, mode))

    return make


def test_a_replica_with_a_good_certificate_serves_and_its_connection_is_used_again(stage, secured, authority):
    replica = secured(authority.certificate())
    gateway = stage.gateway(
        [replica_settings(replica, caFile=str(authority.file))], listen={"loops": 1},
        pool={"probe": {"interval": "1m"}})
    replica.accepted = 0
    for _ in range(5):
        assert gateway.chat("Hello").status == 200
        assert gateway.chat("Hello", stream=True).events[-1] == "[DONE]"
    assert replica.posts == 10
    assert set(replica.names) == {"localhost"}, "the name that was asked for (SNI)"
    assert replica.accepted <= 6, "a plain answer's connection was not used again"


def test_large_bodies_pass_both_ways_over_https(stage, secured, authority):
    replica = secured(authority.certificate())
    gateway = stage.gateway([replica_settings(replica, caFile=str(authority.file))])
    # The session tickets come while the question is being sent, and are no answer.
    text, answer = "question " * 800_000, "answer " * 300_000

    async def large(exchange):
        document = exchange.whole_document()
        document["choices"][0]["message"]["content"] = answer
        exchange.reply(200, json.dumps(document).encode())

    replica.next(large)
    assert gateway.chat(text).content == answer
    assert replica.last.messages[0]["content"] == text


BAD = {
    "another name": (lambda authority: authority.certificate("DNS:elsewhere.test"), "hostname mismatch"),
    "an expired one": (lambda authority: authority.certificate(days=-1), "expired"),
    "one that it signed itself": (lambda authority: (authority.file, authority._key), "self-signed"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_replica_whose_certificate_is_not_good_is_never_sent_anything(stage, secured, tmp_path, authority, what):
    make, reason = BAD[what]
    issuer = tls.Authority(tmp_path, "lonely") if what == "one that it signed itself" else authority
    replica = secured(make(issuer))
    gateway = stage.gateway(
        [replica_settings(replica, caFile=str(authority.file))], ready=False,
        pool={"probe": {"interval": "1s", "timeout": "1s"}})
    event = eventually(lambda: gateway.event("replica_down"), "the log says that the replica is down")
    assert event["replica"] == "one" and reason in event["message"]
    for members in ({}, {"stream": True}):
        reply = gateway.chat("Hello", **members)
        assert (reply.status, reply.error["code"]) == (503, "overloaded")
    assert replica.posts == 0 and replica.probes == 0


def test_without_a_file_of_its_own_the_system_s_authorities_count(stage, secured, authority):
    replica = secured(authority.certificate())
    gateway = stage.gateway([replica], ready=False, pool={"probe": {"interval": "1s", "timeout": "1s"}})
    event = eventually(lambda: gateway.event("replica_down"), "the log says that the replica is down")
    assert "certificate" in event["message"]
    assert gateway.chat("Hello").status == 503
    assert replica.posts == 0 and replica.probes == 0


def test_a_replica_that_speaks_plain_http_where_https_is_expected_gets_no_request(stage, authority):
    replica = stage.replica()
    url = replica.url.replace("http://127.0.0.1", "https://localhost")
    gateway = stage.gateway(
        [replica_settings(replica, url=url, caFile=str(authority.file))], ready=False,
        timeouts={"connect": "200ms"}, pool={"probe": {"interval": "1s", "timeout": "1s"}})
    eventually(lambda: gateway.event("replica_down"), "the log says that the replica is down")
    assert gateway.chat("Hello").status in (503, 504)
    assert replica.posts == 0 and replica.probes == 0


def test_an_https_replica_that_a_reload_adds_is_asked_over_tls(stage, secured, authority):
    plain = stage.replica("plain")
    gateway = stage.gateway([plain])
    replica = secured(authority.certificate(), "secured")
    gateway.settings["pools"][0]["replicas"] = [replica_settings(replica, caFile=str(authority.file))]
    gateway.configure(gateway.settings)
    assert gateway.admin("POST", "/admin/v1/reload").status == 200
    gateway.wait_for(["secured"])
    assert gateway.chat("Hello").field("x-weir-replica") == "secured"
    assert "localhost" in replica.names


def test_an_authority_file_that_is_not_there_stops_a_reload(stage, tmp_path):
    replica = stage.replica()
    gateway = stage.gateway([replica])
    gateway.settings["pools"][0]["replicas"] = [
        replica_settings(replica, url="https://localhost:1", caFile=str(tmp_path / "missing.pem"))]
    gateway.configure(gateway.settings)
    reply = gateway.admin("POST", "/admin/v1/reload")
    assert reply.status >= 400 and "missing.pem" in reply.error["message"]
    assert gateway.chat("Hello").status == 200
