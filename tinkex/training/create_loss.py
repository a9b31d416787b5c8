"""Stores a traced loss on a server that runs custom losses itself."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tinkex.api import service as api
from tinkex.errors import InputError
from tinkex.losses.traced import LossHandle, encode
from tinkex.session.session import Session


def create_custom_loss(session: Session, loss: LossHandle) -> LossHandle:
    """Store ``loss`` on the server and return it with its id.

    On a server that does not run losses, ``loss`` is returned without an id, and runs in this process. Raises
    ``InputError`` if the session already has the same loss, as the official SDK does. A loss that the server
    refused may be created again.
    """
    known = session.losses.setdefault(loss.key, loss)
    if known is not loss:
        raise InputError(f"this session has the same custom loss already, as {known.name!r}; use its handle")
    if not session.flags.custom_loss_server_side:
        return loss
    submit = partial(
        api.create_custom_loss,
        session.transport,
        session.id,
        session.next_loss_number(),
        loss.name,
        loss.inputs,
        encode(loss.graph),
    )
    try:
        loss_id = session.poller.wait(submit(), submit)
    except BaseException:
        del session.losses[loss.key]
        raise
    return replace(loss, loss_id=loss_id)
