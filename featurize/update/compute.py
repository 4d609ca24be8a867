"""Compute clips and keep their rows as they come, with a progress bar."""

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cache.file.journal import Partial, append
from cache.file.settings import MelSettings
from cache.shared.cli import is_watched
from cache.shared.errors import UserError
from featurize.workers.batch import Task, n_bytes_of
from featurize.workers.schedule import Pool, run_batches

# What a clip costs beyond its bytes, for the progress bar: opening it and making a row take as long as so many bytes.
_CLIP_BYTES = 100_000

# The disk is set to work whenever so much is waiting for it, so that there is little to wait for at the end.
_SYNC_BYTES = 128 << 20

_fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def compute(
    data: Path, tasks: Sequence[Task], settings: MelSettings, pool: Pool, strict: bool, partial: Partial
) -> int:
    """Compute clips and keep their rows in `partial`.

    Parameters
    ----------
    data
        The folder that the clips' paths are relative to.
    tasks
        The clips.
    settings
        What to compute.
    pool
        Who computes.
    strict
        Stop at a clip that cannot be used.
    partial
        Takes the rows and the rejected clips.

    Returns
    -------
    int
        Rows computed.
    """
    n_seen = n_computed = n_unsynced = 0
    started = time.perf_counter()
    sync: Future[None] | None = None
    syncer = ThreadPoolExecutor(1)
    bar = _progress(tasks)
    try:
        with closing(run_batches(str(data.absolute()), tasks, settings, pool)) as finished:
            for batch, done, X in finished:
                append(partial, done.rows, X, done.rejected)
                if strict and done.rejected:
                    bad = done.rejected[0]
                    raise UserError(f"{data / bad.path}: {bad.reason}; nothing was published because of --strict")
                n_seen += len(batch)
                n_computed += len(done.rows)
                n_unsynced += X.nbytes
                if n_unsynced >= _SYNC_BYTES and (sync is None or sync.done()):
                    if sync is not None:
                        sync.result()
                    sync = syncer.submit(_fdatasync, partial.rows_file)
                    n_unsynced = 0
                rate = n_seen / (time.perf_counter() - started)
                bar.set_postfix_str(f"{n_seen} of {len(tasks)} clips, {rate:.0f} clips/s", refresh=False)
                bar.update(n_bytes_of(batch) + _CLIP_BYTES * len(batch))
        if sync is not None:
            sync.result()
    finally:
        bar.close()
        syncer.shutdown(wait=False)
    return n_computed


class _Bar(tqdm):  # type: ignore[misc]
    # No thread that watches it: a process with threads cannot be forked when a worker died.
    monitor_interval = 0


def _progress(tasks: Sequence[Task]) -> "tqdm[Any]":
    # Bytes keep the time left true when lengths differ; the clips and their rate are shown behind them.
    return _Bar(
        miniters=1,
        total=n_bytes_of(tasks) + _CLIP_BYTES * len(tasks),
        disable=not is_watched(),
        leave=False,
        file=sys.stderr,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}% |{bar}|{postfix}, {remaining} left",
    )
