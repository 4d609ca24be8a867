"""Folds and runs on a Dask cluster: each worker does one at a time, and maps the cache from shared storage."""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cache import open_cache
from cache.shared.cli import progress_bar
from cache.shared.cluster import Cluster, Needs, check_this_worker, connected, needs_of, portable
from cache.shared.errors import UserError
from train.fitting.worker import Ended, Job, Map, Result, Worker
from train.runs.record import versions

# TensorFlow uses all cores for one fit, so a worker does one at a time, however many threads it has for tasks.
_alone = threading.Lock()


@contextmanager
def cluster_map(
    scheduler: str, cache_file: Path, folders: Iterable[Path], notify: Callable[[str], None], dashboard: bool
) -> Iterator[Map[Any, Any]]:
    """Provide a `map` whose calls of a module's function run on the workers of a cluster; its results come in order.

    Every worker must be able to read the cache and the folders, under the same name; for the rest see
    `cache.shared.cluster.connected`. Raises a UserError if there is no such cluster, a worker lacks something, or the
    cache cannot be used.
    """
    needs = needs_of(software, open_cache(cache_file).file, *folders)
    with connected(scheduler, needs, notify, dashboard) as cluster:
        yield partial(_run_all, cluster, needs)


def software() -> dict[str, str]:
    """Return the version of everything that can change the result of a fit, this package's own source included."""
    source = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        source.update(file.read_bytes())
    # Bug-fix releases of Python do not change results.
    python = versions()["python"].rpartition(".")[0]
    return {"training code": source.hexdigest()[:12], **versions(), "python": python}


def _run_all(
    cluster: Cluster, needs: Needs, function: Callable[[Job], Result], jobs: Iterable[Job]
) -> Iterator[Result]:
    todo = deque(enumerate(jobs))
    n_jobs = len(todo)
    busy: dict[Future[Result], tuple[int, str]] = {}
    results: dict[int, Result] = {}
    with progress_bar(n_jobs, unit="run") as bar:
        for n in range(n_jobs):
            while n not in results:
                _hand_out(cluster, partial(_work, needs, function), todo, busy)
                done, _ = wait(busy, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    results[busy.pop(future)[0]] = _result_of(cluster, future)
                    bar.update()
            yield results.pop(n)


def _hand_out(
    cluster: Cluster,
    work: Callable[[Job], Result],
    todo: deque[tuple[int, Job]],
    busy: dict[Future[Result], tuple[int, str]],
) -> None:
    """Give every idle worker one job; Dask itself would give a worker with several threads more."""
    taken = {worker for _, worker in busy.values()}
    for worker in cluster.workers():
        if todo and worker not in taken:
            number, job = todo.popleft()
            busy[cluster.executor(worker).submit(portable(partial(work, job)))] = number, worker


def _result_of(cluster: Cluster, future: "Future[Result]") -> Result:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        raise UserError(
            "a run ended its workers, one after another; see whether they have enough memory: finished runs are kept"
        ) from None
    except (Exception, CancelledError) as error:
        raise cluster.failed(error) from None


def _work(needs: Needs, function: Callable[[Job], Result], job: Job) -> Result:
    with _alone:
        check_this_worker(needs)
        return _in_process(partial(function, job))


def _in_process(call: Callable[[], Result]) -> Result:
    """Call in a process of its own.

    Keras draws its seeds from Python's own generator, and so do Dask's threads: in the worker's process a fit would not
    be repeatable. Memory and TensorFlow's settings go with the process, too.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    process = Worker()
    threading.Thread(target=_end_with_task, args=(process, worker, key), daemon=True).start()
    try:
        return process.call(call)
    except Ended as ended:
        raise UserError(f"a run on worker {worker.address} {ended}; see whether it has enough memory") from None
    finally:
        process.end()


def _end_with_task(process: Worker, worker: Any, key: str) -> None:
    # When the user interrupts the command, Dask gives up the task, but does not stop what it has begun.
    while process.process.poll() is None:
        time.sleep(0.5)
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            process.process.kill()
