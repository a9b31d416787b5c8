"""Errors keep their category, and survive pickling."""

from __future__ import annotations

import copy
import pickle
from typing import ClassVar

import pytest

import tinkex
from tinkex import errors, types


def test_a_category_is_its_text_and_an_unknown_one_is_unknown() -> None:
    error = tinkex.RequestFailedError("m", "r", "server")
    assert error.category is types.RequestErrorCategory.Server
    assert (error.category, f"{error.category}", str(error.category)) == ("server",) * 3
    assert tinkex.RequestFailedError("m", "r", "cosmic rays").category == "unknown"


def test_errors_survive_pickling() -> None:
    error = tinkex.NotFoundError(
        "gone", status_code=404, body={"detail": "x"}, headers={"X-Request-Id": "r1"}
    )
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.status_code, copy.request_id) == (
        tinkex.NotFoundError,
        "gone",
        404,
        "r1",
    )


class Sent:
    """A request as httpx has it."""

    method = "POST"
    url = "https://example.test/api/v1/asample"


class Answer:
    """A response as httpx has it."""

    status_code = 404
    headers: ClassVar[dict[str, str]] = {"X-Request-Id": "r1"}
    request = Sent()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (tinkex.BadRequestError, 400),
        (tinkex.AuthenticationError, 401),
        (tinkex.BillingError, 402),
        (tinkex.PermissionDeniedError, 403),
        (tinkex.NotFoundError, 404),
        (tinkex.ConflictError, 409),
        (tinkex.UnprocessableEntityError, 422),
        (tinkex.RateLimitError, 429),
    ],
)
def test_a_class_of_errors_has_its_status(kind: type[tinkex.APIStatusError], status: int) -> None:
    assert kind.status_code == kind("m").status_code == status
    assert kind("m").response.status_code == status


def test_errors_are_made_as_the_official_ones_are() -> None:
    answer = Answer()
    error = tinkex.NotFoundError("gone", response=answer, body={"detail": "x"})
    assert (error.response, error.request, error.body) == (answer, answer.request, {"detail": "x"})
    assert (error.status_code, error.request_id, error.method, error.message) == (404, "r1", "POST", "gone")
    misread = tinkex.APIResponseValidationError(answer, None)
    assert (misread.response, misread.status_code) == (answer, 404)
    for broken in (
        tinkex.APIConnectionError(request=answer.request),
        tinkex.APIConnectionError(answer.request, "reset"),
        tinkex.APITimeoutError(request=answer.request),
    ):
        assert broken.request is answer.request
    assert str(tinkex.APIConnectionError(message="reset", request=answer.request)) == "reset"
    assert str(tinkex.APITimeoutError(answer.request)) == "Request timed out."
    plain = tinkex.APIError("m", answer.request, body=None)
    assert (plain.request, plain.body) == (answer.request, None)


def test_errors_of_the_client_have_a_request_and_a_response() -> None:
    error = tinkex.BadRequestError(
        "no", status_code=400, body={"detail": "x"}, headers={"A": "b"}, method="GET", url="https://h/p"
    )
    assert (error.request.method, error.request.url) == ("GET", "https://h/p")
    assert (error.response.status_code, error.response.headers, error.response.json()) == (
        400,
        {"a": "b"},
        {"detail": "x"},
    )
    assert error.response.request == error.request
    assert tinkex.APIStatusError("no", status_code=418, body="text").response.text == "text"
    with pytest.raises(TypeError, match="status_code"):
        tinkex.APIStatusError("no")


def test_a_final_refusal_is_a_value_error_and_remains_one() -> None:
    error = errors.final(tinkex.NotFoundError("gone", body={"detail": "x"}))
    for one in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert isinstance(one, ValueError)
        assert isinstance(one, tinkex.NotFoundError)
        assert (type(one).__name__, str(one), one.body) == ("NotFoundError", "gone", {"detail": "x"})
    assert not isinstance(tinkex.NotFoundError("gone"), ValueError)
    assert isinstance(tinkex.RequestFailedError("m", "r"), ValueError)
    assert isinstance(tinkex.APIResponseValidationError("m"), ValueError)
    assert isinstance(tinkex.ClientPoisonedError("m"), ValueError)
