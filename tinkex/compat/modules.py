"""The modules of the drop-in: each is made when it is first imported, and finds its names in Tinkex when used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder, PathEntryFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import CodeType, ModuleType

from tinkex.compat.names import COMMAND, MODULES, RENAMED, SOURCES, WHERE_FROM
from tinkex.compat.official import __version__

_PATH = "tinkex.compat:"
"""The start of each entry of the ``__path__`` of the packages, after which comes the name of the package."""


class TinkerModules(MetaPathFinder, InspectLoader):
    """Finds and makes the module ``tinker`` and all modules below it.

    It stands first on ``sys.meta_path``, so that it is found before an official package that is installed too.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the official SDK, or None for any other module."""
        if fullname not in MODULES:
            return None
        package = self.is_package(fullname)
        spec = ModuleSpec(fullname, self, origin="tinkex.compat", is_package=package)
        if package:
            spec.submodule_search_locations = [_PATH + fullname]
        return spec

    def is_package(self, fullname: str) -> bool:
        """Return whether other modules lie below ``fullname``."""
        return any(name.startswith(fullname + ".") for name in MODULES)

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its ``__getattr__``, which finds names when they are first used."""
        name = module.__name__
        provided = frozenset(MODULES[name].split())

        def get(attribute: str) -> object:
            below = f"{name}.{attribute}"
            if below in MODULES:
                return import_module(below)
            if attribute not in provided:
                raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
            value = find(name, attribute)
            setattr(module, attribute, value)
            return value

        module.__doc__ = f"``{name}`` of the official SDK, with what Tinkex has for it."
        module.__dict__["__getattr__"] = get
        module.__dict__["__dir__"] = lambda: sorted({*module.__dict__, *provided, *_children(name)})
        module.__dict__["__all__"] = sorted(n for n in provided if not n.startswith("_"))

    def get_code(self, fullname: str) -> CodeType:
        """Return the program of ``python -m``: the command line for ``tinker.cli``, and nothing for other modules."""
        source = "from tinkex.cli import main; main()" if fullname == COMMAND else ""
        return compile(source, f"<{fullname}>", "exec")

    def get_source(self, fullname: str) -> None:
        """Return None: the modules have no source."""
        return

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Distribution]:
        """Return the distribution whose version ``importlib.metadata.version("tinker")`` returns."""
        return [_Tinker()] if context.name == "tinker" else []


def listing(entry: str) -> PathEntryFinder:
    """Return what lists the modules of one package for ``pkgutil``; a hook of ``sys.path_hooks``."""
    if not entry.startswith(_PATH):
        raise ImportError(f"{entry!r} is no package of the drop-in", path=entry)
    return _Listing(entry.removeprefix(_PATH))


class _Listing(PathEntryFinder):
    """Lists the modules of one package. It finds none by itself, because ``TinkerModules`` finds all."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> None:
        return

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        for name in _children(self._package):
            below = f"{self._package}.{name}"
            yield prefix + name, any(other.startswith(below + ".") for other in MODULES)


class _Tinker(Distribution):
    """The metadata of the official package, whose version programs ask for."""

    def read_text(self, filename: str) -> str | None:
        if filename == "METADATA":
            return f"Metadata-Version: 2.1\nName: tinker\nVersion: {__version__}\n"
        return None

    def locate_file(self, path: object) -> Path:
        return Path(str(path))


def _children(package: str) -> list[str]:
    """Return the last parts of the names of the modules directly below ``package``."""
    start = len(package) + 1
    return sorted(
        name[start:] for name in MODULES if name.startswith(package + ".") and "." not in name[start:]
    )


def find(module: str, name: str) -> object:
    """Return the object that Tinkex has for ``name`` of the official module."""
    if renamed := RENAMED.get(f"{module}.{name}"):
        source, _, name_here = renamed.rpartition(".")
        return getattr(import_module(source), name_here)
    for source in WHERE_FROM.get(module, SOURCES):
        value = getattr(import_module(source), name, None)
        if value is not None:
            return value
    raise AttributeError(f"module {module!r} has no attribute {name!r}")
