"""The base class of control-plane messages: small JSON objects, read and written by dataclasses-json.

dataclasses-json converts values of a wrong type (``str({})``, ``bool("no")``), so each field is checked first. It
is slow, so data whose size grows with the number of tokens has its own codecs in ``tinkex.wire``.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tinkex.errors import InputError
from tinkex.types.data import Data

if TYPE_CHECKING:
    from dataclasses_json import DataClassJsonMixin

M = TypeVar("M", bound="Message")


class Message(Data, strict=False):
    """Data that is read from JSON, where unknown fields are ignored, and written without None fields."""

    dataclass_json_config: Any = None

    @classmethod
    def from_dict(cls: type[M], answer: Any) -> M:
        """Return the message in a JSON object. A field that is null gets its default, if it has one.

        Raises ``ValueError`` if ``answer`` is not an object, or a field is missing or has a wrong type.
        """
        message: M = _mixin().from_dict.__func__(cls, _checked(cls, answer))  # type: ignore[attr-defined]
        return message

    def to_dict(self) -> dict[str, Any]:
        """Return the message as a JSON object, with all its fields."""
        return _mixin().to_dict(self)  # type: ignore[arg-type]

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send, without fields that are None. Nested messages are not converted."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def _from_mapping(cls: type[M], fields: dict[str, Any]) -> M:
        if cls._strict:
            return super()._from_mapping(fields)
        try:
            return cls.from_dict(fields)
        except ValueError as error:
            raise InputError(str(error)) from None


@functools.cache
def _mixin() -> type[DataClassJsonMixin]:
    # Imported for the first message that is read, since it takes a fifth of the time to import the package.
    from dataclasses_json import DataClassJsonMixin, Undefined, config

    Message.dataclass_json_config = config(undefined=Undefined.EXCLUDE)["dataclasses_json"]
    return DataClassJsonMixin


@functools.cache
def _fields(kind: Any) -> list[tuple[str, Any, bool]]:
    """Return ``(name, type, whether it has a default)`` for each field.

    The type is ``object`` for a field that a function decodes, or Any if it may be null.
    """
    hints = get_type_hints(kind)
    return [
        (
            field.name,
            _decoded(hints[field.name]) if field.metadata.get("dataclasses_json") else hints[field.name],
            not (field.default is field.default_factory is dataclasses.MISSING),
        )
        for field in dataclasses.fields(kind)
    ]


def _decoded(hint: Any) -> Any:
    return Any if type(None) in get_args(hint) else object


def _checked(kind: type[Message], answer: Any) -> dict[str, Any]:
    """Return the fields of ``answer`` that dataclasses-json is to read."""
    if not isinstance(answer, dict):
        raise ValueError(f"{kind.__name__} must be an object, not {_name_of(answer)}")
    checked = {}
    for name, hint, has_default in _fields(kind):
        value = answer.get(name)
        if value is None and has_default:
            continue
        if name not in answer:
            raise ValueError(f"{kind.__name__} has no {name}")
        checked[name] = _fitting(hint, value, name)
    return checked


def _fitting(hint: Any, value: Any, name: str) -> Any:
    """Return ``value``. Raises ``ValueError`` unless it and its items are of the type ``hint``."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or (value is None and type(None) in args) or (value is not None and hint is object):
        return value
    if origin in (Union, types.UnionType):  # the only unions are those with None
        return _fitting(next(one for one in args if one is not type(None)), value, name)
    if origin is list and isinstance(value, list):
        return [_fitting(args[0], one, name) for one in value]
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _fitting(args[1], one, name) for key, one in value.items()}
    if origin is None and issubclass(hint, Message):
        return _checked(hint, value)
    # A newer server may have more values than a Literal lists.
    wanted = type(args[0]) if origin is Literal else hint
    if type(value) is not wanted and not (type(value) is int and wanted is float):
        raise ValueError(f"{name} must be {_WORDS.get(wanted, wanted)}, not {_name_of(value)}")
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is a number beyond 64 bits")
    return value


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", object: "a value"}


def _name_of(value: Any) -> str:
    return "null" if value is None else type(value).__name__
