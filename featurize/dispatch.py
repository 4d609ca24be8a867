"""Send batches to the workers and take back what they made of them, in order as far as that costs no time."""

import math
import multiprocessing
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from typing import Any, NamedTuple

import numpy.typing as npt

from cache.terminal import UserError
from featurize import workers
from featurize.batch import Done, Task
from featurize.mel import MelSettings

# A batch ends at so many clips or bytes: small enough to share the work evenly, large enough that handing it over
# costs nothing beside computing it.
_BATCH_CLIPS = 32
_BATCH_BYTES = 8 << 20

# Batches that may be under way or waiting to be written, beyond those that the workers are on.
_WINDOW = 8


class _Batch(NamedTuple):
    block: int
    tasks: list[Task]
    future: Future[Done]


def run_batches(
    data: str, tasks: Sequence[Task], settings: MelSettings, dtype: str, n_jobs: int
) -> Generator[tuple[list[Task], Done, npt.NDArray[Any]], None, None]:
    """Compute clips on workers, a batch at a time.

    Parameters
    ----------
    data
        The folder that the clips' paths are relative to.
    tasks
        The clips.
    settings, dtype
        What to compute.
    n_jobs
        Workers.

    Yields
    ------
    tasks
        The clips of a batch, in order unless one takes much longer than those behind it.
    done
        What became of them; its X is empty.
    X
        The rows, shape (len(done.rows), 128, 128, 1); they are only there until the next batch is asked for.

    Raises
    ------
    UserError
        A worker died or failed; names the clips it may have been on.
    """
    n_rows = max(1, min(_BATCH_CLIPS, math.ceil(len(tasks) / (4 * n_jobs))))
    n_blocks = n_jobs + _WINDOW
    others = set(multiprocessing.active_children())
    try:
        executor = workers.start(n_jobs, n_blocks, n_rows, dtype, settings)
    except OSError as error:
        raise _no_worker(error) from error
    free = list(range(n_blocks))
    try:
        for batch, done in _in_order(executor, data, _batches(tasks, n_rows), settings, free, n_jobs):
            yield batch.tasks, done, workers.rows_of(batch.block, done)
            free.append(batch.block)
    except BaseException:
        # An error must not wait for a worker that is inside a long recording.
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _in_order(
    executor: Executor,
    data: str,
    batches: Iterator[list[Task]],
    settings: MelSettings,
    free: list[int],
    n_jobs: int,
) -> Iterator[tuple[_Batch, Done]]:
    """Yield finished batches, in order as long as the first is not much slower than those behind it.

    In order, the rows lie in the partial file as the cache will have them, and publishing moves none. But a recording
    of hours must not keep the other workers waiting until it is done.
    """
    window: deque[_Batch] = deque()
    while True:
        while free and (tasks := next(batches, None)) is not None:
            window.append(_submit(executor, window, free.pop(), data, tasks, settings))
        if not window:
            return
        wait([window[0].future], timeout=0.05)
        n_finished = sum(batch.future.done() for batch in window)
        if not window[0].future.done() and n_finished + n_jobs < len(window):
            continue
        first_done = next((i for i, batch in enumerate(window) if batch.future.done()), None)
        if first_done is not None:
            batch = window[first_done]
            error = batch.future.exception()
            if error is not None:
                raise _worker_failed(error, window if isinstance(error, BrokenExecutor) else [batch])
            del window[first_done]
            yield batch, batch.future.result()


def _submit(
    executor: Executor, window: Iterable[_Batch], block: int, data: str, tasks: list[Task], settings: MelSettings
) -> _Batch:
    try:
        return _Batch(block, tasks, executor.submit(workers.work, block, data, tasks, settings))
    except BrokenExecutor as error:
        raise _worker_failed(error, window) from None
    except OSError as error:
        raise _no_worker(error) from error


def _no_worker(error: OSError) -> UserError:
    return UserError(f"no worker can be started ({error.strerror}); use fewer with --jobs")


def _worker_failed(error: BaseException, batches: Iterable[_Batch]) -> UserError:
    # A signal that ends a whole group takes the workers first, and ours is on its way.
    time.sleep(0.2)
    suspects = [path for batch in batches if (path := workers.held(batch.block, batch.tasks)) is not None]
    how = "died" if isinstance(error, BrokenExecutor) else f"failed ({type(error).__name__}: {error})"
    return UserError(
        f"a worker {how} while it was on {' or '.join(suspects) or 'no clip'}; finished clips are kept:"
        " take the bad one away and run it again"
    )


def _batches(tasks: Sequence[Task], n_rows: int) -> Iterator[list[Task]]:
    batch: list[Task] = []
    n_bytes = 0
    for task in tasks:
        if batch and (len(batch) == n_rows or n_bytes + task.clip.size > _BATCH_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(task)
        n_bytes += task.clip.size
    if batch:
        yield batch
