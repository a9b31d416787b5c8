"""Success, and what can go wrong on the way."""

from __future__ import annotations

import subprocess
import sys
import unittest

import pytest
from tutor import recite, teach

import tinkex
from tinkex.testing import TinkerServer

SENTENCES = ["The sea is blue."]


def test_a_sentence_is_learned_by_heart(tinkex_server: TinkerServer, tinkex_url: str) -> None:
    lesson = teach(SENTENCES, steps=40)
    assert lesson.losses[-1] < lesson.losses[0] / 10
    assert recite(lesson.path, "The sea", length=9) == [" is blue."]

    [model] = tinkex_server.models
    assert (model.steps, model.rank) == (40, 8)
    [datum] = tinkex_server.requests.to("forward_backward")[0].body.data
    assert bytes(datum.model_input.to_ints()) == b"The sea is blue"
    assert [session.status for session in tinkex_server.sessions] == ["client_finished"] * 2


def test_backpressure_is_waited_out(tinkex_server: TinkerServer, tinkex_url: str) -> None:
    lesson = teach(SENTENCES, steps=1)
    refused = tinkex_server.fail_next("asample", status=429, retry_after=0.1, times=3)
    assert len(recite(lesson.path, "The sea", length=2, count=5)) == 5
    assert refused.used == 3
    assert len(tinkex_server.requests.to("asample")) == 5 + 3


def test_a_server_without_capacity_is_waited_for(tinkex_server: TinkerServer, tinkex_url: str) -> None:
    tinkex_server.pause_capacity(0.2)
    assert len(teach(SENTENCES, steps=1).losses) == 1


def test_a_lost_session_is_replaced(tinkex_server: TinkerServer, tinkex_url: str) -> None:
    def lose(step: int) -> None:
        if step == 7 and len(tinkex_server.sessions) == 1:
            tinkex_server.expire_session()

    lesson = teach(SENTENCES, steps=10, on_step=lose)
    assert (lesson.resumed, len(lesson.losses)) == (1, 10)
    assert [model.steps for model in tinkex_server.models] == [7, 10]
    assert [session.status for session in tinkex_server.sessions] == ["cancelled", "client_finished"]


def test_a_restarted_server_costs_the_steps_since_the_last_state(
    tinkex_server: TinkerServer, tinkex_url: str
) -> None:
    def restart(step: int) -> None:
        if step == 7 and len(tinkex_server.models) == 1:
            tinkex_server.restart(keep_checkpoints=True)

    lesson = teach(SENTENCES, steps=10, on_step=restart)
    assert (lesson.resumed, len(lesson.losses)) == (1, 10)
    assert tinkex_server.models[-1].steps == 10


def test_a_poisoned_client_is_replaced(tinkex_server: TinkerServer) -> None:
    """The connection breaks after the work, at every try: the client cannot know whether the step was done."""

    def cut(step: int) -> None:
        if step == 7 and len(tinkex_server.models) == 1:
            tinkex_server.drop("optim_step", when="after", times=3)

    lesson = teach(SENTENCES, steps=10, on_step=cut, config=tinkex_server.config(max_tries=3))
    assert (lesson.resumed, len(lesson.losses)) == (1, 10)
    assert [model.steps for model in tinkex_server.models] == [8, 10]
    numbers = [request.body.seq_id for request in tinkex_server.requests.to("optim_step")]
    assert max(numbers.count(number) for number in numbers) >= 3


def test_an_error_of_the_program_is_not_tried_again(tinkex_server: TinkerServer, tinkex_url: str) -> None:
    tinkex_server.fail_next("forward_backward", status=422, times=None)
    with pytest.raises(tinkex.UnprocessableEntityError):
        teach(SENTENCES)
    assert len(tinkex_server.sessions) == 1


def test_a_child_process_meets_the_server_too(tinkex_server: TinkerServer, tinkex_url: str) -> None:
    command = [sys.executable, "-m", "tutor", *SENTENCES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() in tinkex_server.checkpoints
    assert not any(session.active for session in tinkex_server.sessions)


@pytest.mark.parametrize("number", range(20))
def test_each_test_has_a_state_of_its_own(
    tinkex_server: TinkerServer, tinkex_service: tinkex.ServiceClient, number: int
) -> None:
    assert [session.id for session in tinkex_server.sessions] == [tinkex_service.session_id]
    assert len(tinkex_server.models) == len(tinkex_server.checkpoints) == 0
    assert tinkex_service.create_lora_training_client("tinkex/byte-lm").get_info().lora_rank == 32


@pytest.mark.usefixtures("tinkex_url")
class TestTheOldWay(unittest.TestCase):
    tinkex_server: TinkerServer

    def test_it_works_here_too(self) -> None:
        assert len(teach(SENTENCES, steps=2).losses) == 2
        assert self.tinkex_server.models[0].steps == 2
