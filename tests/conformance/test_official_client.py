"""The official client does its everyday work against the embedded server, in proto, in another process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import tinker
from tinker import types

MODEL = "tinkex/byte-lm"
TEXT = b"The owl and the pussycat went to sea in a beautiful pea-green boat.\n"


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """``python -m tinkex.local`` on a free port; its first lines of output name the address it listens on."""
    command = [sys.executable, "-u", "-m", "tinkex.local", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found.group()
                    break
            else:
                pytest.fail(f"the server ended with status {process.wait()} before it listened")
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.fixture(scope="module")
def service(server_url: str) -> Iterator[tinker.ServiceClient]:
    os.environ["TINKER_TELEMETRY"] = "0"
    with tinker.ServiceClient(base_url=server_url, api_key="tml-conformance") as client:
        yield client


@pytest.fixture(scope="module")
def training(service: tinker.ServiceClient) -> tinker.TrainingClient:
    return service.create_lora_training_client(MODEL, rank=16, seed=7).result()


def datum(text: bytes) -> types.Datum:
    tokens = list(text)
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": types.TensorData(data=tokens[1:], dtype="int64", shape=[len(tokens) - 1]),
            "weights": types.TensorData(
                data=[1.0] * (len(tokens) - 1), dtype="float32", shape=[len(tokens) - 1]
            ),
        },
    )


def step(client: tinker.TrainingClient, learning_rate: float = 1e-2) -> float:
    """One round of training; the loss before it, in nats."""
    output = client.forward_backward([datum(TEXT)], "cross_entropy")
    client.optim_step(types.AdamParams(learning_rate=learning_rate)).result()
    return -sum(output.result().loss_fn_outputs[0]["logprobs"].data)


def test_the_model_is_offered(service: tinker.ServiceClient) -> None:
    names = [model.model_name for model in service.get_server_capabilities().supported_models]
    assert MODEL in names


def test_three_rounds_lower_the_loss(training: tinker.TrainingClient) -> None:
    losses = [step(training) for _ in range(3)]
    assert losses[0] > losses[1] > losses[2] > 0


def test_a_trained_model_samples_and_scores(training: tinker.TrainingClient) -> None:
    for _ in range(60):
        step(training)
    sampler = training.save_weights_and_get_sampling_client().result()

    prompt = types.ModelInput.from_ints(list(TEXT[:8]))
    params = types.SamplingParams(max_tokens=len(TEXT) - 8, temperature=0.0)
    (sequence,) = sampler.sample(prompt, num_samples=1, sampling_params=params).result().sequences
    assert bytes(sequence.tokens) == TEXT[8:]
    assert sequence.stop_reason == "length"
    assert len(sequence.logprobs) == len(sequence.tokens)

    logprobs = sampler.compute_logprobs(types.ModelInput.from_ints(list(TEXT))).result()
    assert len(logprobs) == len(TEXT)
    assert logprobs[0] is None
    assert all(value <= 0 for value in logprobs[1:])
    assert sum(logprobs[1:]) > -0.5 * len(TEXT)


def test_a_saved_state_goes_on_where_it_was(
    service: tinker.ServiceClient, training: tinker.TrainingClient
) -> None:
    path = training.save_state("halfway").result().path
    assert path.startswith("tinker://")
    resumed = service.create_training_client_from_state_with_optimizer(path).result()
    # The same weights give the same loss now, the same optimizer state the same loss a step later.
    assert [step(resumed), step(resumed)] == pytest.approx([step(training), step(training)], rel=1e-4)


def test_provenance_is_taken(service: tinker.ServiceClient, training: tinker.TrainingClient) -> None:
    sampler = service.create_sampling_client(base_model=MODEL, record_stability_info=True).result()
    prompt = types.ModelInput.from_ints(list(TEXT[:4]))
    params = types.SamplingParams(max_tokens=3, temperature=0.0, stop=[])
    (sequence,) = sampler.sample(prompt, num_samples=1, sampling_params=params).result().sequences
    drawn = datum(TEXT[:4] + bytes(sequence.tokens))
    named = drawn.with_provenance(
        model_input=[
            types.PromptProvenanceSpan(sequence_id=sequence.sequence_id, length=4),
            types.SampledProvenanceSpan(sequence_id=sequence.sequence_id, length=2),
        ],
        loss_fn_inputs=[
            types.PromptProvenanceSpan(sequence_id=sequence.sequence_id, offset=1, length=3),
            types.SampledProvenanceSpan(sequence_id=sequence.sequence_id, length=3),
        ],
    )
    plain, annotated = [training.forward([each], "cross_entropy").result() for each in (drawn, named)]
    assert annotated.metrics == plain.metrics


def test_audio_is_refused(training: tinker.TrainingClient) -> None:
    heard = types.Datum(
        model_input=types.ModelInput(chunks=[types.DmelChunk(dmel=b"\x00\x01\x01")]),
        loss_fn_inputs={"target_tokens": types.TensorData(data=[97], dtype="int64", shape=[1])},
    )
    with pytest.raises(tinker.BadRequestError, match="text only"):
        training.forward([heard], "cross_entropy").result()


def test_bad_input_is_refused(service: tinker.ServiceClient, training: tinker.TrainingClient) -> None:
    with pytest.raises(tinker.TinkerError):
        service.create_lora_training_client("no/such-model", rank=16).result()
    with pytest.raises(tinker.TinkerError):
        training.forward_backward([datum(TEXT)], "no_such_loss").result()
