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
from featurize.workers.batch import Task, n_bytes_of
from featurize.workers.schedule import Pool, run_batches

if TYPE_CHECKING:
    from tqdm import tqdm

# The cost of a clip beyond its bytes, for the progress bar: opening it and making a row take as long as so many bytes.
_CLIP_BYTES = 100_000

# The disk is set to work whenever so much is waiting for it, so that there is little to wait for at the end.
SYNC_BYTES = 128 << 20

fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def compute(
    data: Path, tasks: Sequence[Task], settings: MelSettings, pool: Pool, strict: bool, journal: Journal
) -> int:
    """Compute clips and keep their rows in the journal; return how many rows that were.

    Raises a UserError if no worker is left, or a clip cannot be used and `strict` is set.
    """
    n_seen = n_computed = 0
    started = time.perf_counter()
    batches = run_batches(str(data.absolute()), tasks, settings, pool)
    with closing(_bar(tasks)) as bar, _syncing(journal.rows_file) as written, closing(batches) as finished:
        for batch, done, X in finished:
            append(journal, done.rows, X, done.rejected)
            if strict and done.rejected:
                bad = done.rejected[0]
                raise UserError(f"{data / bad.path}: {bad.reason}; nothing was published because of --strict")
            written(X.nbytes)
            n_seen += len(batch)
            n_computed += len(done.rows)
            rate = n_seen / (time.perf_counter() - started)
            bar.set_postfix_str(f"{n_seen} of {len(tasks)} clips, {rate:.0f} clips/s", refresh=False)
            bar.update(n_bytes_of(batch) + _CLIP_BYTES * len(batch))
    return n_computed


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
