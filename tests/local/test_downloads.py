"""Download links: parts of a file, and versions of it."""

from __future__ import annotations

import pytest
import requests

from .conftest import Api


@pytest.fixture
def link(api: Api) -> str:
    model = api.model()
    api.run("save_weights", model_id=model, path="a")
    urls = api.get(f"training_runs/{model}/checkpoints/weights/a/external_weights_urls")["urls"]
    return str(urls["checkpoint.json"])


def fetch(link: str, **headers: str) -> requests.Response:
    return requests.get(link, headers=headers, timeout=9)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-", 0, None), ("bytes=5-9", 5, 10), ("bytes=5-99999", 5, None), ("bytes=-7", -7, None)],
)
def test_a_part_of_a_file(link: str, asked: str, start: int, stop: int | None) -> None:
    whole = fetch(link).content
    part = fetch(link, Range=asked)
    assert (part.status_code, part.content) == (206, whole[start:stop])
    first = start % len(whole)
    assert part.headers["Content-Range"] == f"bytes {first}-{first + len(part.content) - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=9-5", "bytes=-", "lines=1-2", "bytes=x-"])
def test_other_ranges_give_the_whole(link: str, asked: str) -> None:
    answer = fetch(link, Range=asked)
    assert (answer.status_code, answer.content) == (200, fetch(link).content)


def test_a_part_beyond_the_end_is_refused(link: str) -> None:
    answer = fetch(link, Range="bytes=99999-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(fetch(link).content)}"


def test_a_part_of_another_version_is_not_given(link: str) -> None:
    tag = fetch(link).headers["ETag"]
    assert fetch(link, Range="bytes=5-", **{"If-Range": tag}).status_code == 206
    assert fetch(link, Range="bytes=5-", **{"If-Range": '"other"'}).status_code == 200


def test_head_says_how_much_there_is(link: str) -> None:
    answer = requests.head(link, timeout=9)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(fetch(link).content))
