"""Torch tensors as input and output of ``TensorData``."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import torch
from programs import run_code

import tinkex
from tinkex import types
from tinkex.testing import TinkerServer

pytestmark = pytest.mark.filterwarnings("error", "ignore:Sparse CSR tensor support")
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]
WHOLE = [
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
]


@pytest.mark.parametrize(
    ("dtype", "becomes"), [*((d, "float32") for d in FLOATS), *((d, "int64") for d in WHOLE)], ids=str
)
def test_every_dtype_of_numbers_is_taken(dtype: torch.dtype, becomes: str) -> None:
    given = torch.tensor([[1, 0], [0, 1], [1, 1]]).to(dtype)
    tensor = types.TensorData.from_torch(given)
    assert (tensor.dtype, tensor.shape, tensor.tolist()) == (becomes, [3, 2], [[1, 0], [0, 1], [1, 1]])
    inputs = {"target_tokens": given[:, 0], "weights": given[:, 1], "mine": given}
    datum = types.Datum(types.ModelInput.from_ints([5, 6, 7]), inputs)
    assert datum.loss_fn_inputs["target_tokens"].data == [1, 0, 1]
    assert datum.loss_fn_inputs["target_tokens"].dtype == "int64"
    assert datum.loss_fn_inputs["weights"].data == [0.0, 1.0, 1.0]
    assert datum.loss_fn_inputs["weights"].dtype == "float32"
    assert datum.loss_fn_inputs["mine"].dtype == becomes


def test_values_are_rounded_to_float32_once() -> None:
    third = torch.tensor([1 / 3], dtype=torch.float64)
    assert types.TensorData(third).data == third.float().tolist()
    exact = torch.tensor([2.0**53 - 1], dtype=torch.float64)
    assert types.TensorData(exact, "int64").data == [2**53 - 1], "float32 would have rounded it"


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.T,
        lambda t: t[:, ::2],
        lambda t: t[1].expand(3, 3),
        lambda t: torch.complex(t, t).conj().imag,
        lambda t: t.clone().requires_grad_() * 2,
        lambda t: t.to_sparse(),
        lambda t: t.to_sparse_csr(),
        lambda t: t[0, 1],
        lambda t: t[:0],
    ],
    ids=["transposed", "strided", "expanded", "negated", "grad", "sparse", "csr", "scalar", "empty"],
)
def test_tensors_of_any_layout_keep_shape_and_values(view: Any) -> None:
    given = view(torch.arange(9.0).reshape(3, 3))
    tensor = types.TensorData(given)
    expected = given.detach().to_dense()
    assert tensor.shape == list(expected.shape)
    assert torch.equal(tensor.to_torch(), expected)


@pytest.mark.parametrize("layout", [torch.strided, torch.sparse_coo, torch.sparse_csr], ids=str)
def test_a_target_distribution_travels_sparse_where_that_is_smaller(layout: torch.layout) -> None:
    weights = torch.eye(8)
    given = weights if layout is torch.strided else weights.to_sparse(layout=layout)
    datum = types.Datum(types.ModelInput.from_ints([1] * 8), {"weights": given})
    tensor = datum.loss_fn_inputs["weights"]
    assert (tensor.data, tensor.sparse_col_indices) == ([1.0] * 8, list(range(8)))
    assert torch.equal(tensor.to_torch(), weights)
    assert torch.equal(tensor.to_torch(pad_value=-1)[0], torch.tensor([1.0, *[-1.0] * 7]))


@pytest.mark.parametrize(
    ("given", "dtype", "why"),
    [
        (torch.tensor([1.5]), "int64", "fractions"),
        (torch.tensor([float("nan")]), "int64", "fractions"),
        (torch.tensor([float("inf")]), "int64", "fractions"),
        (torch.tensor([2**64 - 1], dtype=torch.uint64), None, r"2\*\*63"),
        (torch.tensor([1j]), None, "not torch.complex64"),
        (torch.ones(2, device="meta"), None, "meta tensor"),
    ],
)
def test_what_would_be_lost_is_refused(given: torch.Tensor, dtype: Any, why: str) -> None:
    with pytest.raises(tinkex.InputError, match=why):
        types.TensorData(given, dtype)


def test_target_tokens_with_fractions_are_refused_by_name() -> None:
    with pytest.raises(tinkex.InputError, match=r"loss_fn_inputs\['target_tokens'\]: .* fractions"):
        types.Datum(types.ModelInput.from_ints([1]), {"target_tokens": torch.tensor([0.5])})


@pytest.mark.parametrize(("data", "dtype"), [([1.5, -2.0], torch.float32), ([2**62, -1], torch.int64)])
def test_to_torch_gives_a_tensor_of_ones_own(data: list[Any], dtype: torch.dtype) -> None:
    tensor = types.TensorData(data)
    first = tensor.to_torch()
    assert (first.dtype, first.tolist()) == (dtype, data)
    first.zero_()
    assert tensor.to_torch().tolist() == data


def test_to_torch_copies_the_values_once() -> None:
    tensor = types.TensorData(torch.rand(500_000))
    tensor.to_torch()
    tracemalloc.start()
    try:
        made = tensor.to_torch()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made.numel() == 500_000
    # Torch's own memory is not seen here, so what is seen must be what it was given to use.
    assert made.nbytes <= peak < 1.1 * made.nbytes


def test_torch_without_numpy_is_enough(server: TinkerServer) -> None:
    code = """
        import sys, warnings
        sys.modules["numpy"] = None
        warnings.simplefilter("ignore")
        import tinkex, torch
        from tinkex import types
        config = tinkex.Config(base_url=sys.argv[1], api_key="tml-test", wire_format="json")
        service = tinkex.ServiceClient(config=config)
        training = service.create_lora_training_client("tinkex/byte-lm")
        inputs = {"target_tokens": torch.tensor([2, 3]), "goal": torch.tensor([0.0, 1.0]).bfloat16()}
        datum = types.Datum(types.ModelInput.from_ints([1, 2]), inputs)
        def loss(data, logprobs):
            print(*logprobs[0].tolist())
            return ((logprobs[0] - data[0].loss_fn_inputs["goal"].to_torch()) ** 2).sum(), {}
        print(training.forward_backward_custom([datum], loss).result(60).metrics["loss:sum"])
        service.close()
    """
    ran = run_code(code, server.url)
    logprobs, loss = ([float(number) for number in line.split()] for line in ran.stdout.splitlines())
    first, second = logprobs
    assert loss == [pytest.approx(first**2 + (second - 1) ** 2)], ran.stderr
    [backward] = [r for r in server.requests.to("/forward_backward") if b'"weights"' in r.content]
    [sent] = backward.json()["forward_backward_input"]["data"]
    assert sent["loss_fn_inputs"]["weights"]["data"] == pytest.approx([-2 * first, -2 * (second - 1)])
