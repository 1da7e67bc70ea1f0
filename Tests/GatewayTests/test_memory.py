"""What an open stream costs the gateway: of memory that is the process's own, not shared with its executable."""

import contextlib
import re
from pathlib import Path

import pytest
from harness.gateway import KEY, chat_body, replica_settings, weir_bin

pytestmark = pytest.mark.alone

CHAT = "/v1/chat/completions"
#: Of each further stream: 5.2 to 5.4, and 6.3 at least as soon as the frames of its tasks need a second slab
#: (docs/performance.md, "Memory of an open stream").
KIB_MAX = 6.0


async def begun(exchange):
    """A stream that has said one word and says no other."""
    exchange.stream_head()
    exchange.event(exchange.chunk_document({"role": "assistant", "content": ""}))
    exchange.event(exchange.chunk_document({"content": "Yes"}))
    await exchange.connection.gone.wait()


def own_kib(pid):
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous: +(\d+) kB", rollup, re.MULTILINE)[1])


@pytest.mark.skipif("debug" in weir_bin().parts, reason="frames of the debug build are several times as large")
def test_an_open_stream_costs_no_more_than_it_did(stage):
    replica = stage.replica(mode=begun)
    gateway = stage.gateway([replica_settings(replica, maxInFlight=2000)])
    with contextlib.ExitStack() as streams:

        def open_streams(count):
            for _ in range(count):
                connection = streams.enter_context(gateway.connect())
                connection.send_request("POST", CHAT, chat_body("Hello", stream=True), key=KEY)
                connection.read_head()
                events = connection.events()
                while "Yes" not in next(events):
                    pass
            return own_kib(gateway.process.pid)

        # The first ones also pay for what all share.
        few = open_streams(200)
        many = open_streams(1000)
    assert (many - few) / 1000 <= KIB_MAX
