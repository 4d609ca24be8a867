"""Where batches run: worker processes that write their rows into memory shared with the writer.

Threads would do if the work were long numpy calls; it is many short ones, after each of which a thread has to win the
interpreter's lock back, so that two threads are no faster than one. Rows in shared memory cross no pipe.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.layout import ROW_SHAPE, X_DTYPES
from featurize.batch import Done, Task, featurize_batch
from featurize.mel import MelSettings, prepare

# In a worker, and in the main process: the blocks of rows, shape (n_blocks, n_rows, 128, 128, 1), and for every block
# 1 + the position of the clip being computed, or 0.
_blocks: npt.NDArray[Any]
_current: npt.NDArray[np.int64]


def start(n_jobs: int, n_blocks: int, n_rows: int, dtype: str, settings: MelSettings) -> Executor:
    """Start workers and allot the blocks that they write to.

    Parameters
    ----------
    n_jobs
        Worker processes; a single worker is a thread, which needs no start.
    n_blocks, n_rows
        How many blocks of how many rows.
    dtype
        Element type of a row.
    settings
        What will be computed.

    Returns
    -------
    Executor
        Runs `work`.
    """
    n_bytes = n_blocks * n_rows * int(np.prod(ROW_SHAPE)) * X_DTYPES[dtype].itemsize
    # Forked, a worker has all modules and tables already; elsewhere forking is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    memory = context.RawArray(ctypes.c_char, n_bytes)
    current = context.RawArray(ctypes.c_int64, n_blocks)
    shared = (memory, current, (n_blocks, n_rows, *ROW_SHAPE), dtype)
    _share(*shared)
    if n_jobs == 1:
        return ThreadPoolExecutor(1)
    prepare(settings)
    return ProcessPoolExecutor(n_jobs, context, _begin, shared)


def work(block: int, data: str, tasks: Sequence[Task], settings: MelSettings) -> Done:
    """Compute a batch into a block; `rows_of` has the rows, and the result comes without them."""
    done = featurize_batch(data, _marked(block, tasks), settings, _blocks[block])
    return done._replace(X=_blocks[block, :0])


def rows_of(block: int, done: Done) -> npt.NDArray[Any]:
    """Return the rows that a batch left in its block, shape (len(done.rows), 128, 128, 1)."""
    rows: npt.NDArray[Any] = _blocks[block, : len(done.rows)]
    return rows


def held(block: int, tasks: Sequence[Task]) -> str | None:
    """Return the path of the clip that a worker is, or died, working on."""
    position = int(_current[block])
    return tasks[position - 1].clip.path if position else None


def _marked(block: int, tasks: Sequence[Task]) -> Iterator[Task]:
    for position, task in enumerate(tasks, 1):
        _current[block] = position
        yield task
    _current[block] = 0


def _share(memory: Any, current: Any, shape: tuple[int, ...], dtype: str) -> None:
    global _blocks, _current  # the only way to hand something to a worker that does not go through a pipe
    _blocks = np.frombuffer(memory, X_DTYPES[dtype]).reshape(shape)
    _current = np.frombuffer(current, np.int64)


def _begin(memory: Any, current: Any, shape: tuple[int, ...], dtype: str) -> None:
    # Ctrl-C goes to the whole process group; only the main process answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _share(memory, current, shape, dtype)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A parent that is killed cannot tell its workers to stop, and they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
