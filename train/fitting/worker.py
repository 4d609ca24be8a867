"""Processes that fit: several fits at a time on this machine, and one at a time on each worker of a Dask cluster.

A process begins TensorFlow once and answers calls one after another. It ends with the process that started it. A worker
of a cluster maps the cache from shared storage.
"""

import hashlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cache import open_cache
from cache.shared.cli import be_quiet, progress_bar
from cache.shared.cluster import Cluster, Needs, check_this_worker, connected, needs_of, portable
from cache.shared.errors import UserError
from train.runs.record import versions

Job = TypeVar("Job")
Result = TypeVar("Result")
# Makes a call for each of some jobs, and returns the results in their order: `map` itself does.
Map = Callable[[Callable[[Job], Result], Iterable[Job]], Iterable[Result]]

# Bytes that a process takes: it took 860 MB on clips of 32 columns, and 1,046 MB on clips of 128.
_MEMORY = 1_100_000_000
# Clips that a process trains on in the time in which another one starts, some four seconds.
_WORK_OF_A_START = 4_000

# TensorFlow uses all cores for one fit, so a worker of a cluster does one at a time, however many threads it has.
_alone = threading.Lock()


class Worker:
    """A process that answers calls.

    So many threads share the work of one of TensorFlow's operations; None: as many as there are cores.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        limits = {} if n_threads is None else {"TF_NUM_INTRAOP_THREADS": str(n_threads)}
        # A group of its own: Ctrl-C is for the command alone, which ends its workers.
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from train.fitting.worker import answer; answer()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **limits},
            process_group=0,
        )

    def call(self, call: Callable[[], Result]) -> Result:
        """Call in the process.

        Raises the UserError that the call raised, or if the process ended one whose message begins with "it".
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(pickle.dumps(call))
            self.process.stdin.flush()
        try:
            result = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError):
            code = self.process.wait()
            raise Ended(f"was ended by signal {-code}" if code < 0 else "failed; its log says how") from None
        if isinstance(result, UserError | OSError):
            raise result
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what was not flushed has nobody to read it
                stream.close()  # type: ignore[union-attr]


class Ended(UserError):
    """The process of a call ended before its result; the message ends a sentence about the call."""


@contextmanager
def local_map(n_jobs: int | None, deterministic: bool) -> Iterator[Map[Any, Any]]:
    """Provide a `map` that makes several calls at a time, each in a process of its own.

    None stands for as many as suit the calls, see suitable(); if that is one, this process makes them. The cores are
    shared among the processes, unless the calls must give the same to the bit as a single one at a time: a sum over two
    threads is rounded in another way than over one.
    """
    workers: list[Worker] = []

    def run_all(function: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        todo = list(jobs)
        n = suitable(todo) if n_jobs is None else max(1, min(n_jobs, len(todo)))
        if n_jobs is None and n == 1:
            return map(function, todo)
        n_threads = None if deterministic else _n_threads(n, len(todo), _n_cores())
        workers.extend(Worker(n_threads) for _ in range(n - len(workers)))
        return _run_all(workers, function, todo)

    try:
        yield run_all
    finally:
        # All at once: a process takes a while to give its memory back, and an interrupted command has a second.
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.end()


def suitable(jobs: Sequence[Any]) -> int:
    """Return how many processes are worth their start for some jobs, and have a core and memory each.

    The `work` of a job is how many clips its training goes through, each counted once an epoch.
    """
    by_work: int = sum(job.work for job in jobs) // _WORK_OF_A_START
    return max(1, min(by_work, len(jobs), _n_cores(), free_memory() // _MEMORY))


def _n_cores() -> int:
    return os.cpu_count() or 1


def _n_threads(n_workers: int, n_jobs: int, n_cores: int) -> int:
    """Return how many threads each process gets: its share of the cores, or twice that for the sake of the last jobs.

    With five jobs on two cores, the fifth runs alone. One thread more costs the others a twentieth of their speed.
    """
    n_last = n_jobs % n_workers or n_workers
    return max(1, n_cores // max(n_last, -(-n_workers // 2)))


def free_memory(root: Path = Path("/")) -> int:
    """Return how many bytes new processes may take: what is free, at most what a container may have.

    Where the system does not say what is free, it is all there is.
    """
    pages: int = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = [pages]
    with suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found.append(next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")))
    with suppress(OSError, ValueError):  # "max" where there is no limit
        group = root / "sys/fs/cgroup"
        found.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(0, min(found))


def _run_all(workers: Sequence[Worker], function: Callable[[Job], Result], todo: Sequence[Job]) -> Iterator[Result]:
    idle = queue.SimpleQueue[Worker]()
    for worker in workers:
        idle.put(worker)

    def run(job: Job) -> Result:
        worker = idle.get()
        try:
            return worker.call(partial(function, job))
        except Ended as ended:
            raise UserError(f"a run {ended}; see whether there is enough memory, or give a smaller --jobs") from None
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(len(workers))
    with progress_bar(len(todo), unit="run") as bar:
        try:
            for future in [pool.submit(run, job) for job in todo]:
                yield future.result()
                bar.update()
        finally:
            # After an error or a signal nobody waits for the calls that are under way: local_map() ends them.
            pool.shutdown(wait=False, cancel_futures=True)


def answer() -> NoReturn:
    """Run as the process of a Worker: read calls from stdin, and write their results to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may print to it
    be_quiet(True)  # the command shows the progress of all calls
    calls = queue.SimpleQueue[Callable[[], Any]]()
    threading.Thread(target=_read, args=(calls,), daemon=True).start()
    while True:
        call = calls.get()
        try:
            result = call()
        except (UserError, OSError) as error:
            result = error
        out.write(pickle.dumps(result))
        out.flush()


def _read(calls: "queue.SimpleQueue[Callable[[], Any]]") -> None:
    """Read calls until stdin ends, which it does when the process that has the Worker is gone."""
    with suppress(EOFError):
        while True:
            calls.put(pickle.load(sys.stdin.buffer))
    os._exit(1)


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
        yield partial(_run_on_cluster, cluster, needs)


def software() -> dict[str, str]:
    """Return the version of everything that can change the result of a fit, this package's own source included."""
    source = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        source.update(file.read_bytes())
    # Bug-fix releases of Python do not change results.
    python = versions()["python"].rpartition(".")[0]
    return {"training code": source.hexdigest()[:12], **versions(), "python": python}


def _run_on_cluster(
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
