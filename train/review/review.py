"""opened_review(): a server of the review page of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache import Cache, open_cache
from cache.shared.cli import notice
from cache.shared.errors import Interrupted, UserError
from train.report.page import styles
from train.review.desk import Desk
from train.review.move import move_clips, undo_moves
from train.review.queue import make_queue
from train.review.server import Answers, Server
from train.runs.directory import data_folder
from train.runs.record import Record, read_record


@contextmanager
def opened_review(
    run: Path, cache_file: Path | None, data: Path | None, class_name: str | None, port: int = 0
) -> Iterator[Server]:
    """Yield a server that is ready to serve a review of a finished run, or only of the clips with one label.

    The cache and its clips may be elsewhere now; a port of 0 is a free one. Raises a UserError if the run or the cache
    cannot be used, there is nothing to review, or the port is taken.
    """
    record = read_record(run)
    cache, data = _reviewed(run, record, cache_file, data)
    queue = make_queue(run, record, cache, notice, class_name)
    desk = Desk(queue, cache, data, str(run), notice)
    with opened_server(desk, desk.file, port) as server:
        yield server


def move_reviewed(run: Path, cache_file: Path | None, data: Path | None) -> tuple[int, Path, Path]:
    """Move the clips whose class was changed; returns how many, the file with which to undo it, and DATA."""
    cache, data = _reviewed(run, read_record(run), cache_file, data)
    return *move_clips(cache, data, notice), data


def move_back(run: Path, cache_file: Path | None, data: Path | None) -> tuple[int, Path]:
    """Undo move_reviewed(); returns how many clips are where they were, and DATA."""
    cache, data = _reviewed(run, read_record(run), cache_file, data)
    return undo_moves(cache, data, notice), data


def _reviewed(run: Path, record: Record, cache_file: Path | None, data: Path | None) -> tuple[Cache, Path]:
    """Return the cache of a run and the folder of its clips, where they are now."""
    own = Path(record.cache.file)
    if cache_file is None and not own.exists():
        raise UserError(f"{own}, on which {run} was trained, is gone; give its place with --cache")
    cache = open_cache(cache_file or own)
    return cache, data or data_folder(cache, own)


@contextmanager
def opened_server(desk: Answers, file: Path, port: int) -> Iterator[Server]:
    """Yield a server for a desk, whose decisions are in a file; a UserError says that its port is taken."""
    try:
        server = Server(desk, styles(), port)
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror}); leave out --port to take a free one") from None
    try:
        with server:
            yield server
    except Interrupted as stop:
        stop.kept = f"every decision is in {file}; the same command goes on"
        raise
