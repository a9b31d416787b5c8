"""``install_as_tinker``: what ``import tinker`` gives afterwards. Every program is a process of its own."""

from __future__ import annotations

from pathlib import Path

from programs import run_code, run_python


def test_tinker_is_tinkex() -> None:
    run_code(
        """
        import tinkex

        tinkex.install_as_tinker()
        tinkex.install_as_tinker()  # a second call does nothing

        import tinker
        import tinker.types.image_chunk
        from tinker import types
        from tinker.lib.public_interfaces.service_client import ServiceClient
        from tinker.types.tensor_data import TensorData

        assert tinker is not tinkex
        assert tinker.ServiceClient is ServiceClient is tinkex.ServiceClient
        assert types.TensorData is TensorData is tinkex.TensorData
        assert tinker.types.image_chunk.ImageChunk is tinkex.types.ImageChunk
        assert tinker.__version__ == "0.38.0"

        with tinker.ServiceClient(base_url="local://") as service:
            training = service.create_lora_training_client("tinkex/byte-lm", rank=2)
            assert isinstance(training, tinker.APIFuture)
            assert isinstance(training, tinker.BackcompatTrainingClientFuture)
            saved = training.save_state("s")
            assert isinstance(saved, tinker.APIFuture)
            assert issubclass(tinker.APIFuture[int].__origin__, tinker.APIFuture)
            saved.result()
        """
    )


def test_every_module_can_be_imported_and_has_its_names() -> None:
    run_code(
        """
        import importlib, inspect, pkgutil
        import tinkex

        tinkex.install_as_tinker()
        import tinker
        from tinkex.compat.names import MODULES

        walked = {"tinker", *(found.name for found in pkgutil.walk_packages(tinker.__path__, "tinker."))}
        assert walked == set(MODULES)
        for name in sorted(MODULES):
            module = importlib.import_module(name)
            assert module.__name__ == module.__spec__.name == name
            for attribute in MODULES[name].split():
                value = getattr(module, attribute)
                assert not inspect.ismodule(value) or attribute == "auth", (name, attribute)
            assert set(MODULES[name].split()) <= set(dir(module))
        """
    )


def test_names_that_do_not_exist_are_refused_as_by_any_module() -> None:
    run_code(
        """
        import tinkex

        tinkex.install_as_tinker()
        import tinker

        try:
            import tinker.lib.nothing
        except ModuleNotFoundError as error:
            assert error.name == "tinker.lib.nothing", error
        try:
            from tinker import Nothing
        except ImportError as error:
            assert "Nothing" in str(error)
        assert not hasattr(tinker.types, "Nothing")
        """
    )


def test_pickles_name_tinkex() -> None:
    run_code(
        """
        import pickle
        import tinkex

        tinkex.install_as_tinker()
        import tinker

        pickled = pickle.dumps(tinker.ModelInput.from_ints([1, 2]))
        assert b"tinkex" in pickled and b"tinker." not in pickled
        assert pickle.loads(pickled).to_ints() == [1, 2]
        """
    )


def test_the_metadata_have_the_version() -> None:
    run_code(
        """
        import importlib.metadata
        import tinkex

        tinkex.install_as_tinker()
        assert importlib.metadata.version("tinker") == "0.38.0"
        assert importlib.metadata.metadata("tinker")["Name"] == "tinker"
        importlib.metadata.packages_distributions  # the other distributions are found as before
        assert importlib.metadata.version("requests")
        """
    )


def test_the_official_package_that_is_already_imported_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "tinker.py").write_text("answer = 42")
    done = run_python(
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import tinker, tinkex\n"
        "try:\n"
        "    tinkex.install_as_tinker()\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        "import tinker\n"
        "print(tinker.answer)\n",
    )
    assert done.returncode == 0, done.stderr
    assert "already imported" in done.stdout
    assert str(tmp_path) in done.stdout
    assert done.stdout.endswith("42\n")


def test_an_official_package_that_is_only_installed_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "tinker.py").write_text("raise SystemExit(1)")
    run_code(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import tinkex

        tinkex.install_as_tinker()
        import tinker
        assert tinker.ServiceClient is tinkex.ServiceClient
        """
    )


def test_importing_tinkex_does_not_load_the_drop_in() -> None:
    run_code(
        """
        import sys
        import tinkex

        assert not [name for name in sys.modules if name.startswith(("tinkex.compat", "tinker"))]
        """
    )


def test_the_first_contact_takes_as_long_as_with_the_official_client() -> None:
    run_code(
        """
        import tinkex

        before = tinkex.Config.from_env(base_url="local://").first_contact_timeout
        tinkex.install_as_tinker()
        after = tinkex.Config.from_env(base_url="local://").first_contact_timeout
        assert before < 10
        assert after == 300
        """
    )


def test_a_future_of_ones_own_can_be_awaited() -> None:
    run_code(
        """
        import asyncio
        from concurrent.futures import Future
        import tinkex

        tinkex.install_as_tinker()
        from tinker import APIFuture
        from tinker.lib.public_interfaces.api_future import AwaitableConcurrentFuture

        async def main():
            inner = Future()
            outer = AwaitableConcurrentFuture(inner)
            assert isinstance(outer, APIFuture) and outer.future() is inner
            task = asyncio.create_task(outer.coroutine())
            inner.set_result(7)
            assert await task == await outer == outer.result() == 7
            try:
                await AwaitableConcurrentFuture(Future()).result_async(0.01)
            except asyncio.TimeoutError:
                return
            raise AssertionError

        asyncio.run(main())
        """
    )


def test_types_of_earlier_releases_exist() -> None:
    run_code(
        """
        import tinkex

        tinkex.install_as_tinker()
        from tinker.types import CheckpointArchiveUrlResponse
        from tinker.types.checkpoint_archive_url_response import CheckpointArchiveUrlResponse as same

        assert CheckpointArchiveUrlResponse is same is tinkex.types.CheckpointArchiveUrlResponse
        """
    )


def test_matrices_of_top_k_logprobs_become_rows() -> None:
    run_code(
        """
        import numpy as np
        import tinkex

        tinkex.install_as_tinker()
        from tinker.types.topk_logprobs import MASK_LOGPROB, TopkLogprobs, topk_to_lists

        token_ids = np.array([[1, 2], [3, 0], [0, 0]], dtype=np.int32)
        logprobs = np.array([[-1.0, -2.0], [-1.0, MASK_LOGPROB], [MASK_LOGPROB] * 2], dtype=np.float32)
        rows = topk_to_lists(TopkLogprobs(token_ids=token_ids, logprobs=logprobs))
        assert rows == [[(1, -1.0), (2, -2.0)], [(3, -1.0)], None], rows
        """
    )


def test_proto_messages_have_the_official_names() -> None:
    run_code(
        """
        import tinkex

        tinkex.install_as_tinker()
        from tinker.proto import tinker_public_pb2 as pb

        sequence = pb.SampledSequence(stop_reason=pb.STOP_REASON_LENGTH, tokens=b"abcd")
        read = pb.SampleResponse.FromString(pb.SampleResponse(sequences=[sequence]).SerializeToString())
        assert read.sequences[0].stop_reason == pb.StopReason.Value("STOP_REASON_LENGTH")
        assert pb.Tensor(dense=b"", dtype=pb.DTYPE_FLOAT32).WhichOneof("encoding") == "dense"
        """
    )


def test_the_calls_in_the_classes_of_clients_are_the_official_ones() -> None:
    """The cookbook's tracing wraps the official calls, and its tests look for others in ``vars`` of the classes."""
    run_code(
        """
        import inspect
        import tinkex

        def calls(kind):
            found = {name: call for name, call in vars(kind).items() if inspect.isfunction(call)}
            return {
                name
                for name, call in found.items()
                if not name.startswith("_")
                and not name.endswith("_async")
                and "Future" in str(inspect.signature(call).return_annotation)
            }

        assert calls(tinkex.SamplingClient) == {"sample", "compute_logprobs"}
        assert calls(tinkex.TrainingClient) == {
            "forward",
            "forward_backward",
            "forward_backward_custom",
            "optim_step",
            "save_state",
            "load_state",
            "load_state_with_optimizer",
            "save_weights_for_sampler",
            "save_weights_external",
        }
        assert hasattr(tinkex.TrainingClient, "unload") and hasattr(tinkex.SamplingClient, "sample_many")
        """
    )
