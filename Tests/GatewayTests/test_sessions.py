"""Conversations that the gateway remembers, in a real Redis."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import modes
from harness.gateway import KEY, OTHER_KEY, chat_body, token
from harness.modes import answer_text
from harness.waiting import eventually


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


@pytest.fixture(scope="module")
def redis(shared):
    return shared.redis()


@pytest.fixture(scope="module")
def gateway(shared, replica, redis):
    return shared.gateway([replica], redis={"address": redis.address, "timeout": "2s"})


@pytest.fixture(autouse=True)
def fresh(request):
    if "replica" in request.fixturenames:
        request.getfixturevalue("replica").forget()


names = iter(f"session-{number}" for number in range(10_000))


@pytest.fixture
def session():
    return next(names)


def say(gateway, session, *messages, key=KEY, fields=(), **members):
    return gateway.chat(*messages, key=key, fields=[("X-Session-ID", session), *fields], **members)


def text_of(reply):
    return reply.streamed_text if "event-stream" in reply.field("content-type") else reply.content


def texts_of_user(messages):
    return [message["content"] for message in messages if message["role"] == "user"]


def roles_and_texts(messages):
    return [(message["role"], message["content"]) for message in messages]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_the_fifth_turn_s_answer_needs_the_first_turn(gateway, replica, client_of, session, stream):
    client = client_of(gateway)
    said = []
    turns = ["My name is Ada.", "I live in Turin.", "I like rivers.", "And mountains.", "What is my name?"]
    for turn in turns:
        answer = client.chat.completions.create(
            model="tiny", messages=[user(turn)], stream=stream, extra_headers={"X-Session-ID": session})
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
        else:
            text = answer.choices[0].message.content
        said.append(user(turn))
        assert roles_and_texts(replica.last.messages) == roles_and_texts(said), "not all that was said, and this turn"
        assert text == answer_text(said)
        said.append(assistant(text))
    assert text == "Your name is Ada."
    assert len(replica.last.messages) == 9


def test_the_body_may_name_the_session_and_the_replica_does_not_see_it(gateway, replica, session):
    gateway.chat("My name is Ada.", session_id=session)
    reply = gateway.chat("What is my name?", session_id=session)
    assert reply.content == "Your name is Ada." and reply.field("x-session-id") == session
    assert "session_id" not in replica.last.json and session.encode() not in replica.last.head + replica.last.body
    both = say(gateway, session, "Hello", session_id="another")
    assert both.status == 400


def test_without_a_session_nothing_is_remembered_and_redis_not_asked(gateway, replica, redis):
    before = redis.keys()
    gateway.chat("My name is Ada.")
    assert gateway.chat("What is my name?").content == "You did not tell me your name."
    assert redis.keys() == before


@pytest.mark.parametrize("bad", ["", "has space", "a/b", "ä", "x" * 129, "{tag}", "a:b"])
def test_a_bad_session_id_is_400(gateway, replica, bad):
    reply = gateway.request(
        "POST", "/v1/chat/completions", b'{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}',
        [("x-session-id", bad.encode().decode("latin-1"))])
    assert reply.status == 400 and replica.posts == 0, reply


def test_another_owner_s_session_is_404_and_untouched(gateway, replica, session):
    say(gateway, session, "My name is Ada.")
    for key in (OTHER_KEY, token("eve")):
        reply = say(gateway, session, "What is my name?", key=key)
        assert reply.status == 404 and reply.error["code"] == "session_not_found"
    assert replica.posts == 1
    assert say(gateway, session, "What is my name?").content == "Your name is Ada."


def test_a_token_s_session_belongs_to_its_subject_not_to_the_token(gateway, session):
    say(gateway, session, "My name is Ada.", key=token("ada", extra=1))
    assert say(gateway, session, "What is my name?", key=token("ada", extra=2)).content == "Your name is Ada."


def test_a_client_that_sends_its_whole_history_is_not_stored_twice(gateway, replica, session):
    first = say(gateway, session, "My name is Ada.")
    whole = [user("My name is Ada."), assistant(first.content), user("And I live in Turin.")]
    second = say(gateway, session, *whole)
    assert roles_and_texts(replica.last.messages) == roles_and_texts(whole)
    say(gateway, session, "What is my name?")
    expected = whole + [assistant(second.content), user("What is my name?")]
    assert roles_and_texts(replica.last.messages) == roles_and_texts(expected)


def test_a_turn_that_failed_is_not_remembered(gateway, replica, session):
    say(gateway, session, "My name is Ada.")
    replica.mode = modes.status(400)
    assert say(gateway, session, "My name is Eve.").status == 400
    replica.mode = modes.answer
    say(gateway, session, "What is my name?")
    assert texts_of_user(replica.last.messages) == ["My name is Ada.", "What is my name?"]


def test_a_stream_that_broke_or_was_left_is_not_remembered(gateway, replica, session):
    say(gateway, session, "My name is Ada.")
    replica.mode = modes.stream_that("reset")
    broken = say(gateway, session, "Second", stream=True, logprobs=True)
    assert "[DONE]" not in broken.events
    steps = replica.steps(allowed=2)
    replica.mode = modes.streamed(steps=steps)
    connection = gateway.connect()
    connection.send_request(
        "POST", "/v1/chat/completions",
        chat_body("Third", stream=True), [("x-session-id", session)], KEY)
    connection.read_head()
    connection.close()
    eventually(lambda: replica.cancelled, "the stream is cancelled")
    replica.mode = modes.answer
    eventually(lambda: gateway.is_ready(), "the gateway is ready again")
    say(gateway, session, "What is my name?")
    assert texts_of_user(replica.last.messages) == ["My name is Ada.", "What is my name?"]


def test_a_resumed_stream_is_remembered_whole(stage, redis, session):
    one, two = stage.replicas("one", "two")
    gateway = stage.gateway([one, two], redis={"address": redis.address})
    gateway.wait_for({"one", "two"})
    broken = [True]

    async def once(exchange):
        mode = modes.stream_that("reset") if broken and broken.pop() else modes.answer
        await mode(exchange)

    one.mode = two.mode = once
    reply = say(gateway, session, "Tell me.", stream=True)
    assert reply.streamed_text == answer_text([user("Tell me.")]) and reply.events[-1] == "[DONE]"
    say(gateway, session, "Go on.")
    last = max((r for r in (one, two) if r.requests), key=lambda r: len(r.last.messages)).last
    assert roles_and_texts(last.messages) == [
        ("user", "Tell me."), ("assistant", reply.streamed_text), ("user", "Go on.")]


def test_a_stream_cut_after_all_its_tokens_ends_with_length_in_a_session_too(gateway, replica, session):
    replica.next(modes.stream_that("reset", after=3))
    reply = say(gateway, session, "Hello", stream=True, max_tokens=3)
    assert reply.events[-1] == "[DONE]" and reply.chunks[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_equal_idempotency_key_is_answered_from_the_store(gateway, replica, session, stream):
    once = [("Idempotency-Key", f"turn-{session}")]
    first = say(gateway, session, "My name is Ada.", fields=once, stream=stream)
    again = say(gateway, session, "My name is Ada.", fields=once, stream=stream)
    assert first.status == again.status == 200
    assert text_of(again) == text_of(first)
    assert replica.posts == 1
    say(gateway, session, "What is my name?")
    assert len(replica.last.messages) == 3


def test_a_library_s_repetition_is_not_a_second_turn_but_the_same_words_twice_are(gateway, replica, session):
    first = say(gateway, session, "Again!", fields=[("x-stainless-retry-count", "0")])
    repeated = say(gateway, session, "Again!", fields=[("x-stainless-retry-count", "1")])
    assert repeated.content == first.content and replica.posts == 1
    say(gateway, session, "Again!")
    assert replica.posts == 2 and [m["role"] for m in replica.last.messages] == ["user", "assistant", "user"]


def test_two_turns_at_once_come_one_after_the_other(gateway, replica, session):
    replica.mode = modes.delayed(0.05)
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda n: say(gateway, session, f"Turn {n}."), range(4)))
    assert [reply.status for reply in replies] == [200] * 4
    assert replica.running_max == 1
    say(gateway, session, "The end.")
    texts = [m["content"] for m in replica.last.messages if m["role"] == "user"]
    assert sorted(texts[:4]) == [f"Turn {n}." for n in range(4)]
    assert [m["role"] for m in replica.last.messages] == ["user", "assistant"] * 4 + ["user"]


def test_a_turn_that_waited_too_long_is_409_and_says_when_to_come_back(stage, redis, session):
    replica = stage.replica()
    gateway = stage.gateway([replica], redis={"address": redis.address}, sessions={"lockWait": "100ms"})
    steps = replica.steps()
    replica.mode = modes.held(steps)
    first = []
    thread = threading.Thread(target=lambda: first.append(say(gateway, session, "First")))
    thread.start()
    eventually(lambda: replica.running, "the first turn runs")
    reply = say(gateway, session, "Second")
    steps.allow(1)
    thread.join(20)
    assert reply.status == 409 and reply.error["code"] == "session_busy" and reply.field("retry-after")
    assert first[0].status == 200


def test_the_keys_of_a_session_have_one_hash_tag_and_a_sliding_life(stage, redis, session):
    gateway = stage.gateway(
        [stage.replica()], redis={"address": redis.address}, sessions={"ttl": "100s", "prefix": "test"})
    say(gateway, session, "My name is Ada.")
    keys = [key for key in redis.keys("test:*") if session in key]
    assert keys and all("{" + session + "}" in key for key in keys)
    lives = [redis.command("TTL", key) for key in keys]
    assert all(life > 0 for life in lives), "every key of a session ends by itself"
    content = [key for key in keys if 90 <= redis.command("TTL", key) <= 100]  # the owner's name stays for longer
    assert content
    for key in content:
        redis.command("EXPIRE", key, 50)
    say(gateway, session, "And I live in Turin.")
    assert all(redis.command("TTL", key) > 90 for key in content), "a turn prolongs the life"


def test_an_expired_session_starts_anew_and_says_so(stage, redis, session):
    replica = stage.replica()
    gateway = stage.gateway([replica], redis={"address": redis.address}, sessions={"ttl": "1s", "prefix": "short"})
    assert say(gateway, session, "My name is Ada.").field("x-session-started-anew") is None
    eventually(
        lambda: not redis.command("EXISTS", "short:s:{%s}:state" % session), "the session expires", pause=0.05)
    reply = say(gateway, session, "What is my name?")
    assert reply.content == "You did not tell me your name."
    assert reply.field("x-session-started-anew") == "true"


def test_while_redis_is_away_answers_are_marked_as_degraded_and_come_back_with_it(stage):
    redis = stage.redis()
    gateway = stage.gateway([stage.replica()], redis={"address": redis.address, "timeout": "200ms"})
    session = "outage"
    assert say(gateway, session, "My name is Ada.").field("x-session-degraded") is None
    redis.kill()
    plain = say(gateway, session, "Hello")
    assert plain.status == 200 and plain.field("x-session-degraded")
    stream = say(gateway, session, "Hello", stream=True)
    assert stream.status == 200 and stream.events[-1] == "[DONE]"
    assert stream.field("x-session-degraded") or ": x-session-degraded" in stream.text
    assert gateway.chat("No session").status == 200
    redis.start()
    eventually(
        lambda: say(gateway, session, "My name is Ada.").field("x-session-degraded") is None, "sessions work again",
        pause=0.05)
    # Each loop has a connection of its own, and each comes back in its own time.
    eventually(
        lambda: say(gateway, session, "What is my name?").content == "Your name is Ada.", "all loops remember",
        pause=0.05)


def test_a_redis_that_dies_during_a_turn_degrades_it_before_the_end_of_the_stream(stage):
    redis = stage.redis()
    replica = stage.replica()
    gateway = stage.gateway([replica], redis={"address": redis.address, "timeout": "200ms"})
    say(gateway, "s", "My name is Ada.")
    steps = replica.steps(allowed=2)
    replica.mode = modes.streamed(steps=steps)
    with gateway.connect() as connection:
        connection.send_request(
            "POST", "/v1/chat/completions",
            b'{"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi"}]}', [("x-session-id", "s")], KEY)
        status, fields = connection.read_head()
        redis.kill()
        steps.allow(50)
        text = connection.read_body(fields).decode()
    assert status == 200
    assert text.index(": x-session-degraded") < text.index("data: [DONE]")


def test_refuse_answers_503_while_redis_is_away(stage):
    redis = stage.redis()
    replica = stage.replica()
    gateway = stage.gateway(
        [replica], redis={"address": redis.address, "timeout": "200ms"}, sessions={"onUnavailable": "refuse"})
    assert say(gateway, "s", "Hello").status == 200
    redis.kill()
    reply = say(gateway, "s", "Hello")
    assert reply.status == 503 and reply.error["code"] == "sessions_unavailable" and reply.field("retry-after")
    assert gateway.chat("No session").status == 200
    assert replica.posts == 2


def test_a_redis_that_hangs_costs_a_request_no_more_than_its_time_limit(stage):
    redis = stage.redis()
    gateway = stage.gateway([stage.replica()], redis={"address": redis.address, "timeout": "200ms"})
    assert say(gateway, "s", "Hello").field("x-session-degraded") is None
    redis.process.send_signal(19)  # SIGSTOP
    try:
        reply = say(gateway, "s", "Hello")
        assert reply.status == 200 and reply.field("x-session-degraded")
        assert gateway.chat("No session").status == 200
    finally:
        redis.process.send_signal(18)  # SIGCONT


def test_without_a_redis_section_a_named_session_is_degraded_and_served(stage):
    gateway = stage.gateway([stage.replica()])
    reply = say(gateway, "s", "Hello")
    assert reply.status == 200 and reply.field("x-session-degraded")


def test_a_key_made_over_the_admin_socket_works_at_once_and_ends_when_revoked(gateway, redis):
    made = gateway.admin("POST", "/admin/v1/keys", b'{"name":"ci"}')
    assert made.status == 201
    secret, key_id = made.json["key"], made.json["id"]
    assert gateway.chat("Hello", key=secret).status == 200
    listed = gateway.admin("GET", "/admin/v1/keys").text
    assert key_id in listed and secret not in listed
    stored = "".join(str(redis.command("HGETALL", key)) for key in redis.keys("*record*"))
    assert key_id in str(redis.keys("*record*")) and secret not in stored
    assert gateway.admin("DELETE", f"/admin/v1/keys/{key_id}").status == 200
    assert gateway.chat("Hello", key=secret).status == 401


def test_keys_in_redis_survive_a_restart_and_mean_503_while_redis_was_never_there(stage):
    redis = stage.redis()
    replica = stage.replica()
    first = stage.gateway([replica], redis={"address": redis.address})
    secret = first.admin("POST", "/admin/v1/keys", b'{"name":"ci"}').json["key"]
    first.stop()
    second = stage.gateway([replica], redis={"address": redis.address})
    eventually(lambda: second.chat("Hello", key=secret).status == 200, "the key is loaded")
    second.stop()
    redis.command("SAVE")
    redis.kill()
    third = stage.gateway([replica], redis={"address": redis.address})
    reply = third.chat("Hello", key=secret)
    assert reply.status == 503 and reply.error["code"] == "keys_unavailable"
    assert third.chat("Hello", key=KEY).status == 200, "keys of the file need no Redis"
    redis.start()
    eventually(lambda: third.chat("Hello", key=secret).status == 200, "the key is loaded when Redis is there")


def test_the_history_is_not_in_the_log(gateway, session):
    reply = say(gateway, session, "The canary sings.")
    assert gateway.access_line(reply.field("x-request-id"))["session"] is True
    assert "canary" not in gateway.log_text() and session not in gateway.log_text()
