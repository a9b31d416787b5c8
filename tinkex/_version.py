"""The version of Tinkex, which ``setup.py`` and the ``User-Agent`` header read."""

__version__ = "0.1.0"
