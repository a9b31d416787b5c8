"""The name and the version of Tinkex, which ``setup.py`` and the ``User-Agent`` header read."""

__title__ = "tinkex"
__version__ = "0.1.0"
