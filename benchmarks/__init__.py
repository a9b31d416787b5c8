"""Compares Tinkex with the official SDK: ``python -m benchmarks``. See README.md."""
