"""The base class of public data: dataclasses with the everyday methods of pydantic's models.

The official SDK's types are pydantic models. Here they are dataclasses, which are imported and made much faster, and
which need no pydantic. The methods take the arguments of pydantic's methods of the same names, and return the same.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import functools
import inspect
import json
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from tinkex.errors import InputError
from tinkex.observability.caller_warnings import warn_caller
from tinkex.types.descriptors import Made, OwnList
from tinkex.types.times import parse

D = TypeVar("D", bound="Data")


class FieldInfo(NamedTuple):
    """A field of a type: its annotation, and its default, which is ``dataclasses.MISSING`` if there is none."""

    annotation: Any
    default: Any
    default_factory: Any = None

    def is_required(self) -> bool:
        """Return whether the constructor needs a value for this field."""
        return self.default is dataclasses.MISSING and self.default_factory is None


class _DataType(type):
    """The type of data classes. It calls their constructors, and turns wrong arguments into ``InputError``."""

    _strict: bool
    _containers: tuple[str, ...] | None
    """The names of the fields with lists or mappings, found when the first object of the class is made."""

    if not TYPE_CHECKING:  # a type checker reads the constructor of each class instead

        def __call__(cls, *args: Any, **fields: Any) -> Any:
            try:
                made = super().__call__(*args, **fields)
            except TypeError as error:
                fitting = cls._fitting(args, fields, error)
                made = super().__call__(*args, **fitting)
            if cls._containers is None:
                cls._containers = cls._find_containers()
            for name in cls._containers:
                made.__dict__[name] = _copied(made.__dict__[name])
            return made

        @property
        def __signature__(cls) -> inspect.Signature:
            signature = inspect.signature(cls.__init__)
            return signature.replace(
                parameters=list(signature.parameters.values())[1:], return_annotation=inspect.Signature.empty
            )

    @property
    def model_fields(cls) -> dict[str, FieldInfo]:
        """The fields by name, in their order."""
        return _model_fields(cls)

    def _find_containers(cls) -> tuple[str, ...]:
        """Return the names of the fields that hold lists or mappings, which may be the caller's.

        A constructor that a class defines itself copies them itself.
        """
        if not cls.__dataclass_params__.init:  # type: ignore[attr-defined]
            return ()
        return tuple(
            field.name
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
            if not isinstance(inspect.getattr_static(cls, field.name, None), (OwnList, Made))
            and any(
                word in str(field.type) for word in ("list", "List", "dict", "Sequence", "Mapping", "Any")
            )
        )

    def _fitting(cls, args: tuple[Any, ...], fields: dict[str, Any], error: TypeError) -> dict[str, Any]:
        """Return the ``fields`` that the constructor knows, after a warning. Raises ``InputError`` or ``error``."""
        signature = inspect.signature(cls)
        unknown = [name for name in fields if name not in signature.parameters]
        known = {name: value for name, value in fields.items() if name not in unknown}
        if unknown and cls._strict:
            raise InputError(f"{cls.__name__} has no {', '.join(unknown)}") from None
        try:
            signature.bind(*args, **known)
        except TypeError as misfit:
            raise InputError(f"{cls.__name__}: {misfit}") from None
        if not unknown:
            raise error
        warn_caller(f"{cls.__name__} has no {', '.join(unknown)}, which is ignored", UserWarning)
        return known


class Data(metaclass=_DataType):
    """A dataclass with the everyday methods of pydantic's models.

    The constructor copies lists and mappings, so a later change of the caller's does not change the data. Arguments
    that a class does not know raise ``InputError`` if the class is ``strict``, because they may have been meant to
    change what is sent; otherwise they are ignored with a ``UserWarning``.
    """

    _strict = True
    _dumped: tuple[str, ...] = ()

    def __init_subclass__(
        cls, *, strict: bool | None = None, own: Iterable[str] = (), dumped: str = ""
    ) -> None:
        """Set up a subclass.

        ``own`` names the fields whose lists nobody can change later, see ``OwnList``. ``dumped`` names the fields
        that a dump has, in their order and with spaces between, if that is not the order of the constructor, or if
        the class has fields of its base class that do not apply to it.
        """
        cls._dumped = tuple(dumped.split())
        cls._containers = None
        if strict is not None:
            cls._strict = strict
        for name in own:
            setattr(cls, name, OwnList(name, cls.__dict__.get(name, dataclasses.MISSING)))
        if cls.__dict__.get("__hash__") is None:
            # ``dataclass`` keeps this method, and else makes one that fails for fields that hold lists.
            cls.__hash__ = Data.__hash__  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        self._read_nested()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Return the names and values of the fields, so that ``dict(data)`` has them."""
        return iter(self._items())

    def __hash__(self) -> int:
        return hash((type(self), *(_hashable(value) for _, value in self._items())))

    def model_dump(
        self,
        *,
        mode: str = "python",
        include: Any = None,
        exclude: Any = None,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
        **ignored: Any,
    ) -> dict[str, Any]:
        """Return the fields by name, with nested data as dictionaries and lists.

        With ``mode="json"`` all values are those of JSON. ``include`` and ``exclude`` name fields. A field counts as
        unset if it has its default. Other options of pydantic (``by_alias``, ``round_trip``, ...) have no effect.
        """
        how = _How(mode == "json", exclude_none, exclude_unset or exclude_defaults)
        dumped: dict[str, Any] = _dumped(self, how)
        if include is not None:
            dumped = {name: value for name, value in dumped.items() if name in include}
        if exclude is not None:
            dumped = {name: value for name, value in dumped.items() if name not in exclude}
        return dumped

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """Return the fields as JSON text. ``options`` are those of ``model_dump``."""
        options["mode"] = "json"
        separators = (",", ":") if indent is None else (",", ": ")
        return json.dumps(
            self.model_dump(**options), indent=indent, separators=separators, ensure_ascii=False
        )

    def model_copy(self: D, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> D:
        """Return a copy, in which the fields in ``update`` have new values. These are checked as by the constructor.

        ``deep`` copies nested data too.
        """
        copied = copy.deepcopy(self) if deep else copy.copy(self)
        return type(self)(**{**dict(copied._items()), **update}) if update else copied

    @classmethod
    def model_validate(cls: type[D], obj: Any, **ignored: Any) -> D:
        """Return ``obj`` if it is of this class, or the data that a mapping describes.

        Raises ``InputError`` if ``obj`` is something else, or if a value in it is not valid.
        """
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping):
            raise InputError(
                f"{cls.__name__} must be a {cls.__name__} or a mapping, not {type(obj).__name__}"
            )
        try:
            return cls._from_mapping({str(name): value for name, value in obj.items()})
        except InputError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{cls.__name__}: {error}") from None

    @classmethod
    def model_validate_json(cls: type[D], json_data: str | bytes | bytearray, **ignored: Any) -> D:
        """Return the data that a JSON object describes. Raises ``InputError`` as ``model_validate`` does."""
        try:
            obj = json.loads(json_data)
        except ValueError as error:
            raise InputError(f"{cls.__name__}: this is no JSON: {error}") from None
        return cls.model_validate(obj)

    @classmethod
    def model_construct(cls: type[D], _fields_set: Any = None, **values: Any) -> D:
        """Return ``cls(**values)``. Unlike pydantic's method, this checks the values."""
        return cls(**values)

    @classmethod
    def _from_mapping(cls: type[D], fields: dict[str, Any]) -> D:
        """Return the data with these fields. The constructor reads those that are mappings."""
        return cls(**fields)

    def _read_nested(self) -> None:
        """Replace mappings by the data classes that the annotations name, and texts by points in time."""
        fields = self.__dict__
        for name, read in _readers(type(self)).items():
            value = fields.get(name)
            if isinstance(value, (Mapping, list, str)):
                try:
                    fields[name] = read(value)
                except ValueError as error:
                    raise InputError(f"{type(self).__name__}.{name}: {error}") from None

    def _items(self) -> list[tuple[str, Any]]:
        """Return the names and values of all fields."""
        return [(name, getattr(self, name)) for name in _names(type(self))]

    if not TYPE_CHECKING:

        @property
        def model_fields(self) -> dict[str, FieldInfo]:
            """The fields of the class by name."""
            return _model_fields(type(self))


class _How(NamedTuple):
    """How data is dumped."""

    as_json: bool
    exclude_none: bool
    exclude_defaults: bool


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    return kind._dumped or tuple(field.name for field in dataclasses.fields(kind))


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except NameError:  # a class of numpy, which is imported only for type checkers
        return {field.name: field.type for field in dataclasses.fields(kind)}


@functools.cache
def _readers(kind: Any) -> dict[str, Callable[[Any], Any]]:
    """Return, for each field with nested data, the function that reads it."""
    readers: dict[str, Callable[[Any], Any]] = {}
    for field in dataclasses.fields(kind):
        hint = _hints(kind)[field.name]
        decoder = field.metadata.get("dataclasses_json", {}).get("decoder")
        if decoder is not None:
            readers[field.name] = functools.partial(_decode, decoder)
        elif datetime in (hint, *get_args(hint)):
            readers[field.name] = functools.partial(_decode, parse)
        elif len(inner := list(_data_classes(hint))) == 1:  # the constructors read unions of data classes
            readers[field.name] = functools.partial(_read, *inner[0])
    return readers


@functools.cache
def _model_fields(kind: Any) -> dict[str, FieldInfo]:
    hints, fields = _hints(kind), {field.name: field for field in dataclasses.fields(kind)}
    found = {}
    for field in map(fields.__getitem__, _names(kind)):
        factory = None if field.default_factory is dataclasses.MISSING else field.default_factory
        found[field.name] = FieldInfo(hints[field.name], field.default, factory)
    return found


def _is_default(kind: Any, name: str, value: Any) -> bool:
    field = _model_fields(kind)[name]
    if field.default_factory is not None:
        return bool(field.default_factory() == value)
    return field.default is not dataclasses.MISSING and bool(field.default == value)


def _dumped(value: Any, how: _How) -> Any:
    if isinstance(value, Data):
        return {
            name: _dumped(one, how)
            for name, one in value._items()
            if not (how.exclude_none and one is None)
            and not (how.exclude_defaults and _is_default(type(value), name, one))
        }
    if isinstance(value, Mapping):
        return {
            name: _dumped(one, how) for name, one in value.items() if not (how.exclude_none and one is None)
        }
    if isinstance(value, (list, tuple)):
        plain = not any(issubclass(kind, (Data, Mapping, list, tuple)) for kind in set(map(type, value)))
        if plain and not how.as_json:
            return value
        items = [_dumped(one, how) for one in value]
        return tuple(items) if isinstance(value, tuple) and not how.as_json else items
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if how.as_json and isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if how.as_json and hasattr(value, "tolist"):
        return value.tolist()
    return value


def _decode(decoder: Callable[[Any], Any], value: Any) -> Any:
    return value if value is None else decoder(value)


def _data_classes(hint: Any) -> Iterator[tuple[type[Data], Any]]:
    """Return the data classes in an annotation, each with the type of the list or dict that holds it, or None."""
    for one in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        origin = get_origin(one)
        kind = get_args(one)[-1] if origin in (list, Sequence, dict) else one
        if isinstance(kind, type) and issubclass(kind, Data):
            yield kind, origin


def _read(kind: type[Data], holder: Any, value: Any) -> Any:
    """Return ``value``, in which mappings are replaced by data of the class ``kind``."""
    if holder is dict and isinstance(value, Mapping):
        return {name: kind.model_validate(one) for name, one in value.items()}
    if holder in (list, Sequence) and isinstance(value, (list, tuple)):
        return [kind.model_validate(one) for one in value]
    return value if value is None else kind.model_validate(value)


def _copied(value: Any) -> Any:
    """Return ``value`` with copies of all lists and dictionaries in it."""
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    if isinstance(value, list):
        nested = any(issubclass(kind, (list, dict)) for kind in set(map(type, value)))
        return [_copied(one) for one in value] if nested else value.copy()
    return value


def _hashable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(one)) for name, one in value.items())
    return value.tobytes() if hasattr(value, "tobytes") else value
