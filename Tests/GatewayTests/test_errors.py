"""What a client is told when its request can't be served: status, OpenAI's error object, and nothing more."""

import hashlib
import json
import time

import jwt
import openai
import pytest
from harness.client import Reply
from harness.gateway import AUDIENCE, ISSUER, KEY, OTHER_KEY, SECRET, chat_body, sha256, token

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway(
        [replica], http={"bodyBytes": "64KiB", "headBytes": "4KiB", "requestLineBytes": "1KiB"},
        pool={"models": ["tiny", "secret-model"]},
        identity={"apiKeys": [
            {"id": "team-a", "sha256": sha256(KEY)},
            {"id": "team-b", "sha256": sha256(OTHER_KEY), "models": ["tiny"]},
        ]})


@pytest.fixture(autouse=True)
def nothing_reaches_the_replica_but_what_is_answered_200(replica):
    replica.forget()


def refused(reply: Reply, status, code, replica=None):
    """Checks that `reply` is an OpenAI error and nothing else, and that no replica saw the request."""
    assert reply.status == status, reply
    error = reply.error
    assert set(reply.json) == {"error"} and set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and isinstance(error["type"], str)
    assert error["code"] == code
    assert reply.field("content-type") == "application/json"
    assert reply.field("x-request-id")
    if replica:
        assert replica.posts == 0
    return error


def wrong_credentials():
    now = int(time.time())

    def signed(claims=None, headers=None, secret=SECRET, algorithm="HS256"):
        base = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 600}
        base.update(claims or {})
        return jwt.encode({k: v for k, v in base.items() if v is not None}, secret, algorithm, headers)

    good = signed()
    head, payload, signature = good.split(".")
    return {
        "none at all": None,
        "an unknown key": "Bearer sk-weir-" + "C" * 42 + "A",
        "a key of another length": "Bearer sk-weir-short",
        "another scheme": "Basic dXNlcjpwYXNz",
        "an empty bearer": "Bearer ",
        "two credentials": f"Bearer {KEY} {KEY}",
        "expired": f"Bearer {signed({'exp': now - 5})}",
        "no expiry": f"Bearer {signed({'exp': None})}",
        "not valid yet": f"Bearer {signed({'nbf': now + 600})}",
        "another issuer": f"Bearer {signed({'iss': 'https://other.test'})}",
        "an issuer with a slash more": f"Bearer {signed({'iss': ISSUER + '/'})}",
        "no issuer": f"Bearer {signed({'iss': None})}",
        "another audience": f"Bearer {signed({'aud': 'other'})}",
        "no audience": f"Bearer {signed({'aud': None})}",
        "an empty audience list": f"Bearer {signed({'aud': []})}",
        "no subject": f"Bearer {signed({'sub': None})}",
        "another secret": f"Bearer {signed(secret='x' * 40)}",
        "HS512 with the same secret": f"Bearer {signed(secret=SECRET * 2, algorithm='HS512')}",
        "no algorithm": f"Bearer {jwt.encode({'iss': ISSUER, 'aud': AUDIENCE, 'exp': now + 60}, None, 'none')}",
        "an unknown critical header": f"Bearer {signed(headers={'crit': ['b64'], 'b64': False})}",
        "a changed payload": f"Bearer {head}.{payload[:-2]}AA.{signature}",
        "a cut signature": f"Bearer {good[:-3]}",
        "padding": f"Bearer {good}=",
    }


@pytest.mark.parametrize("reason", wrong_credentials())
def test_every_wrong_credential_gets_the_same_401(gateway, replica, reason):
    value = wrong_credentials()[reason]
    fields = [("authorization", value)] if value is not None else []
    reply = gateway.request("POST", CHAT, chat_body("Hello"), fields, key=None)
    refused(reply, 401, "invalid_api_key", replica)
    bare = gateway.request("POST", CHAT, chat_body("Hello"), key=None)
    assert reply.body == bare.body, "the body tells one reason from another"
    challenge = reply.field("www-authenticate")
    if reason == "expired":
        assert challenge == 'Bearer error="invalid_token", error_description="expired"'
    else:
        assert challenge == "Bearer"
    line = gateway.access_line(reply.field("x-request-id"))
    assert line["status"] == 401 and line["token_problem"]


def test_a_401_comes_before_the_body_is_read(gateway, replica):
    with gateway.connect() as connection:
        connection.send(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n" % CHAT.encode())
        reply = connection.read_reply()
    refused(reply, 401, "invalid_api_key", replica)
    assert reply.field("connection") == "close"


@pytest.mark.parametrize("accepted", [
    lambda: token(), lambda: token(aud=["other", AUDIENCE]), lambda: token(nbf=int(time.time()) - 5),
    lambda: token(exp=time.time() + 60.5), lambda: token(extra={"a": [1, {"b": None}]}),
], ids=["plain", "audience in a list", "valid since a while", "a fraction of a second", "claims we do not know"])
def test_a_good_token_is_accepted_again_and_again(gateway, accepted):
    credential = accepted()
    for _ in range(3):
        assert gateway.chat("Hello", key=credential).status == 200


def test_a_token_is_refused_as_soon_as_it_expires_though_it_was_cached(gateway):
    expiry = int(time.time()) + 2
    credential = token(exp=expiry)
    assert gateway.chat("Hello", key=credential).status == 200
    with gateway.connect() as connection:
        status = 200
        while status == 200 and time.time() < expiry + 5:
            status = connection.request("GET", "/v1/models", key=credential).status
    assert status == 401 and time.time() >= expiry


def test_credentials_in_two_authorization_headers_are_refused(gateway, replica):
    reply = gateway.request(
        "POST", CHAT, chat_body("Hello"), [("authorization", f"Bearer {KEY}"), ("Authorization", "Bearer x")], key=None)
    assert reply.status in (400, 401) and replica.posts == 0


def test_an_unknown_model_is_404_and_names_its_parameter(gateway, replica, client_of):
    with pytest.raises(openai.NotFoundError) as problem:
        client_of(gateway).chat.completions.create(model="absent", messages=[{"role": "user", "content": "Hi"}])
    assert problem.value.code == "model_not_found" and problem.value.param == "model"
    assert problem.value.request_id and replica.posts == 0


def test_a_model_that_the_key_may_not_use_is_403_and_not_listed(gateway, replica):
    reply = gateway.chat("Hello", key=OTHER_KEY, model="secret-model")
    assert refused(reply, 403, "model_not_allowed", replica)["param"] == "model"
    listed = gateway.request("GET", "/v1/models", key=OTHER_KEY).json
    assert [model["id"] for model in listed["data"]] == ["tiny"]
    refused(gateway.request("GET", "/v1/models/secret-model", key=OTHER_KEY), 404, "model_not_found")
    assert gateway.request("GET", "/v1/models/secret-model", key=KEY).status == 200


def test_an_unknown_path_is_404_and_a_wrong_method_405(gateway, replica):
    refused(gateway.request("GET", "/v1/absent"), 404, "not_found", replica)
    reply = gateway.request("GET", CHAT)
    refused(reply, 405, "method_not_supported", replica)
    assert reply.field("allow") == "POST"
    reply = gateway.request("POST", "/v1/models", b"{}")
    refused(reply, 405, "method_not_supported", replica)
    assert "GET" in reply.field("allow")


def test_a_body_over_the_limit_is_413_at_once_when_its_length_says_so(gateway, replica):
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, None, [("content-length", str(64 * 1024 + 1))], KEY)
        refused(connection.read_reply(), 413, "request_too_large", replica)


def test_a_body_over_the_limit_is_413_in_chunks_too(gateway, replica):
    with gateway.connect() as connection:
        connection.send_request("POST", CHAT, None, [("transfer-encoding", "chunked")], KEY)
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        connection.send(chunk * 5)
        refused(connection.read_reply(), 413, "request_too_large", replica)


def test_a_body_of_exactly_the_limit_passes(gateway, replica):
    body = chat_body("Hello")
    body = body[:-1] + b" " * (64 * 1024 - len(body)) + body[-1:]
    assert gateway.request("POST", CHAT, body).status == 200 and replica.last.body == body


@pytest.mark.parametrize("fields", [
    [("content-encoding", "gzip")], [("content-type", "text/plain")],
    [("content-type", "application/x-www-form-urlencoded")],
], ids=["encoded", "text", "form"])
def test_another_encoding_or_type_is_415(gateway, replica, fields):
    refused(gateway.request("POST", CHAT, chat_body("Hello"), fields), 415, "unsupported_media_type", replica)


@pytest.mark.parametrize("type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_is_json_however_its_type_is_written(gateway, type):
    assert gateway.request("POST", CHAT, chat_body("Hello"), [("content-type", type)]).status == 200


BAD_BODIES = {
    "nothing": b"",
    "no JSON": b"hello",
    "an array": b"[]",
    "cut off": b'{"model":"tiny","messages":[',
    "bytes behind the end": b'{"model":"tiny","messages":[]} {}',
    "no model": b'{"messages":[{"role":"user","content":"Hi"}]}',
    "a model that is a number": b'{"model":1,"messages":[]}',
    "messages that are a text": b'{"model":"tiny","messages":"Hi"}',
    "a stream that is a text": b'{"model":"tiny","messages":[],"stream":"yes"}',
    "two models": b'{"model":"tiny","model":"tiny","messages":[]}',
    "two models, one in disguise": b'{"model":"tiny","mod\\u0065l":"other","messages":[]}',
    "messages twice": b'{"model":"tiny","messages":[],"messages":[{"role":"user","content":"Hi"}]}',
    "stream twice": b'{"model":"tiny","messages":[],"stream":true,"stream":false}',
    "max_tokens twice": b'{"model":"tiny","messages":[],"max_tokens":1,"max_\\u0074okens":9}',
    "include_usage twice":
        b'{"model":"tiny","messages":[],"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}',
    "bytes that are no UTF-8": b'{"model":"tiny","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "an overlong slash": b'{"model":"tiny","messages":[{"role":"user","content":"\xc0\xaf"}]}',
    "half a surrogate pair in bytes": b'{"model":"tiny","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "too deep": b'{"model":"tiny","messages":[],"x":' + b"[" * 65 + b"]" * 65 + b"}",
    "a control character in a text": b'{"model":"tiny","messages":[{"role":"user","content":"a\nb"}]}',
    "a comment": b'{"model":"tiny",/**/"messages":[]}',
    "a trailing comma": b'{"model":"tiny","messages":[],}',
    "NaN": b'{"model":"tiny","messages":[],"temperature":NaN}',
    "a byte order mark": b'\xef\xbb\xbf{"model":"tiny","messages":[]}',
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_body_that_two_readers_could_read_differently_is_400(gateway, replica, what):
    reply = gateway.request("POST", CHAT, BAD_BODIES[what])
    refused(reply, 400, None, replica)
    assert reply.error["type"] == "invalid_request_error"


def test_the_connection_survives_a_refused_body(gateway):
    with gateway.connect() as connection:
        assert connection.request("POST", CHAT, b"hello", key=KEY).status == 400
        assert connection.request("POST", CHAT, chat_body("Hello"), key=KEY).status == 200


def test_a_client_error_of_the_replica_is_passed_on_in_openai_s_form_and_not_retried(gateway, replica):
    from harness import modes

    vllm = {"object": "error", "message": "too long", "type": "BadRequestError", "param": None, "code": 400}
    replica.mode = modes.status(400, body=json.dumps(vllm).encode())
    reply = gateway.chat("Hello")
    assert reply.status == 400 and reply.error["message"] == "too long"
    assert reply.error["code"] is None or isinstance(reply.error["code"], str)
    assert replica.posts == 1


def test_errors_never_show_addresses(gateway, replica):
    from harness import modes

    replica.mode = modes.hang_up
    reply = gateway.chat("Hello")
    assert reply.status >= 500
    shown = reply.text + str(reply.fields)
    assert str(replica.port) not in shown and "127.0.0.1" not in shown


def test_a_key_is_stored_only_as_its_digest(gateway):
    assert hashlib.sha256(KEY.encode()).hexdigest() == sha256(KEY)
    assert KEY not in gateway.file.read_text() and KEY not in gateway.log_text()
