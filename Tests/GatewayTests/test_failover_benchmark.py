"""The sixteen scenarios of Failover Bench, a public benchmark of what gateways do when the provider behind them fails.

https://github.com/failoverbench/failoverbench (methodology 0.1, scorecard of September 2026: the best gateway passes
11, LiteLLM and Bifrost 9). Written anew from its catalogue; nothing of it is copied. Its set-up: one provider that
serves a model which misbehaves, another model as the fallback, two retries. Its verdict: *pass* is the whole answer (a
clean error in S13) and every check met, advisory ones included. Its seconds are shorter here, and so are their limits.
"""

import threading
import time

import pytest
from harness import cuts, modes
from harness.gateway import KEY, chat_body
from harness.load import CHAT, problem_with
from harness.modes import answer_text
from harness.waiting import eventually

pytestmark = pytest.mark.alone

ASKED = [{"role": "user", "content": "Explain in exactly sixty words why a gateway earns trust."}]
EXPECTED = answer_text(ASKED)
#: Half a second for what the benchmark gives 30 s; 10 s to the first token there.
TIMEOUTS = {"firstByte": "500ms", "firstContent": "500ms", "streamStall": "500ms", "firstContentPerKiB": "0s"}
PROBE = {"interval": "1s", "timeout": "1s", "ramp": "0s", "warmUp": False}


class Bench:
    """A provider, and a gateway whose model `primary` is served by it as is `spare`, the fallback."""

    def __init__(self, stage, provider):
        self.provider = provider
        self.gateway = stage.gateway([], timeouts=TIMEOUTS, pools=[
            self._pool({"name": "primary", "fallback": ["spare"]}), self._pool({"name": "spare"})])
        self.gateway.wait_for({"at-primary", "at-spare"})
        self.began = None
        self.times = []
        self._modes = {"primary": [modes.answer], "spare": [modes.answer]}
        self._lock = threading.Lock()
        provider.mode = self._mode

    def _pool(self, model):
        return {
            "name": model["name"], "models": [model], "probe": PROBE,
            "replicas": [{"name": f"at-{model['name']}", "url": self.provider.url, "kind": "vllm"}],
        }

    def primary(self, *faults):
        """How the primary model answers, one after the other; the last of them from there on."""
        self._modes["primary"] = list(faults)

    def spare(self, *faults):
        self._modes["spare"] = list(faults)

    async def _mode(self, exchange):
        model = exchange.body["model"]
        with self._lock:
            if model == "primary":
                self.times.append(time.monotonic())
            queue = self._modes[model]
            mode = queue.pop(0) if len(queue) > 1 else queue[0]
        await mode(exchange)

    def ask(self, model="primary", **members):
        """One streamed call, as the benchmark makes it."""
        body = chat_body(*ASKED, model=model, stream=True, stream_options={"include_usage": True}, **members)
        return self.gateway.request("POST", CHAT, body, key=KEY)

    def attempts(self, model="primary"):
        return sum(request.json["model"] == model for request in self.provider.requests)

    def assert_rescued(self, reply):
        assert problem_with(reply, EXPECTED) is None, problem_with(reply, EXPECTED)
        assert self.is_alive()

    def is_alive(self):
        return problem_with(self.ask("spare"), EXPECTED) is None


@pytest.fixture
def bench(stage):
    return Bench(stage, stage.replica())


def test_s01_a_429_with_retry_after_is_asked_again_when_it_said(bench):
    bench.primary(modes.status(429, "retry-after: 2"), modes.answer)
    reply = bench.ask()
    bench.assert_rescued(reply)
    assert bench.attempts() == 2
    assert bench.times[1] - bench.times[0] >= 1.8


def test_s02_a_429_without_retry_after_that_stays_is_never_hammered(bench):
    bench.primary(modes.status(429))
    reply = bench.ask()
    assert bench.attempts() <= 4
    bench.assert_rescued(reply)


def test_s03_a_500_once_is_asked_again_there(bench):
    bench.primary(modes.broken, modes.answer)
    bench.assert_rescued(bench.ask())
    assert bench.attempts() == 2


def test_s04_a_503_that_stays_falls_back_within_the_retries(bench):
    bench.primary(modes.status(503))
    bench.assert_rescued(bench.ask())
    assert bench.attempts() <= 6


def test_s05_a_reset_before_the_head_is_answered_all_the_same(bench):
    bench.primary(modes.reset, modes.answer)
    bench.assert_rescued(bench.ask())


def test_s06_a_provider_that_never_answers_is_left_at_its_time_and_not_asked_again(bench):
    bench.primary(modes.half_open)
    bench.assert_rescued(bench.ask())
    assert bench.attempts() == 1


def test_s07_a_first_token_that_is_too_late_falls_back(bench):
    bench.primary(modes.hang_after_head)
    bench.assert_rescued(bench.ask())
    assert bench.attempts() == 1


def test_s08_a_stream_that_is_cut_is_delivered_whole(bench):
    bench.primary(cuts.cut_long_ones("close", after=6))
    bench.assert_rescued(bench.ask())


def test_s09_a_stream_that_stalls_is_delivered_whole(bench):
    bench.primary(modes.stream_that("hang", after=3))
    bench.assert_rescued(bench.ask())


def test_s10_a_malformed_event_harms_nothing(bench):
    """The provider goes on after it as if nothing had been."""
    bench.primary(cuts.malformed_within)
    bench.assert_rescued(bench.ask())


def test_s11_a_stream_without_done_is_ended_at_once_and_has_its_usage(bench):
    bench.primary(cuts.without_done("end"))
    reply = bench.ask()
    bench.assert_rescued(reply)
    assert bench.attempts() == 1
    assert reply.chunks[-1]["usage"]["completion_tokens"] > 0


def client_error(code):
    body = b'{"error":{"message":"No.","type":"invalid_request_error","param":"messages","code":"%b"}}' % code.encode()
    return modes.status(400, body=body)


def test_s12_a_prompt_that_is_too_long_goes_to_the_larger_model_and_not_there_again(bench):
    bench.primary(client_error("context_length_exceeded"))
    bench.assert_rescued(bench.ask())
    assert bench.attempts() == 1


def test_s13_a_refusal_of_the_content_is_passed_on_and_nobody_else_is_asked(bench):
    bench.primary(client_error("content_policy_violation"))
    reply = bench.ask()
    assert reply.status == 400 and reply.error["code"] == "content_policy_violation"
    assert (bench.attempts(), bench.attempts("spare")) == (1, 0)
    assert bench.is_alive()


@pytest.mark.parametrize("primary", ["goes on", "stalls each time"])
def test_s14_a_fallback_that_refuses_a_prefill_does_not_hide_what_happened(bench, primary):
    async def without_prefill(exchange):
        if exchange.body["messages"][-1]["role"] == "assistant":
            return await client_error("invalid_prefill")(exchange)
        await modes.answer(exchange)

    bench.primary(cuts.cut_long_ones("close", after=6) if primary == "goes on" else modes.stream_that("hang"))
    bench.spare(without_prefill)
    bench.assert_rescued(bench.ask())


def test_s15_a_primary_that_is_down_for_a_while_is_used_again_when_it_is_back(bench):
    bench.primary(modes.status(503))
    for _ in range(15):
        assert problem_with(bench.ask(), EXPECTED) is None
    # A breaker or a pause, but not three attempts for every request.
    assert bench.attempts() <= 15
    bench.primary(modes.answer)
    before = bench.attempts()

    def is_back():
        reply = bench.ask()
        assert problem_with(reply, EXPECTED) is None
        return reply.chunks[0]["model"] == "primary"

    eventually(is_back, "the primary is used again")
    assert bench.attempts() > before


def test_s16_the_reply_names_the_fallback_and_the_failed_attempts_cost_nothing(bench):
    bench.primary(modes.status(503))
    reply = bench.ask()
    bench.assert_rescued(reply)
    assert {chunk["model"] for chunk in reply.chunks} == {"spare"}
    usage = reply.chunks[-1]["usage"]
    assert usage["completion_tokens"] == len(modes.pieces_of({"messages": ASKED}))
    assert bench.attempts() <= 6
    line = bench.gateway.access_line(reply.field("x-request-id"))
    assert line["completion_tokens"] == usage["completion_tokens"] and line["fallback"] == "spare"
