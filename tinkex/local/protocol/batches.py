"""The bodies of ``/forward_backward`` and ``/forward``, in proto or JSON, read into batches."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from tinkex.local.model.batch import Batch, make_batch
from tinkex.local.model.errors import InvalidInput
from tinkex.local.protocol.fields import Fields
from tinkex.local.protocol.refused import Refused
from tinkex.local.protocol.tensors import json_tensor, json_tokens, proto_tensor, proto_tokens
from tinkex.wire import messages_pb2 as pb
from tinkex.wire.proto_codec import read_loss_config


def batch_from_proto(body: bytes) -> Batch:
    """The batch in a ``ForwardBackwardRequest``.

    Raises ``Refused`` (400 or 422) if the message cannot be read, and ``InvalidInput`` if its data breaks a rule of
    the model.
    """
    message = pb.ForwardBackwardRequest()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise Refused(400, f"the body is not a ForwardBackwardRequest: {error}") from None
    if message.seq_id < 0:
        raise Refused(422, f"seq_id: must be at least 1, is {message.seq_id}")
    for i, datum in enumerate(message.data):
        _check_provenance(message.loss_fn, i, known=bool(datum.loss_fn_input_spans))
    data = [
        (
            proto_tokens(datum.model_input, f"data[{i}]"),
            {name: proto_tensor(t, f"data[{i}].{name}") for name, t in datum.loss_fn_inputs.items()},
        )
        for i, datum in enumerate(message.data)
    ]
    # In proto3, a seq_id of 0 means that there is none.
    return make_batch(
        message.model_id,
        message.seq_id or None,
        data,
        message.loss_fn,
        read_loss_config(message),
        forward_only=message.forward_only,
    )


def batch_from_json(body: Fields, *, forward_only: bool) -> Batch:
    """The batch in the JSON body of ``/forward_backward`` or, if ``forward_only``, of ``/forward``.

    Raises ``Refused`` (400 or 422) if a field is missing or mistyped, and ``InvalidInput`` if the data breaks a rule
    of the model.
    """
    request = body.child("forward_input" if forward_only else "forward_backward_input")
    data = []
    for i, item in enumerate(request.items("data")):
        datum = Fields(item, f"data[{i}]")
        _check_provenance(request.text("loss_fn"), i, known=False)
        tensors = datum.child("loss_fn_inputs")
        data.append(
            (
                json_tokens(datum.child("model_input")),
                {name: json_tensor(tensors.child(name), f"data[{i}].{name}") for name in tensors.document},
            )
        )
    return make_batch(
        body.text("model_id"),
        body.integer("seq_id", None, low=1),
        data,
        request.text("loss_fn"),
        request.mapping("loss_fn_config") or {},
        forward_only=forward_only,
    )


def _check_provenance(loss: str, i: int, *, known: bool) -> None:
    """Raise ``InvalidInput`` if ``loss`` needs to know where the tokens of datum ``i`` come from, and does not."""
    if loss == "stable_reinforce" and not known:
        raise InvalidInput(
            f"data[{i}]: stable_reinforce needs the provenance of the tokens (Datum.with_provenance), which only proto "
            "has a place for"
        )
