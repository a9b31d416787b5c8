"""The base of control-plane messages: small JSON objects, read and written by dataclasses-json.

What scales with tokens never goes through it; ``tinkex.wire`` has codecs for that.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses_json import DataClassJsonMixin

M = TypeVar("M", bound="Message")


class Message:
    """A dataclass that ignores fields it does not know and leaves out those that are None."""

    dataclass_json_config: Any = None

    @classmethod
    def from_dict(cls: type[M], answer: Any) -> M:
        """The message in a JSON object."""
        message: M = _mixin().from_dict.__func__(cls, answer)  # type: ignore[attr-defined]
        return message

    def to_dict(self) -> dict[str, Any]:
        """The message as a JSON object, with all its fields."""
        return _mixin().to_dict(self)  # type: ignore[arg-type]

    def to_wire(self) -> dict[str, Any]:
        """The JSON object to send, without fields that are None. Messages that are sent have no nested ones."""
        return {name: value for name, value in vars(self).items() if value is not None}


@functools.cache
def _mixin() -> type[DataClassJsonMixin]:
    # Imported when the first message is read: it takes a fifth of the time to import the package.
    from dataclasses_json import DataClassJsonMixin, Undefined, config

    Message.dataclass_json_config = config(undefined=Undefined.EXCLUDE)["dataclasses_json"]
    return DataClassJsonMixin
