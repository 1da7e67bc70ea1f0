"""What passes from the client to a replica and back, and what must not."""

import pytest
from harness.gateway import KEY, chat_body, replica_settings, token

SECRETS = {
    "authorization": f"Bearer {KEY}",
    "cookie": "login=canary-cookie",
    "x-session-id": "canary-session",
    "x-api-key": "canary-api-key",
    "api-key": "canary-other-key",
    "proxy-authorization": "Basic canary-proxy",
    "x-ratelimit-limit-requests": "canary-limit",
    "x-weir-replica": "canary-weir",
    "idempotency-key": "canary-idempotency",
    "origin": "https://canary-origin.test",
    "x-forwarded-host": "canary-host.test",
    "forwarded": "for=canary-forwarded",
    "x-real-ip": "canary-real",
    "via": "1.1 canary-via",
    "te": "canary-te",
    "keep-alive": "canary-keep-alive",
    "proxy-connection": "canary-proxy-connection",
}


@pytest.fixture(scope="module")
def gateway(shared, replica, tmp_path_factory):
    return shared.gateway(
        [replica_settings(replica, apiKeyEnv="REPLICA_KEY")], environment={"REPLICA_KEY": "the-replica-s-own-key"},
        http={"cors": {"allowedOrigins": ["https://app.test"], "maxAge": "5m"}})


@pytest.fixture(autouse=True)
def fresh(replica):
    replica.forget()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_nothing_secret_or_meant_for_us_reaches_a_replica(gateway, replica, stream):
    reply = gateway.request(
        "POST", "/v1/chat/completions", chat_body("Hello", stream=stream, session_id="canary-session"),
        list(SECRETS.items()), key=None)
    assert reply.status == 200
    seen = replica.last.head + replica.last.body
    assert b"canary" not in seen and KEY.encode() not in seen, seen
    assert replica.last.field("authorization") == "Bearer the-replica-s-own-key"


def test_a_token_does_not_reach_a_replica_either(gateway, replica):
    credential = token("ada")
    assert gateway.chat("Hello", key=credential).status == 200
    assert credential.encode() not in replica.last.head


def test_a_field_that_connection_names_ends_here(gateway, replica):
    assert gateway.chat("Hello", fields=[("connection", "x-hop, keep-alive"), ("x-hop", "canary")]).status == 200
    assert replica.last.field("x-hop") is None and b"canary" not in replica.last.head


def test_what_describes_the_request_does_reach_the_replica(gateway, replica):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    fields = [
        ("traceparent", trace), ("user-agent", "tests/1"), ("x-stainless-lang", "python"), ("openai-organization", "o")]
    assert gateway.chat("Hello", fields=fields).status == 200
    for name, value in fields:
        assert replica.last.field(name) == value
    assert replica.last.field("content-type") == "application/json"
    assert replica.last.field("host") == f"127.0.0.1:{replica.port}"
    assert int(replica.last.field("content-length")) == len(replica.last.body)


def test_no_encoding_is_asked_of_the_replica(gateway, replica):
    gateway.chat("Hello", fields=[("accept-encoding", "gzip, br")])
    assert replica.last.field("accept-encoding") in (None, "identity")


def test_the_request_id_is_the_client_s_if_it_is_sane_and_ours_otherwise(gateway, replica):
    reply = gateway.chat("Hello", fields=[("x-request-id", "abc-123_X.y")])
    assert reply.field("x-request-id") == "abc-123_X.y" == replica.last.field("x-request-id")
    for bad in ("has spaces", "a" * 129, "quote\"", "semi;colon", ""):
        reply = gateway.chat("Hello", fields=[("x-request-id", bad)])
        assert reply.field("x-request-id") != bad and len(reply.field("x-request-id")) == 32
    ids = {gateway.chat("Hello").field("x-request-id") for _ in range(20)}
    assert len(ids) == 20


def test_every_reply_has_a_request_id_whatever_became_of_it(gateway):
    for path, key in (("/healthz", None), ("/absent", KEY), ("/v1/models", None), ("/v1/models", KEY)):
        assert gateway.request("GET", path, key=key).field("x-request-id")
    with gateway.connect() as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert connection.read_reply().field("x-request-id")


def test_x_forwarded_for_of_a_stranger_is_not_believed(gateway, replica):
    reply = gateway.chat("Hello", fields=[("x-forwarded-for", "203.0.113.7")])
    assert replica.last.field("x-forwarded-for") == "127.0.0.1"
    assert gateway.access_line(reply.field("x-request-id"))["client"] == "127.0.0.1"


def test_x_forwarded_for_of_a_configured_peer_is_believed_up_to_the_first_stranger(stage):
    replica = stage.replica()
    gateway = stage.gateway([replica], http={"trustedProxies": ["127.0.0.0/8", "10.0.0.0/8"]})
    fields = [("x-forwarded-for", "198.51.100.1, 203.0.113.7, 10.1.2.3")]
    reply = gateway.chat("Hello", fields=fields)
    assert gateway.access_line(reply.field("x-request-id"))["client"] == "203.0.113.7"
    assert replica.last.field("x-forwarded-for") == "198.51.100.1, 203.0.113.7, 10.1.2.3, 127.0.0.1"
    reply = gateway.chat("Hello", fields=[("x-forwarded-for", "nonsense")])
    assert gateway.access_line(reply.field("x-request-id"))["client"] == "127.0.0.1"


def preflight(gateway, origin):
    return gateway.request("OPTIONS", "/v1/chat/completions", fields=[
        ("origin", origin), ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type")], key=None)


def test_a_preflight_of_an_allowed_origin_is_answered_without_a_credential(gateway, replica):
    reply = preflight(gateway, "https://app.test")
    assert reply.status in (200, 204)
    assert reply.field("access-control-allow-origin") == "https://app.test"
    assert "POST" in reply.field("access-control-allow-methods")
    allowed = reply.field("access-control-allow-headers").replace(" ", "").split(",")
    assert {"authorization", "content-type", "x-session-id"} <= set(allowed)
    assert reply.field("access-control-max-age") == "300"
    assert replica.posts == 0


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "https://app.test.evil.test", "http://app.test"])
def test_another_origin_gets_no_permission(gateway, origin):
    assert preflight(gateway, origin).field("access-control-allow-origin") is None
    reply = gateway.chat("Hello", fields=[("origin", origin)])
    assert reply.status == 200 and reply.field("access-control-allow-origin") is None


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_allowed_origin_may_read_replies_and_errors(gateway, stream):
    reply = gateway.chat("Hello", fields=[("origin", "https://app.test")], stream=stream)
    assert reply.field("access-control-allow-origin") == "https://app.test"
    assert reply.field("vary").lower() == "origin"
    assert "x-request-id" in reply.field("access-control-expose-headers")
    refused = gateway.chat("Hello", key="wrong", fields=[("origin", "https://app.test")])
    assert refused.status == 401 and refused.field("access-control-allow-origin") == "https://app.test"


def test_credentials_are_never_allowed_across_origins(gateway):
    assert preflight(gateway, "https://app.test").field("access-control-allow-credentials") is None


def test_the_replica_is_named_and_its_address_is_not(gateway, replica):
    reply = gateway.chat("Hello")
    assert reply.field("x-weir-replica") == "one" and reply.field("x-weir-attempts") == "1"
    assert float(reply.field("x-weir-overhead-ms")) >= 0
    assert str(replica.port) not in str(reply.fields)


def test_what_the_replica_says_of_itself_does_not_reach_the_client(gateway, replica):
    from harness import modes

    async def talkative(exchange):
        exchange.reply(
            200, modes.SMALL, "application/json", "server: canary", "set-cookie: canary=1", "x-request-id: canary",
            "x-ratelimit-limit-requests: canary", "x-weir-replica: canary")

    replica.mode = talkative
    reply = gateway.chat("Hello")
    assert reply.status == 200 and "canary" not in str(reply.fields)
