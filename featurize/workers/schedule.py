"""Send batches to a pool, and take back the results, in order as far as that costs no time."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cache.file.columns import ROW_SHAPE, Rejected
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from featurize.workers.batch import Done, Task, work_items

# A batch that may hold n clips ends at n times so many bytes, two seconds of 16 bits at 16 kHz: long clips come in
# smaller batches, and a recording of minutes has a batch of its own.
_USUAL_BYTES = 64 << 10

# Once rows are out of order, publishing may have to copy them all, at so many seconds a row. A batch may keep those
# behind it waiting for as long as that would take, within limits; once rows are out of order, the least is enough.
COPY_SECONDS = 2e-4
_LEAST_PATIENCE, _MOST_PATIENCE = 0.05, 10.0

# Finished batches that may wait for one before them, whatever the pool: they are in memory.
_MAX_WAITING = 128

_NO_ROWS = np.empty((0, *ROW_SHAPE), np.float32)

# When workers have died of so many clips, the clips are hardly to blame.
_MAX_KILLERS = 10


class Pool(Protocol):
    """Workers that compute: processes of this machine, or those of a cluster."""

    executor: Executor  # runs what `task` returns
    n_rows: int  # the most clips of a batch, unless all are of one recording
    died: type[BaseException]  # the exception of a batch whose worker died

    def n_workers(self) -> int:
        """Return how many batches can be computed at once; raises UserError when no worker is left."""

    def n_blocks(self) -> int:
        """Return how many batches may be under way or wait to be written; this may grow."""

    def task(self, block: int, data: str, tasks: Sequence[Task], settings: MelSettings) -> Callable[[], Done]:
        """Return the picklable call that computes a batch; no other batch under way has the same block."""

    def rows_of(self, block: int, done: Done) -> Iterable[npt.NDArray[Any]]:
        """Return the rows of a finished batch in parts, each of shape (some rows, 128, 128, 1)."""

    def suspects(self, block: int, tasks: Sequence[Task], future: "Future[Done]") -> Sequence[Task]:
        """Return the clips of a batch that may have killed a worker, all or one work item; none if it lives."""

    def renew(self) -> None:
        """Replace workers that died."""

    def failed(self, error: BaseException, tasks: Sequence[Task], block: int) -> UserError:
        """Return in words why a batch failed."""


class _Batch(NamedTuple):
    block: int
    tasks: list[Task]
    future: "Future[Done]"


def run_batches(
    data: str, tasks: Sequence[Task], settings: MelSettings, pool: Pool
) -> Generator[tuple[list[Task], Done, Iterable[npt.NDArray[Any]]], None, None]:
    """Compute clips, a batch at a time; `data` is the folder of the clips' paths, as the workers see it.

    Raises a UserError if no worker is left, or a batch fails.

    Yields
    ------
    tasks
        The clips of a batch, in order unless one takes much longer than those behind it.
    done
        The results; a clip of which a worker dies is rejected.
    X
        The rows in parts, until the next batch is asked for.
    """
    backlog = _Backlog(tasks, pool.n_rows)
    under_way = _UnderWay(data, settings, pool)
    patience = min(max(_LEAST_PATIENCE, COPY_SECONDS * len(tasks)), _MOST_PATIENCE)
    while under_way.fill(backlog):
        batch = under_way.next_finished(patience)
        if batch is None:
            continue
        if batch is not under_way.batches[0]:
            patience = _LEAST_PATIENCE
        error = _error_of(batch.future)
        if error is None:
            done = batch.future.result()
            backlog.acquit(batch.tasks)
            yield batch.tasks, done, pool.rows_of(batch.block, done)
            under_way.remove(batch)
        else:
            for lost, suspects in under_way.recover(batch, error):
                if rejected := backlog.put_back(lost.tasks, suspects):
                    yield lost.tasks, Done([], _NO_ROWS, [], rejected), []


class _Backlog:
    """The tasks that are to be computed.

    First come the parts of batches whose worker died, then the batches that no worker has had. A work item that a
    worker died of is put into quarantine: it comes last and alone, because another on that worker may be to blame.
    """

    def __init__(self, tasks: Sequence[Task], n_rows: int) -> None:
        self._batches = _batches(tasks, n_rows)
        self._parts: deque[list[Task]] = deque()
        self._quarantine: dict[str, list[Task]] = {}  # by file
        self._n_killers = 0

    def next(self, idle: bool) -> list[Task] | None:
        """Return the next batch; None if there is none, or only quarantine while the pool is not idle."""
        if self._parts:
            return self._parts.popleft()
        tasks = next(self._batches, None)
        if tasks is None and idle:
            return next(iter(self._quarantine.values()), None)
        return tasks

    def acquit(self, tasks: Sequence[Task]) -> None:
        """Take note that a batch is finished."""
        self._quarantine.pop(tasks[0].clip.file, None)

    def put_back(self, tasks: Sequence[Task], suspects: Sequence[Task]) -> list[Rejected]:
        """Put back a batch whose worker died: in halves, or without its only suspect, which goes into quarantine.

        Returns the suspect as rejected, if a worker died of it in quarantine.
        """
        if len(list(work_items(suspects))) > 1:
            items = list(work_items(tasks))
            middle = len(items) // 2
            self._parts += (list(chain(*items[:middle])), list(chain(*items[middle:])))
            return []
        file = suspects[0].clip.file
        if file not in self._quarantine:
            self._quarantine[file] = list(suspects)
            if others := [task for task in tasks if task not in suspects]:
                self._parts.append(others)
            return []
        del self._quarantine[file]
        self._n_killers += 1
        if self._n_killers == _MAX_KILLERS:
            raise UserError(
                f"workers died of {self._n_killers} clips, {file} the last, so the clips are hardly to blame;"
                " finished clips are kept: see whether memory is short and run it again"
            )
        # With a stamp that never matches: memory may have been short, so the next run tries it again.
        reason = "the worker that computes it dies of it; the next run tries it again"
        return [Rejected(task.clip.path, -1, -1, reason) for task in suspects]


class _UnderWay:
    """The batches that a pool has or has finished, in order, each with a block of its own."""

    def __init__(self, data: str, settings: MelSettings, pool: Pool) -> None:
        self.batches: deque[_Batch] = deque()
        self._data, self._settings, self._pool = data, settings, pool
        self._free: list[int] = []
        self._n_blocks = 0

    def fill(self, backlog: _Backlog) -> bool:
        """Start batches as long as there are free blocks; return whether any is under way."""
        # More blocks when workers have joined.
        n_blocks = max(self._n_blocks, self._pool.n_blocks())
        self._free += range(self._n_blocks, n_blocks)
        self._n_blocks = n_blocks
        while self._free and (tasks := backlog.next(idle=not self.batches)) is not None:
            self.batches.append(self._submitted(self._free.pop(), tasks))
        return bool(self.batches)

    def _submitted(self, block: int, tasks: list[Task]) -> _Batch:
        try:
            future = self._pool.executor.submit(self._pool.task(block, self._data, tasks, self._settings))
        except (BrokenExecutor, OSError) as error:
            future = Future()
            future.set_exception(error)
        return _Batch(block, tasks, future)

    def remove(self, batch: _Batch) -> None:
        """Forget a batch, whose block is free again."""
        self.batches.remove(batch)
        self._free.append(batch.block)

    def next_finished(self, patience: float) -> _Batch | None:
        """Wait some seconds for the first batch; return it, or a later one if it is much slower than those behind it.

        In order, the rows lie in the file of rows as the cache will have them, and publishing moves none. But a
        recording of hours must neither keep workers waiting nor finished rows unwritten.
        """
        first, is_full = self.batches[0], not self._free
        wait([first.future], timeout=patience if is_full else max(patience, 1.0))
        if first.future.done():
            return first
        finished = [batch for batch in self.batches if batch.future.done()]
        workers_have_work = len(finished) + self._pool.n_workers() < len(self.batches)
        if is_full and workers_have_work and len(finished) < _MAX_WAITING:
            return None
        return finished[0] if finished else None

    def recover(self, failed: _Batch, error: BaseException) -> list[tuple[_Batch, Sequence[Task]]]:
        """Renew the pool after a batch failed, and start batches again that only shared it with a worker that died.

        Returns the batches of which a worker may have died, each with its suspects; they are not under way any more.
        Raises a UserError if the batch did not fail because a worker died.
        """
        pool = self._pool
        found = [(batch, some) for batch in self.batches if (some := pool.suspects(*batch))]
        if not isinstance(error, pool.died) or not found:
            raise pool.failed(error, failed.tasks, failed.block)
        pool.renew()
        for batch, _ in found:
            self.remove(batch)
        for i, (block, tasks, future) in enumerate(self.batches):
            if isinstance(_error_of(future), pool.died):
                self.batches[i] = self._submitted(block, tasks)
        return found


def _error_of(future: "Future[Done]") -> BaseException | None:
    """Return the error of a batch that failed; None also while it is under way."""
    if future.cancelled():
        return CancelledError()
    return future.exception() if future.done() else None


def _batches(tasks: Sequence[Task], n_rows: int) -> Iterator[list[Task]]:
    batch: list[Task] = []
    n_bytes = 0
    for item in work_items(tasks):
        size = item[0].clip.size
        if batch and (len(batch) + len(item) > n_rows or n_bytes + size > n_rows * _USUAL_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch += item
        n_bytes += size
    if batch:
        yield batch
