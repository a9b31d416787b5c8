"""The base of control-plane messages: small JSON objects, read and written by dataclasses-json.

What scales with tokens never goes through it; ``tinkex.wire`` has codecs for that.
"""

from __future__ import annotations

from typing import Any

from dataclasses_json import DataClassJsonMixin, Undefined, config


class Message(DataClassJsonMixin):
    """A dataclass that ignores fields it does not know and leaves out those that are None."""

    dataclass_json_config = config(undefined=Undefined.EXCLUDE)["dataclasses_json"]

    def to_wire(self) -> dict[str, Any]:
        """The JSON object to send: fields that are None are left out. Messages that are sent have no nested ones."""
        return {name: value for name, value in vars(self).items() if value is not None}
