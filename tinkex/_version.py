"""The version of Tinkex, kept here alone: ``setup.py`` and the ``User-Agent`` header both read it."""

__version__ = "0.1.0"
