"""Prepares both environments, runs every work in pairs, and prints and writes the table and the plot."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks import environments, report
from benchmarks.goals import WORKS

HERE = Path(__file__).resolve().parent
WORK_TIMEOUT = 240.0  # seconds; the longest takes about thirty

Pairs = dict[str, list[tuple[float, float]]]
Traffic = dict[str, dict[str, dict[str, int]]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmark-results"), help="folder to write to")
    parser.add_argument("--envs", type=Path, help="folder of the two environments, kept and used again")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each work by each SDK (default 5)")
    parser.add_argument("--only", nargs="+", choices=list(WORKS), default=list(WORKS), metavar="WORK",
                        help="some of: " + ", ".join(WORKS))  # fmt: skip
    arguments = parser.parse_args()

    with contextlib.ExitStack() as stack:
        folder = arguments.envs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        interpreters = environments.prepare(folder.resolve())
        allow_many_connections()
        pairs, traffic, failures = run(interpreters, arguments.only, arguments.pairs)
        sizes = {sdk: environments.installed_size(python) for sdk, python in interpreters.items()}
        pairs["installed_size"] = [(float(sizes["tinkex"]), float(sizes["tinker"]))]
        about = {sdk: environments.version(python, sdk) for sdk, python in interpreters.items()}
    about |= {
        "Python": platform.python_version(),
        "system": platform.platform(terse=True),
        "processors": str(os.cpu_count()),
        "pairs": str(arguments.pairs),
    }
    rows = report.rows_of(pairs)
    report.write(arguments.results, rows, traffic, about)
    print(report.table(rows) + "\n" + report.traffic_table(traffic))
    print(f"written: {arguments.results}/results.md, .svg, .json")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def run(interpreters: dict[str, Path], works: list[str], count: int) -> tuple[Pairs, Traffic, list[str]]:
    """Run every work ``count`` times with each SDK.

    Runs of Tinkex and of the official SDK alternate, so that other work of the machine affects both.
    """
    pairs: Pairs = {}
    traffic: Traffic = {}
    failures = []
    for sdk, python in interpreters.items():
        try:
            measure(python, sdk, "import")  # so that no first import pays for a cold disk
        except RuntimeError as error:
            raise SystemExit(str(error)) from None
    for work in works:
        for number in range(1, count + 1):
            try:
                found = {}
                for sdk, python in interpreters.items():
                    print(f"{work} {number}/{count}: {sdk}", file=sys.stderr)
                    found[sdk], seen = measure(python, sdk, work)
                    traffic.setdefault(work, {})[sdk] = seen
            except RuntimeError as error:
                failures.append(f"{work}: {error}")
                break
            for key, ours in found["tinkex"].items():
                pairs.setdefault(key, []).append((ours, found["tinker"][key]))
    return pairs, traffic, failures


def measure(python: Path, sdk: str, work: str) -> tuple[dict[str, float], dict[str, int]]:
    """Run one work with one SDK, against a new server; return its measures, and what the server saw."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with canned_server(WORKS[work]) as url:
        command = [str(python), "-I", str(HERE / "work.py"), sdk, work, url]
        try:
            child = subprocess.run(
                command, env=clean_environment(), capture_output=True, text=True, timeout=WORK_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{sdk} took more than {WORK_TIMEOUT:.0f} s") from None
        if child.returncode:
            raise RuntimeError(f"{sdk} failed\n{child.stderr[-2000:]}")
        with direct.open(f"{url}/stats") as answer:
            stats = json.load(answer)
    # One connection is that of the request for the statistics.
    seen = {"requests": sum(stats["requests"].values()), "connections": stats["connections"] - 1}
    return json.loads(child.stdout), seen


@contextlib.contextmanager
def canned_server(sample_latency: float) -> Iterator[str]:
    command = [sys.executable, str(HERE / "server.py"), "--sample-latency", str(sample_latency)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=10)  # closes the standard input of the server, which then ends


def clean_environment() -> dict[str, str]:
    """Return the environment without proxies and settings of Tinker and Python, which could affect the work."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("TINKER_", "PYTHON")) and not name.upper().endswith("_PROXY")
    }
    return kept | {"TINKER_API_KEY": "tml-benchmark", "TINKER_TELEMETRY": "0"}


def allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
