"""The gateway over three real `weir-replica` processes with the tiny model: the product as it is meant to be used."""

import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from harness.gateway import ROOT, clean_environment, weir_bin
from harness.waiting import eventually

MODEL = ROOT / "Models/tiny/weir-tiny.gguf"
#: The exit status of an executable that was built without llama.cpp.
WITHOUT_ENGINE = 69
HELLO = [{"role": "user", "content": "Hello!"}]
WEIGHTS = {"one": 5, "two": 3, "three": 1}


class EngineReplica:
    """One `weir-replica` process, on a port that the kernel chose."""

    def __init__(self, program, name):
        self.name = name
        self.process = subprocess.Popen(
            [program, "--model", MODEL, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=clean_environment())
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), f"weir-replica says {line!r}"
        self.url = line.split()[-1]

    def is_healthy(self):
        if self.process.poll() is not None:
            raise AssertionError(f"weir-replica ended with {self.process.returncode}")
        try:
            with urllib.request.urlopen(self.url + "/health", timeout=5) as reply:
                return reply.status == 200
        except urllib.error.URLError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def replicas():
    program = Path(os.environ.get("WEIR_REPLICA_BIN") or weir_bin().parent / "weir-replica")
    if not program.exists():
        pytest.skip(f"{program} is missing: `swift build --product weir-replica --traits Engine` makes it")
    assert MODEL.exists(), f"{MODEL} is missing"
    tried = subprocess.run([program, "--model", "absent.gguf", "--port", "0"], capture_output=True, timeout=60)
    if tried.returncode == WITHOUT_ENGINE:
        pytest.skip(f"{program} was built without the engine")
    replicas = [EngineReplica(program, name) for name in WEIGHTS]
    try:
        for replica in replicas:
            eventually(replica.is_healthy, f"{replica.name} is healthy", seconds=60)
        yield replicas
    finally:
        for replica in replicas:
            replica.kill()


@pytest.fixture(scope="module")
def gateway(shared, replicas):
    redis = shared.redis()
    gateway = shared.gateway(
        [{"name": r.name, "url": r.url, "kind": "weir", "weight": WEIGHTS[r.name]} for r in replicas],
        pool={"models": ["weir-tiny"], "probe": {"interval": "1s", "timeout": "1s", "fall": 3}},
        redis={"address": redis.address})
    gateway.wait_for(WEIGHTS)
    return gateway


@pytest.fixture
def client(gateway, client_of):
    return client_of(gateway)


def test_the_tiny_model_answers_in_words(client):
    answer = client.chat.completions.create(
        model="weir-tiny", messages=[{"role": "user", "content": "Hello!"}], max_tokens=40, temperature=0)
    assert answer.choices[0].message.content.strip()
    assert answer.usage.completion_tokens > 0 and answer.usage.prompt_tokens > 0


def test_a_stream_says_the_same_as_the_plain_answer(client):
    asked = {"model": "weir-tiny", "messages": HELLO, "max_tokens": 40, "temperature": 0}
    plain = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_the_model_remembers_a_name_through_the_session(client, stream):
    def say(text):
        answer = client.chat.completions.create(
            model="weir-tiny", messages=[{"role": "user", "content": text}], stream=stream, max_tokens=60,
            temperature=0, extra_headers={"X-Session-ID": f"ada-{stream}"})
        if not stream:
            return answer.choices[0].message.content
        return "".join(choice.delta.content or "" for chunk in answer for choice in chunk.choices)

    assert say("My name is Ada.")
    assert "Ada" in say("What is my name?")


def test_a_killed_engine_costs_no_request(gateway, replicas, client_of):
    client = client_of(gateway)
    asked = {"model": "weir-tiny", "messages": HELLO, "max_tokens": 20, "temperature": 0}
    first = client.chat.completions.create(**asked).choices[0].message.content
    for number in range(30):
        if number == 8:
            replicas[0].kill()
        assert client.chat.completions.create(**asked).choices[0].message.content == first
    gateway.wait_for({"two", "three"})
