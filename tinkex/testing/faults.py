"""The faults that a test can command by name."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from tinkex.errors import InputError
from tinkex.testing.endpoints import refuse_unknown
from tinkex.testing.replies import Hang, Reply, Reset, Scripted, Truncated
from tinkex.testing.requests import Request
from tinkex.testing.rules import Fault, Rules

HELD = 0.05
"""Seconds that a poll is held while the capacity is paused."""


class Faults(ABC):
    """Faults on command.

    An endpoint is the last word of its path, such as ``asample``, ``forward_backward``, ``optim_step``,
    ``retrieve_future``, ``create_session`` or ``session_heartbeat``; or a path that starts with a slash and may have
    wildcards. ``times`` is how many requests a fault meets; None means all, until the fault is stopped or the test
    ends. ``model`` limits it to the requests of one model: a training or sampling client, the id of a model, or the
    name of a base model. Every method returns the ``Fault``, whose ``with`` block ends it. ``InputError`` is raised at
    once for an unknown endpoint or model, which lists those there are, and for a value out of range. Only ``on`` and
    ``once`` take paths that no endpoint has.

    Faults with ``times`` come first, in the order in which they were commanded. Of the others the newest counts.
    Delays come on top of everything.
    """

    _rules: Rules

    @abstractmethod
    def _refuse_unknown_model(self, name: str) -> None:
        """Raise ``InputError`` if no model, base model or sampler has this name."""

    def on(self, endpoint: str, reply: Scripted, *, times: int | None = None, model: object = None) -> Fault:
        """Answer requests with ``reply``: see ``tinkex.testing.replies``.

        Example::

            from tinkex.testing import Reply, TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                models = {"supported_models": [{"model_name": "mine"}]}
                server.on("get_server_capabilities", Reply(200, models, {"X-Served-By": "a test"}), times=1)
                assert service.get_server_capabilities().supported_models[0].model_name == "mine"
        """
        if not (
            reply is None or isinstance(reply, (int, dict, Reply, Hang, Reset, Truncated)) or callable(reply)
        ):
            raise InputError(f"{reply!r} is no reply: see tinkex.testing.replies")
        return self._begin(Fault(endpoint, reply, times=times, model=model), model)

    def once(self, endpoint: str, reply: Scripted, *more: Scripted) -> None:
        """Answer the next requests with these replies, one each. See ``on``."""
        for each in (reply, *more):
            self.on(endpoint, each, times=1)

    def _begin(self, fault: Fault, model: object) -> Fault:
        """Let a fault begin. A name in ``model`` must be known: a misspelt one would never meet a request."""
        if isinstance(model, str):
            self._refuse_unknown_model(model)
        return self._rules.add(fault)

    def _on_endpoint(self, endpoint: str, reply: Scripted, *, times: int | None, model: object) -> Fault:
        refuse_unknown(endpoint)
        return self.on(endpoint, reply, times=times, model=model)

    def clear_faults(self) -> None:
        """End all faults. Requests that hang already go on hanging until they are released."""
        self._rules.clear()

    def fail_next(
        self,
        endpoint: str,
        status: int = 500,
        *,
        retry_after: float | None = None,
        times: int | None = 1,
        detail: str = "a fault on command",
        model: object = None,
    ) -> Fault:
        """Refuse the next ``times`` requests with ``status``; they are not carried out.

        With ``retry_after`` the answer asks the client to wait so many seconds.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                server.fail_next("asample", status=429, retry_after=0.1, times=2)
                sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
                prompt = types.ModelInput.from_ints([1, 2])
                sampler.sample(prompt, 1, types.SamplingParams(max_tokens=3)).result()
                assert len(server.requests.to("asample")) == 3  # two refusals, then the answer
        """
        if not isinstance(status, int) or not 400 <= status <= 599:
            raise InputError(f"status must be that of a refusal, 400 to 599, not {status!r}")
        headers = {} if retry_after is None else {"Retry-After": f"{_seconds('retry_after', retry_after):g}"}
        return self._on_endpoint(
            endpoint, Reply(status, {"detail": detail}, headers), times=times, model=model
        )

    def delay(
        self, endpoint: str, seconds: float, *, times: int | None = None, model: object = None
    ) -> Fault:
        """Hold requests for ``seconds`` before they are carried out.

        A request whose client gives up meanwhile is not carried out.

        Example::

            import time
            from tinkex.testing import TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                with server.delay("create_model", 0.2):
                    began = time.monotonic()
                    service.create_lora_training_client("tinkex/byte-lm")
                    assert time.monotonic() - began >= 0.2
        """
        refuse_unknown(endpoint)
        held = _seconds("seconds", seconds)
        return self._begin(Fault(endpoint, times=times, model=model, delay=held), model)

    def drop(
        self,
        endpoint: str,
        when: Literal["before", "after"] = "before",
        *,
        times: int | None = 1,
        model: object = None,
    ) -> Fault:
        """Break the connection of the next ``times`` requests: ``before`` the work is done, or ``after`` it.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                server.drop("optim_step", when="after")
                training.optim_step(types.AdamParams()).result()
                assert len(server.requests.to("optim_step")) == 2  # the client has asked again,
                assert server.models[training].steps == 1  # and the step was done once
        """
        if when not in ("before", "after"):
            raise InputError(f"when must be 'before' or 'after' the work is done, not {when!r}")
        return self._on_endpoint(endpoint, Reset(carried_out=when == "after"), times=times, model=model)

    def truncate(
        self, endpoint: str, at: int | None = None, *, times: int | None = 1, model: object = None
    ) -> Fault:
        """Break off the next ``times`` answers after ``at`` bytes of their content, by default after half of it.

        The requests are carried out.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                server.truncate("get_server_capabilities")
                assert service.get_server_capabilities().supported_models
                assert len(server.requests.to("get_server_capabilities")) == 2
        """
        if at is not None and (not isinstance(at, int) or isinstance(at, bool) or at < 0):
            raise InputError(f"at must be a number of bytes, not {at!r}")
        return self._on_endpoint(endpoint, Truncated(at=at), times=times, model=model)

    def answer_with(
        self,
        endpoint: str,
        *,
        body: object = b"",
        content_type: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        times: int | None = 1,
        model: object = None,
    ) -> Fault:
        """Answer the next ``times`` requests with these bytes, this text, or this JSON value; nothing is carried out.

        ``content_type`` is by default that of the body: JSON, text, or bytes.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                page = "<html>Bad gateway</html>"
                server.answer_with("retrieve_future", body=page, content_type="text/html", status=502)
                training.optim_step(types.AdamParams()).result()  # the client has asked again
        """
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise InputError(f"status must be 200 to 599, not {status!r}")
        if isinstance(body, (bytes, bytearray)):
            content, kind = bytes(body), "application/octet-stream"
        elif isinstance(body, str):
            content, kind = body.encode(), "text/plain; charset=utf-8"
        else:
            content, kind = json.dumps(body).encode(), "application/json"
        sent = {"Content-Type": content_type or kind, **(headers or {})}
        for name, value in sent.items():
            if not isinstance(value, str) or not (name + value).isprintable():
                raise InputError(f"the header {name!r} must be one line of text, not {value!r}")
        return self._on_endpoint(endpoint, Reply(status, content, sent), times=times, model=model)

    def pause_capacity(
        self,
        seconds: float,
        *,
        reason: str | None = None,
        times: int | None = None,
        model: object = None,
    ) -> Fault:
        """Answer polls for ``seconds`` as a server without capacity does: not yet, ``paused_capacity``.

        Example::

            from tinkex.testing import TinkerServer

            with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                server.pause_capacity(0.2)
                training.optim_step(types.AdamParams()).result()  # the client has waited
                assert len(server.requests.to("retrieve_future")) > 1
        """
        end = time.monotonic() + _seconds("seconds", seconds)

        def not_yet(request: Request) -> Scripted:
            left = end - time.monotonic()
            if left <= 0:
                fault.stop()
                return None
            answer: dict[str, Any] = {"type": "try_again", "queue_state": "paused_capacity"}
            if reason is not None:
                answer["queue_state_reason"] = reason
            if isinstance(request.body, dict):
                answer["request_id"] = request.body.get("request_id")
            return Hang(Reply(408, answer), seconds=min(HELD, left))

        fault = Fault("retrieve_future", not_yet, times=times, model=model)
        return self._begin(fault, model)


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 86_400:
        raise InputError(f"{name} must be a number of seconds, not {value!r}")
    return float(value)
