"""Rehearsals: the embedded server under the name and with the vocabulary of another model."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import programs
import pytest
import requests
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import tinkex
from tinkex import types
from tinkex.local import LocalServer

QWEN, SIZE = "Qwen/Qwen3-8B", 151_936


@pytest.fixture(scope="module")
def offering() -> Iterator[LocalServer]:
    with LocalServer(models={QWEN: SIZE, "other/model:peft:70000": 5000}) as server:
        yield server


@pytest.fixture
def service(offering: LocalServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(base_url=offering.base_url, api_key=offering.api_key) as made:
        yield made


def sentence(seed: int = 0, length: int = 24) -> list[int]:
    """Token ids over the whole vocabulary, as those of a sentence are."""
    return [random.Random(seed * 1000 + place).randrange(SIZE) for place in range(length)]


def lesson(tokens: list[int]) -> types.Datum:
    weights = [1.0] * (len(tokens) - 1)
    return types.Datum(
        types.ModelInput.from_ints(tokens[:-1]), {"target_tokens": tokens[1:], "weights": weights}
    )


def learn(training: tinkex.TrainingClient, tokens: list[int], rate: float, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        output = training.forward_backward([lesson(tokens)], "cross_entropy")
        training.optim_step(types.AdamParams(learning_rate=rate)).result(60)
        losses.append(output.result(60).metrics["loss:sum"] / (len(tokens) - 1))
    return losses


def recited(sampler: tinkex.SamplingClient, tokens: list[int]) -> list[int]:
    """The likeliest continuation of the first two tokens."""
    params = types.SamplingParams(max_tokens=len(tokens) - 2, temperature=0.0)
    answer = sampler.sample(types.ModelInput.from_ints(tokens[:2]), 1, params).result(60)
    return tokens[:2] + answer.sequences[0].tokens


@pytest.mark.parametrize(("rank", "rate", "steps"), [(8, 1e-3, 80), (32, 1e-2, 40), (16, 5e-4, 100)])
def test_a_sentence_is_learned_by_heart(
    service: tinkex.ServiceClient, rank: int, rate: float, steps: int
) -> None:
    training = service.create_lora_training_client(QWEN, rank=rank, seed=0)
    tokens = sentence()
    losses = learn(training, tokens, rate, steps)
    assert losses[0] == pytest.approx(np.log(SIZE), abs=0.3)  # untrained, nearly uniform
    assert recited(training.save_weights_and_get_sampling_client(), tokens) == tokens


def test_the_models_on_offer(service: tinkex.ServiceClient) -> None:
    offered = service.get_server_capabilities().supported_models
    assert [(m.model_name, m.max_context_length) for m in offered] == [
        (QWEN, 32768),
        ("other/model:peft:70000", 70_000),
        ("tinkex/byte-lm", 32768),
    ]
    training = service.create_lora_training_client(QWEN, rank=8)
    info = training.get_info()
    assert (info.model_name, info.model_data.tokenizer_id) == (QWEN, None)
    assert training.save_weights_and_get_sampling_client().get_base_model() == QWEN
    for make in (
        service.create_lora_training_client,
        lambda name: service.create_sampling_client(None, name),
    ):
        with pytest.raises(tinkex.NotFoundError, match=f"{QWEN}.*tinkex/byte-lm"):
            make("no/such")


def test_ids_outside_the_vocabulary_and_inputs_beyond_the_context_are_refused(
    service: tinkex.ServiceClient,
) -> None:
    training = service.create_lora_training_client(QWEN, rank=1)
    sampler = service.create_sampling_client(base_model=QWEN)
    one = types.SamplingParams(max_tokens=1)
    for bad in (lesson([1, SIZE, 2]), lesson([1, 2, SIZE])):
        with pytest.raises(tinkex.BadRequestError, match=f"token {SIZE} is outside the vocabulary"):
            training.forward_backward([bad], "cross_entropy").result(60)
    with pytest.raises(tinkex.BadRequestError, match=f"token {SIZE} is outside the vocabulary"):
        sampler.sample(types.ModelInput.from_ints([SIZE]), 1, one).result(60)
    with pytest.raises(tinkex.BadRequestError, match="32768 tokens"):
        training.forward([lesson([1] * 32770)], "cross_entropy").result(60)
    with pytest.raises(tinkex.BadRequestError, match="32768"):
        sampler.sample(types.ModelInput.from_ints([1] * 32768), 1, one).result(60)
    longer = service.create_sampling_client(base_model="other/model:peft:70000")
    assert longer.sample(types.ModelInput.from_ints([1] * 32768), 1, one).result(60).sequences


def test_samples_and_scores_agree(service: tinkex.ServiceClient) -> None:
    training = service.create_lora_training_client(QWEN, rank=16, seed=1)
    tokens = sentence(1, 12)
    learn(training, tokens, 5e-3, 10)  # halfway, so that nothing is certain
    sampler = training.save_weights_and_get_sampling_client()
    prompt = types.ModelInput.from_ints(tokens[:3])
    target = types.TensorData([[0, SIZE - 1], [-1, tokens[2]]], "int64")
    for settings in ({}, {"temperature": 0.5}, {"top_k": 20}, {"top_p": 0.5}, {"temperature": 0.0}):
        params = types.SamplingParams(max_tokens=6, seed=3, **settings)
        response = sampler.sample(
            prompt, 2, params, topk_sample_logprobs=3, topk_prompt_logprobs=4, target_prompt_logprobs=target,
            include_prompt_logprobs=True, prompt_alt_tokens_k=2,
        ).result(60)  # fmt: skip
        again = sampler.sample(prompt, 2, params).result(60)
        assert [s.tokens for s in again.sequences] == [s.tokens for s in response.sequences]
        for sequence in response.sequences:
            assert sequence.logprobs is not None
            scored = sampler.compute_logprobs(types.ModelInput.from_ints(tokens[:3] + sequence.tokens))
            assert scored.result(60)[3:] == pytest.approx(sequence.logprobs, abs=2e-3)
            assert sequence.topk_logprobs is not None
            for token, logprob, row in zip(sequence.tokens, sequence.logprobs, sequence.topk_logprobs):
                assert row is not None
                assert len(row) == 3
                assert row[0][1] >= row[1][1] >= row[2][1]
                assert logprob <= row[0][1] + 1e-3
                assert settings.get("temperature") != 0.0 or token == row[0][0]
        assert response.target_prompt_logprobs is not None
        targets = response.target_prompt_logprobs.tolist()
        assert response.prompt_logprobs is not None
        assert targets[1][0] == 0.0
        assert targets[1][1] == pytest.approx(response.prompt_logprobs[2], abs=2e-3)


@pytest.mark.parametrize("loss", ["importance_sampling", "ppo", "cispo"])
def test_losses_of_reinforcement_learning(service: tinkex.ServiceClient, loss: str) -> None:
    training = service.create_lora_training_client(QWEN, rank=8, seed=0)
    tokens = sentence(2, 8)
    before = training.forward([lesson(tokens)], "cross_entropy").result(60).loss_fn_outputs[0]["logprobs"]
    datum = types.Datum(
        types.ModelInput.from_ints(tokens[:-1]),
        {"target_tokens": tokens[1:], "logprobs": before.tolist(), "advantages": [1.0] * 7},
    )
    for _ in range(5):
        training.forward_backward([datum], loss)
        training.optim_step(types.AdamParams(learning_rate=1e-3)).result(60)
    after = training.forward([lesson(tokens)], "cross_entropy").result(60).loss_fn_outputs[0]["logprobs"]
    assert sum(after.tolist()) > sum(before.tolist())


@contextmanager
def session(folder: Path, models: dict[str, int | None]) -> Iterator[tinkex.ServiceClient]:
    """A session on a server of its own."""
    with (
        LocalServer(folder, models=models) as server,
        tinkex.ServiceClient(base_url=server.base_url, api_key=server.api_key) as service,
    ):
        yield service


def test_checkpoints_keep_the_name_of_their_model(tmp_path: Path) -> None:
    tokens = sentence(3)
    with session(tmp_path, {QWEN: SIZE, "other/model": SIZE}) as service:
        training = service.create_lora_training_client(QWEN, rank=16, seed=0)
        learn(training, tokens, 5e-3, 30)
        state = training.save_state("state").result(60).path
        weights = training.save_weights_for_sampler("weights").result(60).path
        other = service.create_lora_training_client("other/model", rank=16)
        for refused in (
            lambda: other.load_state(state).result(60),
            lambda: service.create_training_client_from_state(state, "other/model"),
            lambda: service.create_sampling_client(weights, "other/model"),
        ):
            with pytest.raises(tinkex.TinkerError, match=f"a checkpoint of {QWEN}, not of other/model"):
                refused()
    url = f"local://{tmp_path}?model={QWEN}={SIZE}&model=other/model={SIZE}"
    with tinkex.ServiceClient(base_url=url) as service:  # another server on the same folder
        rest = service.create_rest_client()
        assert rest.get_weights_info_by_tinker_path(state).result(60).base_model == QWEN
        assert {run.base_model for run in rest.iter_training_runs()} == {QWEN}
        assert recited(service.create_sampling_client(weights), tokens) == tokens
        resumed = service.create_training_client_from_state_with_optimizer(state)
        assert resumed.get_info().model_name == QWEN
        assert learn(resumed, tokens, 1e-3, 1)[0] < 0.5
    with session(tmp_path, {QWEN: 1000}) as service:
        with pytest.raises(tinkex.TinkerError, match="vocabulary size"):
            service.create_sampling_client(weights)
        with pytest.raises(tinkex.TinkerError, match="do not fit"):
            service.create_training_client_from_state(state)
    with session(tmp_path, {}) as service, pytest.raises(tinkex.NotFoundError, match=QWEN):
        service.create_sampling_client(weights)


def test_a_step_over_a_large_vocabulary_needs_little_memory() -> None:
    # A full softmax of 1,024 positions over 151,936 tokens would take 622 MB, and as much again for its gradient.
    code = f"""
        import random, tinkex
        from pathlib import Path
        from tinkex import types

        def ids(n):
            return [random.randrange({SIZE}) for _ in range(n)]

        with tinkex.ServiceClient(base_url="local://?model=big/model={SIZE}") as service:
            training = service.create_lora_training_client("big/model", rank=32)
            batch = [
                types.Datum(types.ModelInput.from_ints(ids(128)), {{"target_tokens": ids(128)}}) for _ in range(8)
            ]
            for _ in range(3):
                training.forward_backward(batch, "cross_entropy").result(60)
                training.optim_step(types.AdamParams()).result(60)
            sampler = training.save_weights_and_get_sampling_client()
            prompt = types.ModelInput.from_ints(ids(64))
            sampler.sample(prompt, 8, types.SamplingParams(max_tokens=4, top_p=0.9), topk_prompt_logprobs=5).result(60)
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print(lines["VmHWM"].split()[0])
    """
    # getrusage would give the peak of the process that started this one, if that is larger.
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell the peak memory of a process alone")
    assert int(programs.run_code(code).stdout) / 1024 < 400


# ---- the tokenizer ----


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    """The folder of a model whose tokenizer has a token for each byte, and an end-of-text token far above them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: at for at, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(f"<|{n}|>", special=True) for n in range(1200)])
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    return tmp_path


def test_the_tokenizer_says_the_size_and_the_end_of_text(tokenizer_folder: Path) -> None:
    name = str(tokenizer_folder)
    with tinkex.ServiceClient(base_url=f"local://?model={name}") as service:
        training = service.create_lora_training_client(name, rank=16, seed=0)
        tokenizer = training.get_tokenizer()
        end = tokenizer.eos_token_id
        assert end == 256 + 1200
        with pytest.raises(tinkex.BadRequestError, match=f"vocabulary 0..{end}"):
            training.forward([lesson([1, end + 1])], "cross_entropy").result(60)
        tokens = [*tokenizer.encode("Sea: blue, wide."), end]
        learn(training, tokens, 5e-3, 40)
        sampler = training.save_weights_and_get_sampling_client()
        prompt = types.ModelInput.from_ints(tokenizer.encode("Sea:"))

        def answer(stop: list[str] | str | None) -> tuple[str, str]:
            params = types.SamplingParams(max_tokens=40, temperature=0.0, stop=stop)
            [sequence] = sampler.sample(prompt, 1, params).result(60).sequences
            return tokenizer.decode(sequence.tokens), sequence.stop_reason

        assert answer(None) == (" blue, wide.<|end|>", "stop")
        assert answer(["never", "ue,"]) == (" blue,", "stop")


def test_a_string_cannot_stop_a_model_of_unknown_tokenizer(service: tinkex.ServiceClient) -> None:
    sampler = service.create_sampling_client(base_model=QWEN)
    prompt = types.ModelInput.from_ints([1])
    with pytest.raises(tinkex.BadRequestError, match="give token ids"):
        sampler.sample(prompt, 1, types.SamplingParams(max_tokens=3, stop=["x"])).result(60)
    greedy = types.SamplingParams(max_tokens=3, temperature=0.0)
    first = sampler.sample(prompt, 1, greedy).result(60).sequences[0].tokens
    stopped = types.SamplingParams(max_tokens=3, temperature=0.0, stop=[first[1]])
    [sequence] = sampler.sample(prompt, 1, stopped).result(60).sequences
    assert (sequence.tokens, sequence.stop_reason) == (first[:2], "stop")


def test_a_hub_that_never_answers_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    # The listening socket takes connections, and nobody answers them.
    code = """
        import socket, sys, tinkex
        from tinkex.local import offers
        from tinkex.local.offers import offer

        hub = socket.create_server(("127.0.0.1", 0))
        import os
        os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{hub.getsockname()[1]}"
        sys.modules["transformers"] = None
        try:
            offer("far/away", None, timeout=0.5)
        except tinkex.ConfigError as error:
            print(error)
    """
    said = programs.run_code(code, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0").stdout
    assert "far/away" in said
    assert "--model far/away=SIZE" in said


def test_a_tokenizer_that_is_nowhere_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    name = str(tmp_path / "nothing")
    with pytest.raises(tinkex.ConfigError, match=r"model=.*=SIZE"):
        tinkex.ServiceClient(base_url=f"local://?model={name}")


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"a": 1}, "vocabulary size of a"),
        ({"a": True}, "vocabulary size of a"),
        ({"a": 1 << 40}, "vocabulary size of a"),
        ({"": 5}, "named ''"),
        ({"tinkex/byte-lm": 5}, "tinkex/byte-lm"),
        (["a=b"], "NAME=SIZE"),
        ("Qwen/Qwen3-8B", "list of names"),
    ],
)
def test_models_that_cannot_be_offered(models: dict[str, int | None], said: str) -> None:
    with pytest.raises(tinkex.ConfigError, match=said):
        LocalServer(models=models)


@pytest.mark.parametrize(
    "url", ["local://?modell=a", "local://?model=", "local://?strict=maybe", "local:///tmp/x?strict="]
)
def test_options_of_the_url_that_are_wrong(url: str) -> None:
    with pytest.raises(tinkex.ConfigError, match="option"):
        tinkex.Config(base_url=url)


def test_the_parts_of_the_url() -> None:
    config = tinkex.Config(base_url="local:///some/dir?model=a/b=7&strict=1&model=c+d")
    assert config.local_directory == "/some/dir"
    assert config.local_models == ("a/b=7", "c+d")
    assert config.local_strict
    plain = tinkex.Config(base_url="local://?strict=0")
    assert (plain.local_directory, plain.local_models, plain.local_strict) == (None, (), False)


@pytest.mark.parametrize("command", [["-m", "tinkex.local"], ["-m", "tinkex.cli", "serve"]], ids=" ".join)
def test_commands_offer_models(command: list[str]) -> None:
    process = programs.start_python(
        *command, "--port", "0", "--model", f"{QWEN}={SIZE}", "--model", "b=300", "--strict"
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        found = requests.get(f"{url}/api/v1/get_server_capabilities", timeout=60).json()
        assert [m["model_name"] for m in found["supported_models"]] == [QWEN, "b", "tinkex/byte-lm"]
        with tinkex.ServiceClient(base_url=url, api_key="tml-any") as service:
            training = service.create_lora_training_client("b", rank=1)
            with pytest.warns(tinkex.ServerWarning, match="shifted"):
                training.forward_backward(
                    [types.Datum(types.ModelInput.from_ints([1, 2]), {"target_tokens": [1, 2]})],
                    "cross_entropy",
                ).result(60)
        process.terminate()
        assert process.stderr is not None
        assert "shifted" in process.stderr.read()  # the server says it too
        assert process.wait(60) == 0
    refused = programs.run_python(*command, "--port", "0", "--model", "b=x")
    assert refused.returncode == 2
    assert "NAME=SIZE" in refused.stderr
    usage = programs.run_python(*command, "--help").stdout
    assert "--model" in usage
    assert "--strict" in usage
