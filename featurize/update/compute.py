"""compute(): compute clips and keep their rows as they come, with a progress bar."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.file.journal import Journal, append
from cache.file.settings import MelSettings
from cache.shared.cli import progress_bar
from cache.shared.errors import UserError
from cache.shared.segment import Crop, grid
from featurize.audio.audio import ClipError
from featurize.audio.decode import open_audio
from featurize.audio.find import Clip
from featurize.workers.batch import Task, n_bytes_of
from featurize.workers.schedule import Pool, run_batches

if TYPE_CHECKING:
    from tqdm import tqdm

# The cost of a clip beyond its bytes, for the progress bar: opening it and making a row take as long as so many bytes.
_CLIP_BYTES = 100_000

# The disk is set to work whenever so much is waiting for it, so that there is little to wait for at the end.
SYNC_BYTES = 128 << 20

# Headers that are read to estimate how many rows there will be.
_MOST_HEADERS = 500

# A sample rate at which all windows are whole samples.
_MICRO = 1_000_000

fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def compute(
    data: Path, tasks: Sequence[Task], settings: MelSettings, pool: Pool, strict: bool, journal: Journal
) -> int:
    """Compute clips and keep their rows in the journal; return how many clips that were.

    Raises a UserError if no worker is left, or a clip cannot be used and `strict` is set.
    """
    n_seen = n_clips = n_rows = 0
    started = time.perf_counter()
    batches = run_batches(str(data.absolute()), tasks, settings, pool)
    with closing(_bar(tasks)) as bar, _syncing(journal.rows_file) as written, closing(batches) as finished:
        for batch, done, X in finished:
            append(journal, done.rows, X, done.rejected)
            n_clips += len({row.clip or row.path for row in done.rows})
            if strict and done.rejected:
                bad = done.rejected[0]
                raise UserError(f"{data / bad.path}: {bad.reason}; nothing was published because of --strict")
            written(len(done.rows) * journal.row_bytes)
            n_seen, n_rows = n_seen + len(batch), n_rows + len(done.rows)
            rate = n_seen / (time.perf_counter() - started)
            rows = "" if n_rows <= n_seen else f", {n_rows} rows"
            bar.set_postfix_str(f"{n_seen} of {len(tasks)} clips{rows}, {rate:.0f} clips/s", refresh=False)
            bar.update(n_bytes_of(batch) + _CLIP_BYTES * len(batch))
    return n_clips


def estimated_rows(data: Path, tasks: Sequence[Task], settings: MelSettings) -> int:
    """Return how many rows clips will have at most, by their headers; of many clips by the headers of some."""
    if not tasks or tasks[0].crop.crop == "middle":
        return len(tasks)
    some = tasks[:: -(-len(tasks) // _MOST_HEADERS)]
    return round(sum(_n_rows(_seconds(data, task.clip), task.crop, settings) for task in some) / len(some) * len(tasks))


def _n_rows(seconds: float, crop: Crop, settings: MelSettings) -> int:
    n = grid(settings.row_seconds, crop.overlap, _MICRO).n_windows(round(_MICRO * seconds))
    return min(n, crop.n_windows) if crop.crop == "loudest" else n


def _seconds(data: Path, clip: Clip) -> float:
    if clip.segment is not None:
        return clip.segment.end - clip.segment.start
    try:
        with open_audio(str(data / clip.path)) as audio:
            return audio.n_samples / audio.sr
    except ClipError:
        return 0.0


@contextmanager
def _syncing(file: int) -> Iterator[Callable[[int], None]]:
    """Sync a file now and then, in a thread; the block says how many bytes it has written."""
    n_unsynced = 0
    sync: Future[None] | None = None
    syncer = ThreadPoolExecutor(1)

    def written(n_bytes: int) -> None:
        nonlocal n_unsynced, sync
        n_unsynced += n_bytes
        if n_unsynced >= SYNC_BYTES and (sync is None or sync.done()):
            if sync is not None:
                sync.result()
            sync = syncer.submit(fdatasync, file)
            n_unsynced = 0

    try:
        yield written
        if sync is not None:
            sync.result()
    finally:
        syncer.shutdown(wait=False)


def _bar(tasks: Sequence[Task]) -> "tqdm[Any]":
    # Bytes keep the time left true when lengths differ; the clips and their rate are shown behind them.
    return progress_bar(
        n_bytes_of(tasks) + _CLIP_BYTES * len(tasks),
        miniters=1,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}% |{bar}|{postfix}, {remaining} left",
    )
