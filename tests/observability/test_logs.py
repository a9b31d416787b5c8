"""The log: quiet unless asked, and each call once."""

from __future__ import annotations

from programs import run_code

from tinkex.testing import Reply, TinkerServer

USE = """
import logging, sys
SETUP
import tinkex
from tinkex.http.transport import Transport
transport = Transport(tinkex.Config(base_url=sys.argv[1], api_key="tml-test-key", retry_delay=0.001))
transport.request("GET", "/healthz")
transport.request("POST", "/x", b"123")
logging.getLogger("tinkex").warning("beware")
"""


def test_the_logger_is_quiet_unless_asked(server: TinkerServer) -> None:
    server.on("/x", {})
    done = run_code(USE.replace("SETUP", ""), server.url)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_debug_log_shows_each_call_once(server: TinkerServer) -> None:
    server.once("/x", 503, Reply(200, {}, {"X-Request-Id": "req-7"}))
    done = run_code(USE.replace("SETUP", ""), server.url, TINKER_LOG="debug")
    [first, retry, call, warning] = done.stderr.splitlines()
    assert "GET /healthz: 200 in " in first
    assert "POST /x: try 1: 503; again in 0.00 s" in retry
    assert "POST /x: 200 in " in call
    assert "ms, 2 tries, 6 bytes out," in call
    assert call.endswith("request id req-7")
    assert warning.endswith("WARNING tinkex beware")


def test_a_program_that_shows_logs_itself_sees_nothing_twice(server: TinkerServer) -> None:
    server.on("/x", {})
    done = run_code(
        USE.replace("SETUP", "logging.basicConfig(format='MINE %(message)s')"), server.url, TINKER_LOG="INFO"
    )
    assert done.stderr == "MINE beware\n"


def test_a_level_that_does_not_exist_is_pointed_out(server: TinkerServer) -> None:
    assert "TINKER_LOG must be one of debug, " in run_code("import tinkex", TINKER_LOG="loud").stderr
