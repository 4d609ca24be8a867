"""Send batches to whoever computes, and take back what became of them, in order as far as that costs no time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cache.file.columns import ROW_SHAPE, Rejected
from cache.file.settings import MelSettings
from cache.shared.errors import UserError
from featurize.workers.batch import Done, Task, units

# A batch that may hold n clips ends at n times so many bytes, four seconds of 16 bits at 16 kHz: long clips come in
# smaller batches, and a recording of minutes is one of its own.
_USUAL_BYTES = 128 << 10

# Once rows are out of order, publishing may have to copy them all, at so many seconds a row. A batch may keep those
# behind it waiting for as long as that would take, within limits; when it has happened, there is little to wait for.
_COPY_SECONDS = 2e-4
_LEAST_PATIENCE, _MOST_PATIENCE = 0.05, 10.0

# Finished batches that may wait for one before them, whatever the crew: they are in memory.
_MAX_WAITING = 128

_NO_ROWS = np.empty((0, *ROW_SHAPE), np.float32)

# When so many clips have cost a worker, it is hardly the clips.
_MAX_KILLERS = 10


class Crew(Protocol):
    """Who computes: processes of this machine, or the workers of a cluster.

    Attributes
    ----------
    executor
        Runs what `task` returns.
    n_rows
        Clips of a batch at most, unless it is of one recording.
    died
        What a batch fails with whose worker died.
    """

    executor: Executor
    n_rows: int
    died: type[BaseException]

    def n_workers(self) -> int:
        """Return how many batches can be computed at once; raises UserError when nobody computes any more."""

    def n_blocks(self) -> int:
        """Return how many batches may be under way or wait to be written; this may grow."""

    def task(self, block: int, data: str, tasks: Sequence[Task], settings: MelSettings) -> Callable[[], Done]:
        """Return the picklable call that computes a batch, and may use a block that no other batch uses."""

    def rows_of(self, block: int, done: Done) -> npt.NDArray[Any]:
        """Return the rows of a finished batch, shape (len(done.rows), 128, 128, 1)."""

    def suspects(self, block: int, tasks: Sequence[Task], future: "Future[Done]") -> Sequence[Task]:
        """Return the clips of a batch, all or one unit, of which a worker may have died; none if it lives."""

    def renew(self) -> None:
        """Make the crew whole after a worker died."""

    def failed(self, error: BaseException, tasks: Sequence[Task], block: int) -> UserError:
        """Put into words what a batch failed with."""


class _Batch(NamedTuple):
    block: int
    tasks: list[Task]
    future: "Future[Done]"


@dataclass
class _Queue:
    """What is to be computed, in order.

    Attributes
    ----------
    batches
        What no worker has had.
    parts
        Of batches whose worker died: halves, or all but the clip it was on if that is known.
    alone
        Units whose worker died, by their file. Another on that worker may be to blame, so they come last, and each is
        computed while nothing else is.
    """

    batches: Iterator[list[Task]]
    parts: deque[list[Task]] = field(default_factory=deque)
    alone: dict[str, list[Task]] = field(default_factory=dict)
    n_killers: int = 0

    def next(self, idle: bool) -> list[Task] | None:
        if self.parts:
            return self.parts.popleft()
        tasks = next(self.batches, None)
        if tasks is None and idle and self.alone:
            tasks = next(iter(self.alone.values()))
        return tasks

    def split(self, tasks: list[Task], suspects: Sequence[Task]) -> list[Rejected]:
        """Put a batch whose worker died back in parts, or name the clip of which it must have died."""
        file = suspects[0].clip.file
        if len(list(units(suspects))) > 1:
            parts = list(units(tasks))
            middle = len(parts) // 2
            self.parts += (list(chain(*parts[:middle])), list(chain(*parts[middle:])))
            return []
        if file not in self.alone:
            self.alone[file] = list(suspects)
            if others := [task for task in tasks if task not in suspects]:
                self.parts.append(others)
            return []
        del self.alone[file]
        self.n_killers += 1
        if self.n_killers == _MAX_KILLERS:
            raise UserError(
                f"workers died of {self.n_killers} clips, {file} the last, so it is hardly the clips;"
                " finished clips are kept: see whether memory is short and run it again"
            )
        # With a stamp that never matches: memory may have been short, so the next run tries it again.
        reason = "the worker that computes it dies of it; the next run tries it again"
        return [Rejected(task.clip.path, -1, -1, reason) for task in suspects]


def run_batches(
    data: str, tasks: Sequence[Task], settings: MelSettings, crew: Crew
) -> Generator[tuple[list[Task], Done, npt.NDArray[Any]], None, None]:
    """Compute clips, a batch at a time.

    Parameters
    ----------
    data
        The folder that the clips' paths are relative to, as the crew sees it.
    tasks
        The clips.
    settings
        What to compute.
    crew
        Who computes.

    Yields
    ------
    tasks
        The clips of a batch, in order unless one takes much longer than those behind it.
    done
        What became of them; a clip of which a worker dies is rejected.
    X
        The rows, shape (len(done.rows), 128, 128, 1); they are only there until the next batch is asked for.

    Raises
    ------
    UserError
        Nobody computes any more, or what they do fails.
    """
    queue = _Queue(_batches(tasks, crew.n_rows))
    window: deque[_Batch] = deque()
    free: list[int] = []
    n_blocks = 0
    in_order = True
    patience = min(max(_LEAST_PATIENCE, _COPY_SECONDS * len(tasks)), _MOST_PATIENCE)
    while True:
        # More of them when workers have joined.
        free += range(n_blocks, crew.n_blocks())
        n_blocks = max(n_blocks, crew.n_blocks())
        while free and (todo := queue.next(idle=not window)) is not None:
            window.append(_submit(crew, free.pop(), data, todo, settings))
        if not window:
            return
        batch = _next_finished(window, crew.n_workers(), not free, patience if in_order else _LEAST_PATIENCE)
        if batch is None:
            continue
        in_order &= batch is window[0]
        error = _error_of(batch.future)
        if error is None:
            window.remove(batch)
            done = batch.future.result()
            queue.alone.pop(batch.tasks[0].clip.file, None)
            yield batch.tasks, done, crew.rows_of(batch.block, done)
            free.append(batch.block)
            continue
        suspects = [(batch, some) for batch in window if (some := crew.suspects(*batch))]
        if not isinstance(error, crew.died) or not suspects:
            raise crew.failed(error, batch.tasks, batch.block)
        crew.renew()
        for batch, some in suspects:
            window.remove(batch)
            free.append(batch.block)
            if rejected := queue.split(batch.tasks, some):
                yield batch.tasks, Done([], _NO_ROWS, [], rejected), _NO_ROWS
        for i, (block, tasks_of, future) in enumerate(window):
            if isinstance(_error_of(future), crew.died):
                window[i] = _submit(crew, block, data, tasks_of, settings)


def _submit(crew: Crew, block: int, data: str, tasks: list[Task], settings: MelSettings) -> _Batch:
    try:
        future = crew.executor.submit(crew.task(block, data, tasks, settings))
    except (BrokenExecutor, OSError) as error:
        future = Future()
        future.set_exception(error)
    return _Batch(block, tasks, future)


def _next_finished(window: deque[_Batch], n_workers: int, more: bool, patience: float) -> _Batch | None:
    """Wait for the first batch for some seconds; return it, or a later one if it is much slower than those behind it.

    In order, the rows lie in the partial file as the cache will have them, and publishing moves none. But a recording
    of hours must keep neither the workers waiting, if there is more to do, nor finished rows unwritten.
    """
    wait([window[0].future], timeout=patience if more else max(patience, 1.0))
    if window[0].future.done():
        return window[0]
    finished = [batch for batch in window if batch.future.done()]
    if more and len(finished) + n_workers < len(window) and len(finished) < _MAX_WAITING:
        return None
    return finished[0] if finished else None


def _error_of(future: "Future[Done]") -> BaseException | None:
    """Return what a batch failed with, None also while it is under way."""
    if future.cancelled():
        return CancelledError()
    return future.exception() if future.done() else None


def _batches(tasks: Sequence[Task], n_rows: int) -> Iterator[list[Task]]:
    batch: list[Task] = []
    n_bytes = 0
    for unit in units(tasks):
        size = unit[0].clip.size
        if batch and (len(batch) + len(unit) > n_rows or n_bytes + size > n_rows * _USUAL_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch += unit
        n_bytes += size
    if batch:
        yield batch
