"""Makes two virtual environments that differ only in the SDK."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
OFFICIAL = "tinker==0.38.0"

# The packages that a virtual environment has before anything is installed into it.
NOT_COUNTED = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth", "wheel")


def prepare(directory: Path) -> dict[str, Path]:
    """Return the interpreter of each SDK, by module name.

    Existing environments are used again, but Tinkex is always installed anew, from this checkout.
    """
    if sys.version_info < (3, 11):
        raise SystemExit("the official SDK needs Python 3.11 or later: run the benchmarks with one")
    interpreters = {sdk: directory / sdk / "bin" / "python" for sdk in ("tinkex", "tinker")}
    for sdk, python in interpreters.items():
        if not python.exists():
            print(f"making {directory / sdk}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", directory / sdk], check=True)
            if sdk == "tinker":
                pip(python, OFFICIAL)
    with tempfile.TemporaryDirectory() as scratch:
        # Installed from a copy, because an old build directory in the checkout could contain deleted modules.
        unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
        source = shutil.copytree(CHECKOUT, Path(scratch, "tinkex"), ignore=unwanted)
        pip(interpreters["tinkex"], str(source))
        pip(interpreters["tinkex"], "--force-reinstall", "--no-deps", str(source))
    return interpreters


def pip(python: Path, *arguments: str) -> None:
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *quiet, *arguments], check=True)


def installed_size(python: Path) -> int:
    """Return the bytes in the environment's site-packages, with compiled modules, without pip and setuptools."""
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    answer = subprocess.run([python, "-I", "-c", where], check=True, capture_output=True, text=True)
    return sum(
        file.stat().st_size
        for entry in Path(answer.stdout.strip()).iterdir()
        if entry.name.partition("-")[0] not in NOT_COUNTED and entry.name not in NOT_COUNTED
        for file in ([entry] if entry.is_file() else entry.rglob("*"))
        if file.is_file()
    )


def version(python: Path, sdk: str) -> str:
    ask = f"import importlib.metadata as m; print(m.version({sdk!r}))"
    answer = subprocess.run([python, "-I", "-c", ask], check=True, capture_output=True, text=True)
    return answer.stdout.strip()
