"""Worker processes of this machine, which write their rows into memory that they share with the writer.

Threads would have to take turns: much of the work on a short clip is Python's own, and the compiled loops keep the
interpreter's lock, which takes longer to win back than they run. Rows in shared memory cross no pipe.

Workers are ended by killing them. A worker has nothing to clean up, may be inside a long recording, and may lose any
other signal while it starts.
"""

import ctypes
import gc
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.columns import ROW_SHAPE, X_DTYPES
from cache.file.journal import room_path
from cache.file.settings import MelSettings
from cache.shared.cli import keep_freed_memory
from cache.shared.errors import UserError
from featurize.audio.decode import read_ahead
from featurize.features.row import prepare
from featurize.workers.batch import Done, Task, featurize_batch, files_of, work_items
from featurize.workers.rows import Room, rows_in
from featurize.workers.schedule import Pool

# Small enough to share the work evenly, large enough that handing a batch over, which takes half a millisecond, costs
# little beside computing it.
_BATCH_CLIPS = 64

# Batches that may be under way or wait to be written, beyond those that are being computed.
_WINDOW = 8

# If killed workers are not gone by then, one hangs in the system, as on a disk that does not answer.
END_SECONDS = 10.0

# In a worker, and in the main process: the blocks of rows, shape (n_blocks, n_rows, 128, 128, 1), and for every block
# 1 + the position of the clip being computed, or 0.
_blocks: npt.NDArray[Any]
_current: npt.NDArray[np.int64]


class _Executor(ProcessPoolExecutor):
    """Worker processes, started at once, that can be killed; they ask for nothing of the program's main module."""

    def __init__(self, n_jobs: int, shared: tuple[Any, ...]) -> None:
        self._started: list[Any] = []
        context: Any = type(multiprocessing.get_context(_start_method()))()
        make, context.Process = context.Process, lambda *args, **options: self._kept(make(*args, **options))
        super().__init__(n_jobs, context, _begin, shared)
        # Forked workers start with the first call: now, before there are threads.
        try:
            self.submit(int)
        except OSError:
            self.kill()
            raise

    def _kept(self, worker: Any) -> Any:
        self._started.append(worker)
        return worker

    def submit(self, *args: Any, **options: Any) -> "Future[Any]":
        with _main_module_hidden():
            return super().submit(*args, **options)

    def kill(self) -> bool:
        """Kill the workers and end the pool; return whether they are gone."""
        for worker in self._started:
            if worker.pid is not None:
                worker.kill()
        # In another thread, because it waits for the executor's own without end.
        end = threading.Thread(target=self.shutdown, kwargs={"cancel_futures": True}, daemon=True)
        end.start()
        end.join(END_SECONDS)
        return not end.is_alive()


def _start_method() -> str:
    """Return how to start workers: by a fork, which shares modules and tables, unless a thread may hold a lock."""
    if sys.platform != "linux":
        return "spawn"
    if len(os.listdir("/proc/self/task")) == 1:  # noqa: PTH208
        return "fork"
    multiprocessing.set_forkserver_preload([__name__])
    return "forkserver"


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep a worker that is not forked from running the user's script again, which may have no guard against that."""
    main: Any = sys.modules["__main__"]
    hidden = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


class _Processes:
    """A `Pool` on this machine; a single worker is a thread, which needs no start."""

    def __init__(self, n_jobs: int, n_rows: int, dtype: str, rows_path: Path) -> None:
        self.n_jobs, self.n_rows, self._rows_path = n_jobs, n_rows, rows_path
        self.died: type[BaseException] = BrokenExecutor
        n_blocks = self.n_blocks()
        n_bytes = n_blocks * n_rows * int(np.prod(ROW_SHAPE)) * X_DTYPES[dtype].itemsize
        memory = multiprocessing.RawArray(ctypes.c_char, n_bytes)
        current = multiprocessing.RawArray(ctypes.c_int64, n_blocks)
        self._shared = (memory, current, (n_blocks, n_rows, *ROW_SHAPE), dtype)
        _share(*self._shared)
        self.executor = self._start()

    def _start(self) -> Executor:
        return ThreadPoolExecutor(1) if self.n_jobs == 1 else _Executor(self.n_jobs, self._shared)

    def end(self) -> bool:
        """Stop the workers; return whether they are gone, or a thread will be when its batch is done."""
        if isinstance(self.executor, _Executor):
            return self.executor.kill()
        self.executor.shutdown(wait=False, cancel_futures=True)
        return True

    def n_workers(self) -> int:
        return self.n_jobs

    def n_blocks(self) -> int:
        return self.n_jobs + _WINDOW

    def task(self, block: int, data: str, tasks: Sequence[Task], settings: MelSettings) -> Callable[[], Done]:
        # A worker comes to it some batches later.
        read_ahead(files_of(data, tasks))
        return partial(work, block, data, tasks, settings, room_path(self._rows_path, block))

    def rows_of(self, block: int, done: Done) -> Iterable[npt.NDArray[Any]]:
        if done.in_file:
            return rows_in(room_path(self._rows_path, block), _blocks[block])
        return [_blocks[block, : len(done.rows)]]

    def suspects(self, block: int, tasks: Sequence[Task], future: Future[Done]) -> Sequence[Task]:
        position = int(_current[block])
        return next(work_items(tasks[position - 1 :])) if position else []

    def renew(self) -> None:
        # The executor gives up all of its workers when one dies; until they are gone they write into the blocks.
        if not self.end():
            raise UserError("a worker hangs in the system, as on a disk that does not answer; finished clips are kept")
        _current[:] = 0
        # A signal to the whole process group may have ended the workers first, and is on its way to this process.
        time.sleep(0.2)
        with _start_in_words():
            self.executor = self._start()

    def failed(self, error: BaseException, tasks: Sequence[Task], block: int) -> UserError:
        if isinstance(error, OSError):
            raise error  # the disk is full, or fails
        if isinstance(error, BrokenExecutor):
            return UserError("a worker died before it had a clip; finished clips are kept: run it again")
        position = int(_current[block])
        path = tasks[position - 1].clip.path if position else "no clip"
        return UserError(
            f"a worker failed ({type(error).__name__}: {error}) while it was on {path}; finished clips are kept:"
            " take the bad one away and run it again"
        )


@contextmanager
def processes(n_jobs: int, n_tasks: int, settings: MelSettings, dtype: str, rows_path: Path) -> Iterator[Pool]:
    """Start workers on this machine, which end with the block; few clips are shared out evenly.

    Rows of long clips wait in files beside `rows_path`, the file of the finished rows.

    Raises a UserError if there is no memory for them.
    """
    if n_jobs > 1:
        prepare(settings)
    keep_freed_memory()
    # The objects of now stay, so the garbage collector need not look at them again, here or in a worker.
    gc.freeze()
    with _start_in_words():
        pool = _Processes(n_jobs, max(1, min(_BATCH_CLIPS, math.ceil(n_tasks / (4 * n_jobs)))), dtype, rows_path)
    try:
        yield pool
    finally:
        pool.end()
        gc.unfreeze()


@contextmanager
def _start_in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"no worker can be started ({error.strerror}); use fewer with --jobs") from error


def work(block: int, data: str, tasks: Sequence[Task], settings: MelSettings, file: Path) -> Done:
    """Compute a batch into a block, where its rows stay, or into a file if there are more; the result has none."""

    def begin(position: int) -> None:
        _current[block] = position + 1

    room = Room(_blocks[block], file)
    done = featurize_batch(data, tasks, settings, room, begin)
    _current[block] = 0
    return done._replace(X=_blocks[block, :0], in_file=room.in_file)


def _share(memory: Any, current: Any, shape: tuple[int, ...], dtype: str) -> None:
    global _blocks, _current  # the only way to hand a worker something that does not go through a pipe
    _blocks = np.frombuffer(memory, X_DTYPES[dtype]).reshape(shape)
    _current = np.frombuffer(current, np.int64)


def _begin(memory: Any, current: Any, shape: tuple[int, ...], dtype: str) -> None:
    # Ctrl-C goes to the whole process group; only the main process answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_freed_memory()
    _share(memory, current, shape, dtype)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A parent that is killed cannot tell its workers to stop, and they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
