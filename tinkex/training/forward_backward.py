"""Forward and backward passes over a batch, on the lane of one model."""

from __future__ import annotations

from collections.abc import Sequence

from tinkex.api import training as api
from tinkex.losses import custom as custom_loss
from tinkex.polling.queue_state import OnQueueState
from tinkex.training import chunking
from tinkex.training import wire_format as negotiation
from tinkex.training.request_queue import Lane, SendPart, Sent
from tinkex.types.datum import Datum
from tinkex.types.training import ForwardBackwardOutput


class Passes:
    """Sends a batch as one request or several, and joins what comes back.

    ``send`` and ``run_custom`` are for jobs that run on the lane; ``collect`` may wait anywhere.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def send(self, batch: api.Batch) -> list[tuple[Sent, api.Batch]]:
        """Send ``batch``, cut as the server wants it; the requests with their parts of it."""
        session, model_id = self._lane.session, self._lane.model_id
        flags = session.flags
        chunks = chunking.split(batch.data, flags.fwdbwd_max_chunk_len, flags.fwdbwd_max_chunk_bytes_count)
        parts = [
            api.Batch(chunk, batch.loss_fn, batch.loss_fn_config, batch.forward_only) for chunk in chunks
        ]

        def sender(part: api.Batch) -> SendPart:
            compress = flags.proto_compress_fwdbwd
            return lambda seq_id: negotiation.submit(session.transport, model_id, seq_id, part, compress)

        sent = self._lane.send([sender(part) for part in parts], parallel=flags.parallel_fwdbwd_chunks)
        return list(zip(sent, parts))

    def collect(
        self, sent: Sequence[tuple[Sent, api.Batch]], observer: OnQueueState
    ) -> ForwardBackwardOutput:
        """The output of the whole batch. Poisons the lane if only some of its gradients were added."""
        outputs: list[ForwardBackwardOutput] = []
        errors: list[Exception] = []
        for request, part in sent:
            kind = "Forward" if part.forward_only else "ForwardBackward"
            try:
                outputs.append(self._lane.wait(request, kind, api.read_forward_backward, observer))
            except Exception as error:
                errors.append(error)
        if errors and outputs and not sent[0][1].forward_only:
            raise self._lane.poison(errors[0], "part of a batch failed and the gradients of the rest stand")
        if errors:
            raise errors[0]
        return chunking.join(outputs)

    def run_custom(
        self,
        data: Sequence[Datum],
        forward: Sequence[Datum],
        loss_fn: custom_loss.CustomLossFn,
        observer: OnQueueState,
    ) -> ForwardBackwardOutput:
        """A forward pass, the user's loss over its logprobs, and the backward pass of its gradients."""
        first = self.collect(self.send(api.Batch(forward, "cross_entropy", None, True)), observer)
        backward, metrics = custom_loss.backward_data(data, first, loss_fn)
        second = self.collect(self.send(api.Batch(backward, "cross_entropy", None, False)), observer)
        # The backward pass reports a loss of its own, which the official SDK hands on under this name.
        of_pass = {
            "surrogate_loss:sum" if name == "loss:sum" else name: value
            for name, value in second.metrics.items()
        }
        return ForwardBackwardOutput(
            second.loss_fn_output_type, second.loss_fn_outputs, {**of_pass, **metrics}
        )
