"""The pytest plugin: the fixtures ``tinkex_server``, ``tinkex_service`` and ``tinkex_url``.

pytest finds it by itself where Tinkex is installed. Nothing is started, and numpy is not imported, until a test asks
for a fixture. Each worker of ``pytest-xdist`` has a server of its own.

In a ``unittest.TestCase`` with ``@pytest.mark.usefixtures("tinkex_server")``, the value of a fixture is an attribute
of the test of the same name: ``self.tinkex_server``.
"""

from __future__ import annotations

import os
import unittest
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from tinkex.service_client import ServiceClient
    from tinkex.testing.server import TinkerServer

T = TypeVar("T")
_FAILED: pytest.StashKey[bool] = pytest.StashKey()
_READERS_OF_WARNINGS = frozenset({"recwarn"})


@pytest.fixture(scope="session")
def tinkex_models() -> Mapping[str, int | None]:
    """The base models that ``tinkex_server`` offers beside ``tinkex/byte-lm``, with the sizes of their vocabularies.

    There are none unless a ``conftest.py`` replaces this fixture by one of the same name.

    Example::

        import pytest

        @pytest.fixture(scope="session")
        def tinkex_models():
            return {"Qwen/Qwen3-8B": 151936}

        def test_the_real_name(tinkex_service, tinkex_server):
            tinkex_service.create_lora_training_client("Qwen/Qwen3-8B", rank=8)
            assert tinkex_server.models[0].base_model == "Qwen/Qwen3-8B"
    """
    return {}


@pytest.fixture(scope="session")
def _tinkex_session_server(tinkex_models: Mapping[str, int | None]) -> Iterator[TinkerServer]:
    from tinkex.testing import TinkerServer

    with TinkerServer(models=tinkex_models) as server:
        yield server


@pytest.fixture
def tinkex_server(
    _tinkex_session_server: TinkerServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TinkerServer]:
    """A ``tinkex.testing.TinkerServer`` of the whole session, whose state is reset for each test.

    A proxy that the environment names is not used for it.

    Example::

        def test_a_step_is_sent_again_after_a_refusal(tinkex_server, tinkex_service):
            tinkex_server.fail_next("optim_step", status=503)
            training = tinkex_service.create_lora_training_client("tinkex/byte-lm")
            training.optim_step(types.AdamParams()).result()
            assert len(tinkex_server.requests.to("optim_step")) == 2
            assert tinkex_server.models[training].steps == 1

        def test_the_next_test_sees_nothing_of_it(tinkex_server):
            assert len(tinkex_server.requests) == len(tinkex_server.models) == 0
    """
    for name in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(name)
        monkeypatch.setenv(name, f"{known},127.0.0.1" if known else "127.0.0.1")
    try:
        yield _given(request, "tinkex_server", _tinkex_session_server)
    finally:
        _tinkex_session_server.reset()


@pytest.fixture
def tinkex_url(
    tinkex_server: TinkerServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The base URL of ``tinkex_server``, with ``TINKER_BASE_URL`` and ``TINKER_API_KEY`` set for it.

    So code that makes a client of its own meets the server, also in a child process. Telemetry is off.

    Example::

        import pytest, unittest

        def program():
            with tinkex.ServiceClient() as service:
                service.create_lora_training_client("tinkex/byte-lm")

        def test_program(tinkex_url, tinkex_server):
            program()
            assert len(tinkex_server.models) == 1

        @pytest.mark.usefixtures("tinkex_url")
        class TestProgram(unittest.TestCase):
            def test_program(self):
                program()
                self.assertEqual(len(self.tinkex_server.models), 1)
    """
    from tinkex.training import wire_format

    # A client that has to find out the format would take a 400 on command for a server that reads no proto.
    wire_format.note(tinkex_server.url, "proto")
    monkeypatch.setenv("TINKER_BASE_URL", tinkex_server.url)
    monkeypatch.setenv("TINKER_API_KEY", tinkex_server.api_key)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    return _given(request, "tinkex_url", tinkex_server.url)


@pytest.fixture
def tinkex_service(tinkex_server: TinkerServer, request: pytest.FixtureRequest) -> Iterator[ServiceClient]:
    """An open ``ServiceClient`` of ``tinkex_server``, whose waits between two tries are short.

    At the end it is closed, after the faults of the test have ended. The test fails if a session, a thread or a
    connection of any client is left then, or a warning of Tinkex that the test has not caught. A test that has failed
    already is not checked.

    Example::

        def test_the_base_model_answers(tinkex_service):
            sampler = tinkex_service.create_sampling_client(base_model="tinkex/byte-lm")
            prompt = types.ModelInput.from_ints([1, 2])
            answer = sampler.sample(prompt, 1, types.SamplingParams(max_tokens=3)).result()
            assert len(answer.sequences) == 1
    """
    from tinkex.service_client import ServiceClient
    from tinkex.testing.leftovers import Watch

    watch = Watch(tinkex_server, read_warnings=_READERS_OF_WARNINGS.isdisjoint(request.fixturenames))
    with watch:
        service = ServiceClient(config=tinkex_server.config(), heartbeat_interval=10.0)
        try:
            yield _given(request, "tinkex_service", service)
        finally:
            tinkex_server.clear_faults()
            service.close()
    if not request.node.stash.get(_FAILED, False):
        left = watch.left()
        if left:
            pytest.fail("left after the test: " + "; ".join(left), pytrace=False)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Remember whether a test has failed. A plugin may run a failed test again, which then begins with its setup."""
    outcome = yield
    if outcome.get_result().failed or call.when == "setup":
        item.stash[_FAILED] = outcome.get_result().failed


def _given(request: pytest.FixtureRequest, name: str, value: T) -> T:
    """Return ``value``, and make it an attribute of a ``unittest.TestCase``."""
    if isinstance(request.instance, unittest.TestCase):
        setattr(request.instance, name, value)
    return value
