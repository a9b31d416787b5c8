"""Tinkex and the official SDK side by side: ``python -m benchmarks``. See README.md."""
