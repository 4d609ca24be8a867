"""Run the batches on an executor and keep their rows as they come."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path

from tqdm import tqdm

from cache.partial import Partial, append
from cache.terminal import UserError
from featurize.batch import Done, Task, featurize_batch
from featurize.mel import MelSettings

# A batch ends at so many clips or bytes: small enough to share the work evenly, large enough that handing it over
# costs nothing beside computing it.
_BATCH_CLIPS = 32
_BATCH_BYTES = 8 << 20

# Batches that may be under way or waiting to be written, beyond those that the workers are on.
_WINDOW = 8

# What a clip costs beyond its bytes, for the progress bar: opening it and making a row take as long as so many bytes.
_CLIP_BYTES = 100_000

# The kernel is told to start writing to the disk whenever so much is waiting, so that the end has little to wait for.
_FLUSH_BYTES = 64 << 20


def compute(
    data: Path, tasks: Sequence[Task], settings: MelSettings, dtype: str, n_jobs: int, strict: bool, partial: Partial
) -> int:
    """Compute clips and keep their rows in `partial`.

    Parameters
    ----------
    data
        The folder that the clips' paths are relative to.
    tasks
        The clips.
    settings, dtype
        What to compute.
    n_jobs
        Worker threads.
    strict
        Stop at a clip that cannot be used.
    partial
        Takes the rows and the rejected clips.

    Returns
    -------
    int
        Rows computed.
    """
    n_computed = n_seen = n_flushed = 0
    started = time.perf_counter()
    executor = ThreadPoolExecutor(n_jobs)
    flusher = ThreadPoolExecutor(1)
    flush: Future[None] | None = None
    # Bytes keep the time left true when lengths differ; the clips and their rate are shown behind them.
    total = sum(task.clip.size + _CLIP_BYTES for task in tasks)
    bar = tqdm(
        total=total,
        disable=None,
        leave=False,
        file=sys.stderr,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}% |{bar}|{postfix}, {remaining} left",
    )
    try:
        for batch, done in _run(executor, str(data), tasks, settings, dtype, n_jobs):
            append(partial, done.rows, done.X, done.rejected)
            if strict and done.rejected:
                bad = done.rejected[0]
                raise UserError(f"{data / bad.path}: {bad.reason}; nothing was published because of --strict")
            n_computed += len(done.rows)
            n_seen += len(batch)
            n_flushed += done.X.nbytes
            if n_flushed >= _FLUSH_BYTES and (flush is None or flush.done()):
                if flush is not None:
                    flush.result()
                flush = flusher.submit(os.fdatasync, partial.rows_file)
                n_flushed = 0
            rate = n_seen / (time.perf_counter() - started)
            bar.set_postfix_str(f"{n_seen} of {len(tasks)} clips, {rate:.0f} clips/s", refresh=False)
            bar.update(sum(task.clip.size + _CLIP_BYTES for task in batch))
    finally:
        bar.close()
        executor.shutdown(wait=False, cancel_futures=True)
        flusher.shutdown(wait=False)
    return n_computed


def _run(
    executor: Executor, data: str, tasks: Sequence[Task], settings: MelSettings, dtype: str, n_jobs: int
) -> Iterator[tuple[list[Task], Done]]:
    """Yield finished batches, in order as long as the first is not much slower than those behind it.

    In order, the rows lie in the partial file as the cache will have them, and publishing moves none. But a recording
    of hours must not keep the other workers waiting until it is done.
    """
    batches = _batches(tasks)
    window: deque[tuple[list[Task], Future[Done]]] = deque()
    while True:
        while len(window) < n_jobs + _WINDOW and (batch := next(batches, None)) is not None:
            window.append((batch, executor.submit(featurize_batch, data, batch, settings, dtype)))
        if not window:
            return
        wait([window[0][1]], timeout=0.05)
        n_finished = sum(future.done() for _, future in window)
        if not window[0][1].done() and n_finished < _WINDOW:
            continue
        first_done = next(i for i, (_, future) in enumerate(window) if future.done())
        batch, future = window[first_done]
        del window[first_done]
        yield batch, _result(batch, future)


def _result(batch: list[Task], future: Future[Done]) -> Done:
    try:
        return future.result()
    except Exception as error:
        names = ", ".join(task.clip.path for task in batch)
        raise UserError(
            f"a worker failed ({type(error).__name__}: {error}) on one of {names};"
            " finished clips are kept: take the bad one away and run it again"
        ) from error


def _batches(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    batch: list[Task] = []
    n_bytes = 0
    for task in tasks:
        if batch and (len(batch) == _BATCH_CLIPS or n_bytes + task.clip.size > _BATCH_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(task)
        n_bytes += task.clip.size
    if batch:
        yield batch
