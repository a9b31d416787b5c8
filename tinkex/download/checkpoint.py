"""Downloads a checkpoint into a folder, as single files or as an archive, depending on what the server offers."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, wait
from pathlib import Path

from tinkex.concurrency.executor import DaemonExecutor
from tinkex.download import links
from tinkex.download.archives import MAX_FILES, unpack
from tinkex.download.fetch import Fetcher
from tinkex.download.paths import UnsafeDownloadError, inside
from tinkex.download.progress import Tracker
from tinkex.errors import InputError
from tinkex.http.transport import Transport
from tinkex.types.rest import ParsedCheckpointTinkerPath

FILES_AT_ONCE = 4


def download(
    transport: Transport,
    fetcher: Fetcher,
    path: ParsedCheckpointTinkerPath,
    directory: Path,
    tracker: Tracker,
    *,
    overwrite: bool,
) -> Path:
    """Download the files of a checkpoint into ``directory``, which appears only when all are complete.

    Until then the files are in a temporary folder beside ``directory``, which is deleted in any case.
    """
    check_target(directory, overwrite=overwrite)
    files = links.of_files(transport, path)
    archive = links.of_archive(transport, path, tracker.wait) if files is None else None
    with _workspace(directory) as work:
        content = work / "content"
        content.mkdir()
        if files is not None:
            _fetch_files(fetcher, files, content, tracker)
        elif archive is not None:
            fetcher.fetch(archive["archive"], work / "archive", tracker.file())
            unpack(work / "archive", content, tracker.max_bytes, tracker.check)
        tracker.check()
        check_target(directory, overwrite=overwrite)
        _replace(directory, content, work / "replaced")
    return directory


def check_target(directory: Path, *, overwrite: bool) -> None:
    """Raise ``InputError`` if ``directory`` is not a folder, or is not empty and must not be replaced."""
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise InputError(f"{directory} is there and is no folder")
    if not overwrite and directory.is_dir() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty; give another folder, or overwrite=True to replace it")


def _replace(directory: Path, content: Path, replaced: Path) -> None:
    was_there = directory.exists()
    if was_there:
        directory.rename(replaced)
    try:
        content.rename(directory)
    except OSError:
        if was_there:
            replaced.rename(directory)
        raise


def _fetch_files(fetcher: Fetcher, files: links.Links, content: Path, tracker: Tracker) -> None:
    if len(files.names) > MAX_FILES:
        raise UnsafeDownloadError(f"the checkpoint has more than {MAX_FILES} files")
    jobs = [(files[name], inside(content, name), tracker.file()) for name in files.names]
    if len({target for _, target, _ in jobs}) < len(jobs):
        raise UnsafeDownloadError("the checkpoint has two files of one name")
    executor = DaemonExecutor(FILES_AT_ONCE, "download")
    try:
        futures = []
        for link, target, watch in jobs:
            target.parent.mkdir(parents=True, exist_ok=True)
            futures.append(executor.submit(fetcher.fetch, link, target, watch))
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
    except BaseException:
        tracker.stop()
        fetcher.close()  # wakes the threads that wait for data
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _workspace(directory: Path) -> Iterator[Path]:
    """Make a temporary folder beside ``directory``, and missing parents; remove these parents on failure."""
    missing = [parent for parent in directory.parents if not parent.exists()]
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{directory.name}.", suffix=".part", dir=directory.parent, ignore_cleanup_errors=True
        ) as work:
            yield Path(work)
    except BaseException:
        for parent in missing:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
