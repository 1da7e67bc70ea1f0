"""Fixtures: gateways and replicas that the tests of one file share. And what runs when, and is shown of what failed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.gateway import KEY, Gateway  # noqa: E402
from harness.redis import Redis  # noqa: E402
from harness.replica import Replica  # noqa: E402


#: The files that take longest, longest first: begun last, they would be waited for.
LONGEST = ("test_resume.py", "test_faults.py", "test_outages.py", "test_health.py", "test_cuts.py", "test_restarts.py")


def pytest_collection_modifyitems(config, items):
    """Side by side, the longest files come first (`--dist loadfile --no-loadscope-reorder` keeps that order)."""
    if not hasattr(config, "workerinput"):
        return
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that fails shows what the gateways said that run at that time."""
    report = yield
    if report.failed:
        report.sections += [(f"{gateway.directory} said", gateway.last_words()) for gateway in Gateway.running]
    return report


class Stage:
    """Makes replicas, gateways and redis-servers, and ends all of them, the gateways first."""

    def __init__(self, factory):
        self._factory = factory
        self._made = []

    def replica(self, name="one", mode=None, **place):
        return self._keep(Replica(name, mode, **place))

    def replicas(self, *names):
        return [self.replica(name) for name in names]

    def gateway(self, replicas, **changes):
        return self._keep(Gateway.start(replicas, **changes))

    def redis(self):
        return self._keep(Redis(self._factory.mktemp("redis")))

    def _keep(self, made):
        self._made.append(made)
        return made

    def clear(self):
        problems = []
        for made in reversed(self._made):
            try:
                made.stop()
            except AssertionError as problem:
                problems.append(problem)
        self._made = []
        if problems:
            raise problems[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A stage for what a file's tests share."""
    stage = Stage(tmp_path_factory)
    yield stage
    stage.clear()


@pytest.fixture(scope="module")
def replica(shared):
    """A replica that a file's tests share; a file that needs another kind has a fixture of this name of its own."""
    return shared.replica()


@pytest.fixture
def stage(tmp_path_factory):
    """A stage for one test."""
    stage = Stage(tmp_path_factory)
    yield stage
    stage.clear()


def openai_client(gateway, key=KEY, **options):
    """The official client. It does not retry, unless told to, so that a failure is seen."""
    import openai

    options.setdefault("max_retries", 0)
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key=key, timeout=30, **options)


@pytest.fixture(scope="session")
def client_of():
    """`client_of(gateway)`: the official client for a gateway."""
    clients = []

    def make(gateway, key=KEY, **options):
        clients.append(openai_client(gateway, key, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
