"""``TinkerServer``: the embedded server, in front of which a test can put faults."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from tinkex.config import Config
from tinkex.errors import InputError
from tinkex.local.offers import wanted_models
from tinkex.local.sessions import Model
from tinkex.session import process_end
from tinkex.session.session import Session
from tinkex.testing.backend import Backend, Settings
from tinkex.testing.concerned_models import ConcernedModels
from tinkex.testing.earlier_tests import EarlierTests
from tinkex.testing.faults import Faults
from tinkex.testing.listener import Answer, Connection, Listener
from tinkex.testing.records import CheckpointRecord, ModelRecord, Records, SessionRecord
from tinkex.testing.replies import Hang, Reply, Reset, Scripted, Truncated
from tinkex.testing.requests import Request, Requests, hidden
from tinkex.testing.rules import Rules, model_name
from tinkex.training import wire_format

logger = logging.getLogger("tinkex.testing")
_TEST_IS_OVER = Reply(
    401,
    {"detail": "this client belongs to a test that is over; a test needs clients of its own"},
    {"X-Should-Retry": "false"},
)


class _CurrentTest:
    """What one test sees of a server. The next test gets another one."""

    def __init__(self, backend: Backend, seen: dict[str, Model]) -> None:
        self.key = f"tml-test-{secrets.token_hex(12)}"
        self.requests = Requests()
        self.rules = Rules()
        self.concerned_models = ConcernedModels()
        self.backend = backend
        self.seen = seen
        self.over = threading.Event()


class TinkerServer(Faults):
    """A Tinker server for tests: real HTTP on 127.0.0.1, the embedded server behind it, and faults on command.

    ``models`` and ``strict`` are those of ``LocalServer``. It takes any API key; ``api_key`` is one. A session without
    a heartbeat for ``session_timeout`` seconds ends, and a long poll is held for ``poll_timeout`` seconds. Port 0 means
    a free one. Use it in a ``with`` block, or call ``start`` and ``stop``. With pytest, use the fixture
    ``tinkex_server``.

    Example::

        from tinkex.testing import TinkerServer

        with TinkerServer() as server:
            server.fail_next("optim_step", status=503)
            with tinkex.ServiceClient(config=server.config()) as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                training.optim_step(types.AdamParams()).result()
            assert len(server.requests.to("optim_step")) == 2
            assert server.models[0].steps == 1
            assert [session.status for session in server.sessions] == ["client_finished"]
    """

    def __init__(
        self,
        port: int = 0,
        *,
        models: Mapping[str, int | None] | Iterable[str] = (),
        strict: bool = False,
        session_timeout: float = 300.0,
        poll_timeout: float = 30.0,
    ) -> None:
        self._settings = Settings(session_timeout, poll_timeout, wanted_models(models), strict)
        self._port = port
        self._earlier_tests = EarlierTests()
        self._listener: Listener | None = None
        self._test = self._new_test()

    # ---- start and stop ----

    def _new_test(self) -> _CurrentTest:
        seen: dict[str, Model] = {}
        test = _CurrentTest(Backend(self._settings, seen), seen)
        self._rules = test.rules
        return test

    def start(self) -> TinkerServer:
        """Start the server. Does nothing if it runs. Raises ``OSError`` if the port is taken."""
        if self._listener is None:
            if self._test.over.is_set():
                self._test = self._new_test()
            self._test.backend.start()
            self._listener = Listener(self._port, self._serve, self._test)
            self._port = self._listener.port
        return self

    def stop(self) -> None:
        """Close all connections and end the threads. Does nothing if the server does not run.

        What happened can still be asked. A server that is started again keeps its port and nothing else.
        """
        listener, self._listener = self._listener, None
        self._test.over.set()
        self._test.backend.close()
        if listener is not None:
            listener.stop()

    def __enter__(self) -> TinkerServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<TinkerServer {self.url} {'running' if self._listener else 'stopped'}>"

    @property
    def url(self) -> str:
        """The base URL for clients, once the server has been started."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """The base URL under the name that it has in ``LocalServer`` and ``Config``; see ``url``."""
        return self.url

    @property
    def port(self) -> int:
        """The port, once the server has been started."""
        return self._port

    @property
    def api_key(self) -> str:
        """A key for the present test. After ``reset`` there is another one, and this one is refused."""
        return self._test.key

    def config(self, **settings: Any) -> Config:
        """Settings for a client of this server, whose waits between two tries are short; ``settings`` go before.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server:
                with tinkex.ServiceClient(config=server.config(max_tries=2)) as service:
                    print(service.session_id)
        """
        quick = {"retry_delay": 0.01, "retry_delay_max": 0.1, "telemetry": False}
        # A client that has to find out the format would take a 400 on command for a server that reads no proto.
        given = {"base_url": self.url, "api_key": self.api_key, "wire_format": "proto", **quick, **settings}
        return Config(**given)

    # ---- what happened ----

    @property
    def requests(self) -> Requests:
        """The requests of the present test, in the order in which they arrived."""
        return self._test.requests

    @property
    def sessions(self) -> Records[SessionRecord]:
        """All sessions of the present test, also those that have ended, the oldest first."""
        found = sorted(self._test.backend.state.sessions(), key=lambda each: each.created)
        return Records(map(SessionRecord.of, found))

    @property
    def models(self) -> Records[ModelRecord]:
        """All models of the present test, also those whose session has ended: ``server.models[training].steps``.

        A model is found by its training client, its id, its position, or by the name of its base model if there is
        only one on it.
        """
        return Records(ModelRecord.of(model) for model in list(self._test.seen.values()))

    @property
    def checkpoints(self) -> Records[CheckpointRecord]:
        """The checkpoints that are kept, the oldest first, found by path or position."""
        found = reversed(self._test.backend.state.checkpoints.all())
        return Records(map(CheckpointRecord.of, found))

    @property
    def open_connections(self) -> int:
        """How many connections of the present test are open."""
        return 0 if self._listener is None else self._listener.open_connections

    def wait_for_connections(self, count: int, timeout: float = 60.0) -> None:
        """Wait until exactly ``count`` connections are open. Raises ``AssertionError`` after ``timeout`` seconds."""
        now = 0 if self._listener is None else self._listener.wait_for_connections(count, timeout)
        if now != count:
            raise AssertionError(f"{now} connections are open after {timeout:g} s, not {count}")

    # ---- changes of the state ----

    def reset(self) -> None:
        """Forget everything: sessions, models, checkpoints, faults, and what happened. The port stays.

        Clients that were made before are refused from now on (401), also with requests that are in flight.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server:
                server.fail_next("asample")
                with tinkex.ServiceClient(config=server.config()):
                    server.reset()
                    assert len(server.requests) == len(server.sessions) == 0
        """
        old, new = self._test, self._new_test()
        state = old.backend.state
        self._earlier_tests.add(old.key, [session.id for session in state.sessions()], state.promises.prefix)
        if self._listener is not None:
            new.backend.start()
            self._listener.epoch = new
        self._test = new
        old.over.set()
        old.backend.close()
        wire_format.forget(self.url)

    def restart(self, *, keep_checkpoints: bool = True) -> None:
        """Break all connections and forget sessions, models and promises, as a server does that is started anew.

        Checkpoints are kept unless ``keep_checkpoints`` is False. Faults go on, and what happened can still be asked.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                path = service.create_lora_training_client("tinkex/byte-lm").save_state("a").result().path
                server.restart(keep_checkpoints=True)
                with tinkex.ServiceClient(config=server.config()) as again:
                    again.create_training_client_from_state(path)
                server.restart(keep_checkpoints=False)
                assert len(server.checkpoints) == 0
        """
        test, old = self._test, self._test.backend
        kept = old.state.checkpoints if keep_checkpoints else None
        test.backend = Backend(self._settings, test.seen, kept)
        if self._listener is not None:
            test.backend.start()
            self._listener.cut()
        old.close()

    def expire_session(self, session: object = None, *, model: object = None) -> list[str]:
        """End a session as the server does when heartbeats stop; all open ones if neither argument is given.

        ``session`` is an id or a ``ServiceClient``; ``model`` means the sessions of a training or sampling client, of
        the id of a model, or of the models on a base model. Returns the ids. A client in this process knows it when
        the method returns, and raises ``SessionEndedError`` from then on. One in another process learns it by its
        next heartbeat. Raises ``InputError`` if there is no such open session.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                server.expire_session()
                try:
                    training.optim_step(types.AdamParams()).result()
                except tinkex.SessionEndedError as error:
                    assert error.session_id == service.session_id
        """
        wanted, name = getattr(session, "session_id", session), model_name(model)
        state = self._test.backend.state
        of_model = {each.session_id for each in self.models if name in (each.id, each.base_model)}
        ending = [
            each
            for each in state.sessions()
            if each.ended is None
            and wanted in (None, each.id)
            # The id of a model or a sampler starts with that of its session.
            and (name is None or each.id in of_model or name.startswith(f"{each.id}:"))
        ]
        if (wanted, name) != (None, None) and not ending:
            meant = f"session {wanted!r}" if name is None else f"the session of {name!r}"
            open_ids = ", ".join(each.id for each in self.sessions if each.active) or "none"
            raise InputError(f"{meant} is unknown or over; open sessions: {open_ids}")
        for each in ending:
            state.end_session(each, {"type": "cancelled", "detail": "expired on command"})
        ids = [each.id for each in ending]
        for held in process_end.open_sessions():
            if isinstance(held, Session) and held.id in ids and held.transport.base_url == self.url:
                held.manager.beat(held.id, held.transport)
        return ids

    # ---- answering ----

    def _refuse_unknown_model(self, name: str) -> None:
        test = self._test
        models = [*(each.name for each in self._settings.offered), *test.seen]
        if name not in models and not test.concerned_models.know(name):
            raise InputError(f"no model or sampler has the name {name!r}; the models are {', '.join(models)}")

    def _serve(self, connection: Connection) -> None:
        test = self._test
        path, _, query = connection.path.partition("?")
        headers, credentials = hidden(dict(connection.headers.items()))

        def request(content: bytes) -> Request:
            return Request(
                connection.command,
                path,
                query,
                headers,
                content,
                time.monotonic(),
                connection.number,
                credentials,
            )

        is_of_an_earlier_test = connection.epoch is not test
        if not is_of_an_earlier_test:
            broken = test.rules.break_before_body(path, lambda: request(b""))
            if broken is not None:
                test.requests.add(broken)
                connection.reset()
                return
        content = connection.read_body()
        if is_of_an_earlier_test or self._earlier_tests.sent(path, credentials, content):
            connection.send(_as_answer(_TEST_IS_OVER))
            return
        received = request(content)
        backend = test.backend
        test.requests.add(received)
        delay, reply = test.rules.take(received, lambda: test.concerned_models.models_of(received))
        if delay:
            reply = Hang(reply, seconds=delay)
        answer = self._answer(test, backend, connection, received, reply)
        if test.over.is_set():
            connection.send(_as_answer(_TEST_IS_OVER))
        elif test.backend is not backend:
            connection.reset()
        elif answer is not None:
            connection.send(answer)

    def _answer(
        self, test: _CurrentTest, backend: Backend, connection: Connection, request: Request, reply: Scripted
    ) -> Answer | None:
        """Return what ``reply`` means for a request; None if the connection is broken instead."""
        while True:
            if callable(reply):
                reply = _called(reply, request)
            elif isinstance(reply, Reply) and reply.delay:
                reply = Hang(Reply(reply.status, reply.body, reply.headers), seconds=reply.delay)
            elif isinstance(reply, Hang):
                if not connection.wait(test.over.is_set, reply.released, reply.seconds):
                    return None
                if test.over.is_set() or test.backend is not backend:
                    return None
                reply = reply.then
            else:
                break
        if isinstance(reply, Truncated):
            whole = self._answer(test, backend, connection, request, reply.of)
            if whole is None:
                return None
            at = len(whole.content) // 2 if reply.at is None else reply.at
            return whole._replace(cut=min(at, max(len(whole.content) - 1, 0)))
        if reply is None or (isinstance(reply, Reset) and reply.carried_out):
            answer = backend.answer(request)
            test.concerned_models.learn(request, answer)
            if reply is None:
                return answer
        if isinstance(reply, Reset):
            connection.reset()
            return None
        if isinstance(reply, int):
            return _as_answer(Reply(reply, {"detail": f"scripted {reply}"} if reply >= 400 else {}))
        return _as_answer(Reply(200, reply) if isinstance(reply, dict) else reply)


def _called(reply: Any, request: Request) -> Scripted:
    try:
        scripted: Scripted = reply(request)
    except Exception as error:
        logger.exception("the reply to %s %s failed", request.method, request.path)
        return Reply(
            500, {"detail": f"the reply failed: {type(error).__name__}: {error}"}, {"X-Should-Retry": "false"}
        )
    return scripted


def _as_answer(reply: Any) -> Answer:
    content = reply.content
    return Answer(reply.status, {"Content-Type": "application/json", **reply.headers}, content)
