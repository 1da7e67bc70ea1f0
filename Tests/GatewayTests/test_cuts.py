"""Streams that are cut behind every byte."""

import pytest
from harness import cuts
from harness.gateway import chat_body
from harness.load import CHAT, problem_with
from harness.modes import answer_text

QUICK = {"interval": "1s", "timeout": "1s", "fall": 2, "rise": 1, "ramp": "0s", "warmUp": False}


@pytest.mark.parametrize("escapes", [True, False], ids=["escaped", "in UTF-8"])
@pytest.mark.parametrize("ending", ["reset", "close"])
def test_a_stream_cut_behind_any_byte_is_whole(stage, ending, escapes):
    """Head, chunk sizes, line ends, JSON, escapes, characters of several bytes, the finish reason, the marker: all."""
    pair = stage.replicas("one", "two")
    gateway = stage.gateway(pair, pool={"probe": QUICK})
    messages = [{"role": "user", "content": cuts.ALL_SCRIPTS}]
    expected = answer_text(messages)
    wire = cuts.Cut(None, ending, escapes)
    pair[0].mode = pair[1].mode = wire.mode
    body = chat_body(*messages, stream=True)
    assert problem_with(gateway.chat(*messages, stream=True), expected) is None
    total = wire.length
    # Every second byte; the other ending takes the others.
    for place in range(0 if ending == "reset" else 1, total, 2):
        gateway.wait_for({"one", "two"})
        wire.place = place
        reply = gateway.request("POST", CHAT, body)
        assert problem_with(reply, expected) is None, f"cut behind byte {place}: {problem_with(reply, expected)}"
        assert wire.place is None, f"not cut behind byte {place}"
