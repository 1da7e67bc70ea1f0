"""Chat completions through the official client: plain, streamed, and with usage."""

import openai
import pytest
from harness import modes
from harness.gateway import KEY, chat_body
from harness.modes import answer_text

QUESTION = [{"role": "user", "content": "Tell me about rivers."}]


@pytest.fixture(scope="module")
def gateway(shared, replica):
    return shared.gateway([replica])


@pytest.fixture(autouse=True)
def fresh(replica):
    replica.forget()


@pytest.fixture(scope="module")
def client(gateway, client_of):
    return client_of(gateway)


def test_a_chat_completion_is_the_replica_s_answer(client, replica):
    completion = client.chat.completions.create(model="tiny", messages=QUESTION)
    assert completion.choices[0].message.content == answer_text(QUESTION)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert completion._request_id
    assert replica.last.messages == QUESTION


def test_a_stream_has_one_role_and_the_whole_text_and_an_end(client):
    chunks = list(client.chat.completions.create(model="tiny", messages=QUESTION, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer_text(QUESTION)
    assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_a_stream_without_include_usage_has_no_usage_chunk_though_the_replica_is_asked_for_one(client, replica):
    chunks = list(client.chat.completions.create(model="tiny", messages=QUESTION, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert replica.last.json["stream_options"] == {"include_usage": True}


def test_a_stream_with_include_usage_ends_with_its_usage(client):
    chunks = list(client.chat.completions.create(
        model="tiny", messages=QUESTION, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 10
    assert sum(chunk.usage is not None for chunk in chunks) == 1


def test_usage_is_supplied_where_the_replica_leaves_it_and_the_marker_out(gateway, replica):
    replica.mode = modes.without_done
    reply = gateway.chat("Hello", stream=True, stream_options={"include_usage": True})
    assert reply.events[-1] == "[DONE]"
    assert reply.chunks[-1]["choices"] == [] and reply.chunks[-1]["usage"]["completion_tokens"] == 10


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_stream_survives_any_split_into_chunks(gateway, replica, size):
    replica.mode = modes.split_oddly(size)
    reply = gateway.chat("Grüße 😀", stream=True)
    assert reply.streamed_text == answer_text([{"role": "user", "content": "Grüße 😀"}])
    assert reply.events[-1] == "[DONE]"


@pytest.mark.parametrize("mode", [modes.chunked_whole, modes.until_close], ids=["chunked", "until close"])
def test_a_plain_answer_is_read_in_every_framing(gateway, replica, mode):
    replica.mode = mode
    reply = gateway.chat("Hello")
    assert reply.status == 200 and reply.content == answer_text([{"role": "user", "content": "Hello"}])


def test_a_stream_is_sent_with_what_proxies_and_browsers_need(gateway):
    reply = gateway.chat("Hello", stream=True)
    assert reply.field("content-type") == "text/event-stream; charset=utf-8"
    assert reply.field("cache-control") == "no-cache"
    assert reply.field("x-accel-buffering") == "no"
    assert reply.field("x-weir-replica") == "one" and reply.field("x-weir-attempts") == "1"


def test_the_second_event_is_here_while_the_third_is_held_back(gateway, replica):
    steps = replica.steps()
    replica.mode = modes.streamed(steps=steps)
    with gateway.connect() as connection:
        connection.send_request(
            "POST", "/v1/chat/completions", chat_body("Hi", stream=True), key=KEY)
        steps.allow(1)
        status, _ = connection.read_head()
        assert status == 200
        events = connection.events()
        pieces = modes.pieces_of({"messages": [{"role": "user", "content": "Hi"}]})
        assert '"role": "assistant"' in next(events)
        assert pieces[0] in next(events)
        for piece in pieces[1:]:
            steps.allow(1)
            assert piece in next(events)
        steps.allow(1)
        assert list(events)[-1] == "[DONE]"


def test_completions_and_embeddings_take_the_same_path(client, replica):
    completion = client.completions.create(model="tiny", prompt="Once")
    assert completion.choices[0].text and replica.last.path == "/v1/completions"
    embedding = client.embeddings.create(model="tiny", input="Once", encoding_format="float")
    assert embedding.data[0].embedding == [0.5, -0.25] and replica.last.path == "/v1/embeddings"


def test_the_models_are_listed_and_found(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    model = client.models.retrieve("tiny")
    assert (model.id, model.object) == ("tiny", "model") and model.created > 0
    with pytest.raises(openai.NotFoundError) as problem:
        client.models.retrieve("absent")
    assert problem.value.code == "model_not_found"


def test_a_body_reaches_the_replica_byte_for_byte_but_for_what_is_edited(gateway, replica):
    body = b'{ "model":"tiny",\t"messages":[{"role":"user","content":"\\u00e9 \xc3\xa9 \\/"}], "seed":1e2,"x":[ ]}'
    assert gateway.request("POST", "/v1/chat/completions", body).status == 200
    assert replica.last.body == body


def test_many_requests_share_a_connection_and_arrive_in_order(gateway, replica):
    with gateway.connect() as connection:
        for number in range(3):
            connection.send_request("POST", "/v1/chat/completions", chat_body(f"Number {number}"), key=KEY)
        for number in range(3):
            reply = connection.read_reply()
            assert reply.content == answer_text([{"role": "user", "content": f"Number {number}"}])


def test_an_expected_continue_is_given(gateway, replica):
    with gateway.connect() as connection:
        body = chat_body("Hello")
        connection.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
            % (KEY.encode(), len(body)))
        assert connection.read_head()[0] == 100
        connection.send(body)
        assert connection.read_reply().status == 200


def test_a_request_in_chunks_reaches_the_replica_whole(gateway, replica):
    with gateway.connect() as connection:
        body = chat_body("In pieces")
        connection.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\ntransfer-encoding: chunked\r\n\r\n" % KEY.encode())
        for start in range(0, len(body), 5):
            piece = body[start:start + 5]
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        assert connection.read_reply().status == 200
    assert replica.last.body == body and replica.last.field("transfer-encoding") is None
