"""The measures in the order of the table, with the goal of Tinkex for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    key: str
    label: str
    unit: str
    scale: float  # the factor from seconds or bytes to the unit
    goal: float | None  # the highest ratio of Tinkex to the official SDK; None if there is no goal


MEASURES = [
    Measure("import_time", "`import`: time", "ms", 1e3, 0.35),
    Measure("import_memory", "`import`: peak memory", "MB", 1e-6, 0.55),
    Measure("installed_size", "installed size of a fresh environment", "MB", 1e-6, 0.10),
    Measure("sample_cpu", "CPU per `sample`, 256 tokens in, 256 out", "ms", 1e3, 0.35),
    Measure("thousand_wall", "1,000 samples in flight, 1 s latency: wall", "s", 1, 0.7),
    Measure("thousand_memory", "1,000 samples in flight: peak memory", "MB", 1e-6, 0.7),
    Measure("thousand_cpu", "1,000 samples in flight: CPU per sample", "ms", 1e3, None),
    Measure("training_cpu", "CPU per training step, 64 x 2,048 tokens", "ms", 1e3, 0.5),
    Measure("optim_cpu", "CPU per `optim_step` round trip", "ms", 1e3, 0.4),
    Measure("create_cpu", "CPU to create a service and a sampling client", "ms", 1e3, 0.2),
    Measure("heartbeat_cpu", "CPU per heartbeat, 200 sessions", "ms", 1e3, 0.4),
]

# The works to run, and the seconds that the server takes for each sample.
WORKS = {
    "import": 0.0,
    "sample": 0.0,
    "thousand": 1.0,
    "training": 0.0,
    "optim": 0.0,
    "create": 0.0,
    "heartbeat": 0.0,
}
