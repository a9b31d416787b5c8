"""The fixtures, in projects of their own that pytest runs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import run_python

Project = Callable[..., tuple[int, str]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Runs pytest on a file with this content; returns the exit status and the output."""

    def run(content: str, *options: str) -> tuple[int, str]:
        header = "import pytest, tinkex\nfrom tinkex import types\n"
        (tmp_path / "test_it.py").write_text(header + textwrap.dedent(content), encoding="utf-8")
        done = run_python(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options, cwd=tmp_path
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_test_sees_nothing_of_the_one_before(project: Project) -> None:
    status, output = project(
        """
        import threading
        former = []

        def test_one(tinkex_server):
            service = tinkex.ServiceClient(config=tinkex_server.config())
            with_own_key = tinkex.ServiceClient(base_url=tinkex_server.url, api_key="tml-mine")
            training = service.create_lora_training_client("tinkex/byte-lm")
            training.save_state("kept").result()
            tinkex_server.fail_next("create_session", times=None)
            tinkex_server.on("optim_step", {"request_id": "never"})
            former.extend([tinkex_server.url, service, with_own_key, training, training.optim_step()])
            waiting = tinkex_server.delay("get_info", 60)
            former.append(training._session.start(training.get_info))
            tinkex_server.requests.wait_for("get_info")

        def test_two(tinkex_server):
            url, service, with_own_key, training, step, info = former
            assert tinkex_server.url == url
            for call in (info.result, service.get_server_capabilities, training.get_info, step.result):
                with pytest.raises((tinkex.AuthenticationError, tinkex.ClientPoisonedError, tinkex.NotFoundError)):
                    call()
            with pytest.raises(tinkex.AuthenticationError):
                with_own_key.create_lora_training_client("tinkex/byte-lm")
            assert list(tinkex_server.requests) == []
            assert tinkex_server.sessions == tinkex_server.models == tinkex_server.checkpoints == []
            with tinkex.ServiceClient(config=tinkex_server.config()) as mine:
                mine.create_lora_training_client("tinkex/byte-lm").optim_step().result()
            assert len(tinkex_server.sessions) == 1
        """
    )
    assert status == 0, output


LEFT = {
    "session": (
        "kept.append(tinkex.ServiceClient(config=tinkex_server.config()))",
        r"session \S+ is open; thread tinkex-heartbeat-scheduler runs; 1 sockets are connected",
    ),
    "thread": (
        "kept.append(tinkex.RestClient(config=tinkex_server.config())); kept[-1].list_sessions().result()",
        "thread tinkex-rest-1 runs; 1 sockets are connected",
    ),
    "socket": (
        "import requests; kept.append(requests.Session()); kept[-1].get(tinkex_server.url)",
        "1 sockets",
    ),
    "warning": (
        "tinkex.ServiceClient(config=tinkex_server.config(), nonsense=1).close()",
        "unread warning FutureWarning: ServiceClient ignores unknown arguments: nonsense",
    ),
    "warning of the server": (
        "answer = tinkex.testing.Reply(200, {'supported_models': []}, {'Warning': '299 tinkex \"take care\"'}); "
        "tinkex_server.on('get_server_capabilities', answer); tinkex_service.get_server_capabilities()",
        "unread warning ServerWarning: take care",
    ),
}


@pytest.mark.parametrize("kind", LEFT)
def test_what_is_left_behind_fails_the_test(project: Project, kind: str) -> None:
    code, what = LEFT[kind]
    status, output = project(
        f"""
        kept = []

        def test_leak(tinkex_server, tinkex_service):
            {code}

        def test_clean(tinkex_server, tinkex_service):
            tinkex_service.create_lora_training_client("tinkex/byte-lm").optim_step().result()
        """,
        "-W",
        "default",
    )
    assert status == 1, output
    assert re.search(r"left after the test: .*" + what, output), output
    assert "2 passed" in output
    assert "1 error" in output


def test_what_a_test_has_read_and_what_others_warn_of_is_no_failure(project: Project) -> None:
    status, output = project(
        """
        import warnings

        def test_caught(tinkex_server, tinkex_service):
            with pytest.warns(FutureWarning):
                tinkex.ServiceClient(config=tinkex_server.config(), nonsense=1).close()

        def test_recorded(tinkex_server, tinkex_service, recwarn):
            tinkex.ServiceClient(config=tinkex_server.config(), nonsense=1).close()
            assert len(recwarn) == 1

        def test_of_others(tinkex_service):
            warnings.warn("of the program")
        """,
        "-W",
        "default",
    )
    assert status == 0, output
    assert "of the program" in output, "pytest still shows it"


def test_a_test_that_failed_is_not_blamed_twice(project: Project) -> None:
    status, output = project(
        """
        kept = []

        def test_fails(tinkex_server, tinkex_service):
            kept.append(tinkex.ServiceClient(config=tinkex_server.config()))
            assert 0
        """
    )
    assert status == 1
    assert "1 failed" in output
    assert "error" not in output.splitlines()[-1]


def test_code_with_clients_of_its_own_meets_the_server(project: Project) -> None:
    status, output = project(
        """
        import os, subprocess, sys, unittest

        def test_a_refused_pass_is_not_sent_again_in_another_format(tinkex_server, tinkex_url):
            datum = types.Datum(types.ModelInput.from_ints([1]), {"target_tokens": [2], "weights": [1.0]})
            with tinkex.ServiceClient() as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                tinkex_server.fail_next("forward_backward", status=400)
                with pytest.raises(tinkex.BadRequestError):
                    training.forward_backward([datum], "cross_entropy").result()

        def test_here_and_in_a_child(tinkex_server, tinkex_url):
            code = "import tinkex\\nwith tinkex.ServiceClient() as s: s.create_lora_training_client('tinkex/byte-lm')"
            exec(code)
            subprocess.run([sys.executable, "-c", code], check=True)
            assert [session.status for session in tinkex_server.sessions] == ["client_finished"] * 2
            assert len(tinkex_server.models) == 2

        @pytest.mark.usefixtures("tinkex_url", "tinkex_service")
        class TestOld(unittest.TestCase):
            def test_it(self):
                self.assertEqual(self.tinkex_url, os.environ["TINKER_BASE_URL"])
                self.tinkex_service.get_server_capabilities()
                self.assertEqual(len(self.tinkex_server.requests.to("get_server_capabilities")), 1)

        def test_afterwards():
            assert "TINKER_API_KEY" not in os.environ
        """
    )
    assert status == 0, output


def test_a_proxy_of_the_environment_is_not_used(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org")
    status, output = project("def test_it(tinkex_service): tinkex_service.get_server_capabilities()\n")
    assert status == 0, output


def test_the_plugin_loads_fast() -> None:
    """Importing it, which every run of pytest does, imports neither numpy nor the embedded server."""
    code = (
        "import sys, tinkex.testing.plugin; "
        "print([name for name in sys.modules if name.startswith(('numpy', 'tinkex.local', 'tinkex.wire.messages'))])"
    )
    done = run_python("-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_many_tests_on_several_workers(project: Project) -> None:
    status, output = project(
        """
        @pytest.mark.parametrize("number", range(40))
        def test_it(tinkex_server, tinkex_service, number):
            assert len(tinkex_server.sessions) == 1
            tinkex_server.fail_next("optim_step", status=503)
            training = tinkex_service.create_lora_training_client("tinkex/byte-lm")
            training.optim_step().result()
            assert len(tinkex_server.requests.to("optim_step")) == 2
        """,
        "-n",
        "2",
    )
    assert status == 0, output
    assert "40 passed" in output


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['numpy'] = None; from tinkex.testing import TinkerServer"
    done = run_python("-c", code, cwd=tmp_path)
    assert "tinkex.testing.TinkerServer needs numpy: " in done.stderr
    assert "-m pip install" in done.stderr
