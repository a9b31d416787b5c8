"""The differences between the official package and Tinkex that a script could notice, one line each.

Compared are all public modules and their names, and of each class its fields, constructor, methods and members: names,
order, kinds and defaults of parameters, the values of constants and enums, the bases of exceptions. What Tinkex has
beyond the official package (another name, another optional parameter after the official ones) is no difference.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import tinker
from pydantic import BaseModel

from tinkex.compat.modules import find
from tinkex.compat.names import MODULES

NOTHING = object()
SKIPPED = {"annotations", "TYPE_CHECKING", "logger", "log"}
"""Names that modules have for their own use."""


def official_modules() -> list[str]:
    """The names of the public modules: those without an underscore, a test or a ``__main__``."""
    root = Path(tinker.__file__).parent
    names = {"tinker"}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") or part.endswith("_test") for part in parts):
            names.update(".".join(("tinker", *parts[: n + 1])) for n in range(len(parts)))
    return sorted(names)


def official_names(module: types.ModuleType) -> dict[str, object]:
    """The public names of a module: those of ``__all__``, or else those that it defines.

    A package, and each module of ``tinker.types``, also offers what it imports from other modules of the package.
    """
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    found = {name: getattr(module, name) for name in names}
    listed = hasattr(module, "__all__")
    return {
        name: value
        for name, value in found.items()
        if not inspect.ismodule(value) and (listed or (name not in SKIPPED and _is_offered(module, value)))
    }


def _is_offered(module: types.ModuleType, value: object) -> bool:
    if (
        value is None
        or isinstance(value, (TypeVar, ParamSpec))
        or any(getattr(typing, name, None) is value for name in typing.__all__)
    ):
        return False
    home = getattr(value, "__module__", None)
    if home in (None, "typing", module.__name__):
        return True
    offers_others = hasattr(module, "__path__") or module.__name__.startswith("tinker.types.")
    return offers_others and home.startswith("tinker") and not home.startswith("tinker._")


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float))


def differences() -> list[str]:
    """All differences, as ``name: what differs``, each once."""
    return list(dict.fromkeys(_differences()))


def _differences() -> Iterator[str]:
    compared: set[type] = set()
    for module_name in official_modules():
        if module_name not in MODULES:
            yield f"{module_name}: the module is missing"
            continue
        for name, official in official_names(importlib.import_module(module_name)).items():
            try:
                ours = find(module_name, name) if name in MODULES[module_name].split() else NOTHING
            except AttributeError:
                ours = NOTHING
            if ours is NOTHING:
                yield f"{module_name}.{name}: missing"
            elif inspect.isclass(official) and official.__module__ != "builtins" and official not in compared:
                compared.add(official)
                yield from class_differences(official, ours)
            elif inspect.isfunction(official):
                yield from call_differences(f"{module_name}.{name}", official, ours)
            elif _is_plain(official) and official != ours:
                yield f"{module_name}.{name}: {ours!r} instead of {official!r}"


def class_differences(official: type, ours: Any) -> Iterator[str]:
    """The differences between two classes of one name."""
    name = official.__name__
    if not inspect.isclass(ours):
        yield f"{name}: no class"
        return
    if issubclass(official, enum.Enum):
        members = {member.name: member.value for member in ours} if issubclass(ours, enum.Enum) else {}
        for member in official:
            if members.get(member.name, NOTHING) != member.value:
                yield f"{name}.{member.name}: missing"
        return
    if issubclass(official, BaseException):
        ancestors = {base.__name__ for base in ours.__mro__}
        for base in official.__mro__[1:]:
            if base.__name__ not in ancestors:
                yield f"{name}: not a {base.__name__}"
    if not inspect.isabstract(official):
        yield from call_differences(name, official, ours)
    fields = getattr(official, "model_fields", None) or getattr(official, "__dataclass_fields__", {})
    attributes = {
        *dir(ours),
        *getattr(ours, "__dataclass_fields__", {}),
        *inspect.signature(ours.__init__).parameters,
    }
    for field in fields:
        if field not in attributes and not field.startswith("_"):
            yield f"{name}.{field}: the field is missing"
    for attribute in sorted(dir(official)):
        if attribute.startswith("_") or attribute in fields:
            continue
        if attribute not in attributes:
            of_pydantic = hasattr(BaseModel, attribute) and issubclass(official, BaseModel)
            yield f"{'pydantic.BaseModel' if of_pydantic else name}.{attribute}: missing"
            continue
        method = inspect.getattr_static(official, attribute)
        method = getattr(method, "__func__", method)
        if inspect.isfunction(method) and (method.__module__ or "").startswith("tinker"):
            yield from call_differences(
                f"{name}.{attribute}", getattr(official, attribute), getattr(ours, attribute)
            )


def call_differences(name: str, official: Any, ours: Any) -> Iterator[str]:
    """The differences that a call can meet: the parameters, their order, kinds and defaults."""
    try:
        wanted, offered = inspect.signature(official).parameters, inspect.signature(ours).parameters
    except (TypeError, ValueError):
        return
    if {p.kind for p in wanted.values() if p.name != "self"} == {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }:
        return  # a wrapper that passes everything on
    ours_by_position = [
        p.name for p in offered.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    any_keyword = any(p.kind is p.VAR_KEYWORD for p in offered.values())
    any_position = any(p.kind is p.VAR_POSITIONAL for p in offered.values())
    position = -1
    for parameter in wanted.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            if not any_keyword:
                yield f"{name}(**{parameter.name}): other keywords are refused"
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue
        by_position = parameter.kind is not parameter.KEYWORD_ONLY
        position += by_position
        found = offered.get(parameter.name)
        if found is None:
            if not any_keyword or (by_position and not any_position):
                yield f"{name}({parameter.name}): the parameter is missing"
            continue
        if by_position and not any_position and ours_by_position[position : position + 1] != [parameter.name]:
            yield f"{name}({parameter.name}): not the parameter number {position + 1}"
        if parameter.default is parameter.empty:
            continue
        if found.default is found.empty:
            yield f"{name}({parameter.name}): no default instead of {_shown(parameter.default)}"
        elif not _are_equal(found.default, parameter.default):
            yield f"{name}({parameter.name}): default {_shown(found.default)} instead of {_shown(parameter.default)}"
    for parameter in offered.values():
        required = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if required and parameter.name not in wanted:
            yield f"{name}({parameter.name}): a required parameter that the official one has not"


def _are_equal(ours: object, official: object) -> bool:
    return ours == official or _shown(ours) == _shown(official)


def _shown(default: object) -> str:
    """A default as text. Equal defaults of the two packages have equal texts."""
    if isinstance(default, enum.Enum):
        return repr(default.value)
    if default in ([], {}) or type(default).__name__ in ("NotGiven", "_HAS_DEFAULT_FACTORY_CLASS"):
        return "a new value"
    if hasattr(type(default), "__dataclass_fields__") or isinstance(default, BaseModel):
        return f"{type(default).__name__}()"
    if isinstance(default, tuple):
        return str([getattr(each, "__name__", each) for each in default])
    return repr(default) if _is_plain(default) or default is None else type(default).__name__


if __name__ == "__main__":
    print(*differences(), sep="\n")
