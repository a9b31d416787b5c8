"""A few cells of every family of faults, on every run of the tests. The whole matrix: ``tox run -e faults``."""

from __future__ import annotations

import pytest

from . import matrix
from .catalogue import FAULTS
from .cell import KINDS

WORKERS = 4

# Faults, places and modes: every fault strikes at every place in every mode.
_CHOSEN: tuple[tuple[str, str, str], ...] = (
    # A step must not be lost: the work is done, its answer lost, and the next try is refused.
    (
        "lost-then-400-empty lost-then-400-html lost-then-422-json lost-then-404-json lost-then-200-object",
        "forward_backward.submit",
        "once",
    ),
    ("lost-then-400-html lost-then-422-json", "optim_step.submit pipeline.first pipeline.second", "once"),
    ("lost-then-400-html", "forward_backward_in_chunks.submit save_state.submit", "once"),
    # A step must not be doubled: the work is done, and what is said of it cannot be read.
    (
        "200-html.before 204.before 200-empty.before 103-then-end.before redirect-307.before json-seven.before "
        "json-object.before cut-in-headers cut-in-body json-bomb-deep.before",
        "forward_backward.poll",
        "once",
    ),
    (
        "200-html.before json-null.before every-value-7 result-of-forward-backward",
        "optim_step.poll",
        "once while",
    ),
    ("200-html.before status-404-json.before", "forward_backward.poll pipeline.poll", "ever"),
    ("200-html.after 204.after redirect-302.after", "forward_backward.submit optim_step.submit", "once"),
    # Waits are bounded.
    (
        "retry-after-a-day-503.before retry-after-year-2100-429.before retry-after-year-9999-503.before",
        "forward_backward.submit sample.submit download_checkpoint.links",
        "once",
    ),
    ("silence.before refused", "forward_backward.poll forward_backward_in_chunks.poll", "ever"),
    (
        "silence.after drips reset.after refused",
        "optim_step.submit create_lora_training_client.submit",
        "once",
    ),
    ("request-id-unknown.after", "pipeline.first", "once"),
    (
        "drips-for-ever.before headers-for-ever.before one-header-for-ever.before chunks-for-ever.before "
        "100-flood.before",
        "forward_backward.poll get_info.get",
        "once",
    ),
    # Errors are typed, whatever the bytes; memory is bounded.
    (
        "chunk-2-64 length-huge json-bomb-400-digits.before json-bomb-infinity.before gzip-damaged "
        "status-line-garbage.before headers-10000",
        "get_info.get create_service.config",
        "once",
    ),
    (
        "proto-empty proto-num-datums-2-62 proto-falling-offsets mutated-0 mutated-1 mutated-2 numbers-400-digits",
        "forward_backward.poll sample.poll",
        "once",
    ),
    ("gzip-bomb.before body-300-mb.before", "forward_backward.poll get_server_capabilities.get", "once"),
    # Short results are not taken for whole ones, nor other requests' for one's own.
    ("loss-fn-outputs-one-less short-arrays", "forward_backward.poll", "once"),
    ("sequences-one-less text-tokens", "sample.poll", "once"),
    ("prompt-logprobs-none prompt-logprobs-left-out", "compute_logprobs.poll", "once"),
    ("promise-of-forward_backward result-of-sample", "optim_step.submit optim_step.poll", "once"),
    # What is done is not said to be refused.
    ("reset.after status-502-html.after", "unload.submit delete_checkpoint.send close.finish", "once"),
    ("gone", "unload.poll forward_backward.poll", "ever"),
    # A session is given up only where the server itself says so.
    (
        "status-400-html.before status-402-empty.before status-404-json.before reset.before",
        "heartbeat.beat",
        "once",
    ),
    # The key is in no text, and goes to no other host.
    (
        "status-400-key.before key-in-failed-work.before key-in-html.before key-in-status-line.before "
        "key-in-bad-header.before redirect-key.before key-in-messages.before",
        "create_service.session forward_backward.poll",
        "once",
    ),
    ("nothing", "forward_backward.submit sample.poll download_archive.archive telemetry.report", "once"),
)


def _quick() -> list[str]:
    wanted = {
        f"{fault}:{place}:{mode}"
        for faults, places, modes in _CHOSEN
        for fault in faults.split()
        for place in places.split()
        for mode in modes.split()
    }
    there = set(matrix.all_cells(full=True))
    unknown = {key.split(":")[0] for key in wanted} - FAULTS.keys()
    assert not unknown, f"no such faults: {sorted(unknown)}"
    # A fault that is only of some kinds of places strikes at those of the row.
    return sorted(wanted & there)


@pytest.fixture(scope="module")
def verdicts() -> list[matrix.Verdict]:
    return matrix.run(_quick(), WORKERS)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_no_cell_has_a_finding(kind: str, verdicts: list[matrix.Verdict]) -> None:
    found = [
        f"{verdict['key']}: {text}"
        for verdict in matrix.failing(verdicts)
        for what, text in verdict["findings"]
        if what == kind
    ]
    assert not found, "\n".join([f"{len(found)} cells:", *found])


@pytest.mark.timeout(300)
def test_every_fault_struck(verdicts: list[matrix.Verdict]) -> None:
    assert [verdict["key"] for verdict in verdicts if not verdict["hits"]] == []
