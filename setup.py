"""The metadata of the package.

The version is in ``tinkex/_version.py``, and the settings of the tools are in ``pyproject.toml``.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
SOURCE = "https://github.com/tinkex/tinkex"


def read_version() -> str:
    # The file is read and not imported, because importing the package needs its dependencies, which are not
    # installed while it is built.
    source = (HERE / "tinkex" / "_version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if match is None:
        raise RuntimeError("tinkex/_version.py has no __version__ line")
    return match.group(1)


LOCAL = ["numpy>=1.26", "waitress>=3.0", "safetensors>=0.4", "threadpoolctl>=3.1"]
EXTRAS = {
    "local": LOCAL,
    "cli": ["click>=8.1.3", "rich>=13.0"],
    "tokenizers": ["tokenizers>=0.15", "huggingface_hub>=0.20"],
    "train": ["jinja2>=3.1", "tokenizers>=0.15", "huggingface_hub>=0.20"],
    "zstd": ["zstandard>=0.22; python_version < '3.14'"],
    "testing": [*LOCAL, "pytest>=7.4"],
    "test": [
        "pytest>=8.0",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.5",
        "gunicorn>=21",
        "hypothesis>=6.100",
        "responses>=0.25",
        "requests-mock>=1.12",
        "vcrpy>=6.0",
        "opentelemetry-api>=1.20",
        "tokenizers>=0.15",
        "jinja2>=3.1",
        "pyarrow>=15",
        "tensorboardX>=2.6",
        "zstandard>=0.22",
    ],
}

setup(
    name="tinkex",
    version=read_version(),
    description="A blocking, threaded Python SDK for the Tinker fine-tuning API, with an embedded server",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The Tinkex developers",
    url=SOURCE,
    project_urls={
        "Documentation": f"{SOURCE}#readme",
        "Source": SOURCE,
        "Changelog": f"{SOURCE}/blob/main/CHANGELOG.md",
        "Issues": f"{SOURCE}/issues",
    },
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["tinkex", "tinkex.*"]),
    package_data={
        "tinkex": ["py.typed"],
        "tinkex.wire": ["*.proto", "*.pyi"],
        "tinkex.cli": ["data/*.jsonl"],
    },
    install_requires=["requests>=2.31", "urllib3>=2.0.2", "dataclasses-json>=0.6.1", "protobuf>=4.25"],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["tinkex = tinkex.cli:main"],
        "pytest11": ["tinkex = tinkex.testing.plugin"],
    },
    zip_safe=False,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
