"""Workers of a Dask cluster, whose rows come back in the results."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.file.columns import ROW_SHAPE, X_DTYPES
from cache.file.settings import MelSettings
from cache.shared.cluster import Cluster, Needs, check_this_worker, connected, needs_of, portable
from cache.shared.errors import UserError
from featurize.audio.decode import read_ahead
from featurize.features.row import FEATURE_VERSION
from featurize.workers.batch import Done, Task, featurize_batch, files_of
from featurize.workers.rows import Room
from featurize.workers.schedule import Pool

# Larger than on one machine, because handing over takes longer; 8 MB of rows.
_BATCH_CLIPS = 128

# The libraries that compute the rows.
_LIBRARIES = ("numpy", "llvmlite", "soxr", "soundfile")


class _Workers:
    """A `Pool` on a cluster."""

    def __init__(self, cluster: Cluster, needs: Needs, n_tasks: int, dtype: str) -> None:
        from distributed import KilledWorker

        self.executor = cluster.executor()
        self.died: type[BaseException] = KilledWorker
        self._cluster, self._needs, self._dtype = cluster, needs, dtype
        self.n_rows = max(1, min(_BATCH_CLIPS, -(-n_tasks // (4 * self.n_workers()))))

    def n_workers(self) -> int:
        try:
            return max(1, sum(self._cluster.workers().values()))
        except UserError as error:
            raise self.failed(error, [], 0) from None

    def n_blocks(self) -> int:
        # With more than twice as many tasks as threads, the scheduler holds back those that no worker is free for. Then
        # a worker that dies takes few tasks with it, and a worker that joins finds some.
        return 2 * self.n_workers() + 8

    def task(self, block: int, data: str, tasks: Sequence[Task], settings: MelSettings) -> Callable[[], Done]:
        return portable(partial(work, self._needs, data, tasks, settings, self._dtype))

    def rows_of(self, block: int, done: Done) -> Iterable[npt.NDArray[Any]]:
        return [done.X]

    def suspects(self, block: int, tasks: Sequence[Task], future: "Future[Done]") -> Sequence[Task]:
        killed = future.done() and not future.cancelled() and isinstance(future.exception(), self.died)
        return tasks if killed else []

    def renew(self) -> None:
        pass  # the cluster does

    def failed(self, error: BaseException, tasks: Sequence[Task], block: int) -> UserError:
        return UserError(f"{self._cluster.failed(error)}; finished clips are kept")


@contextmanager
def cluster_workers(
    scheduler: str,
    folders: Sequence[Path],
    n_tasks: int,
    dtype: str,
    notify: Callable[[str], None],
    dashboard: bool,
) -> Iterator[Pool]:
    """Use the workers of a cluster, which must be able to read `folders`; see `cache.shared.cluster.connected`.

    Few clips are shared out evenly. Raises a UserError if there is no such cluster, or a worker lacks something.
    """
    needs = needs_of(software, *folders)
    with connected(scheduler, needs, notify, dashboard) as cluster:
        yield _Workers(cluster, needs, n_tasks, dtype)


def software() -> dict[str, str]:
    """Return the version of everything that decides what a row is."""
    import soundfile

    versions = {"feature code": str(FEATURE_VERSION), "libsndfile": soundfile.__libsndfile_version__}
    return versions | {name: version(name) for name in _LIBRARIES}


def work(needs: Needs, data: str, tasks: Sequence[Task], settings: MelSettings, dtype: str) -> Done:
    """Compute a batch on a worker; its rows are in the result.

    Raises a UserError if the worker lacks something.
    """
    check_this_worker(needs)
    read_ahead(files_of(data, tasks))
    done = featurize_batch(data, tasks, settings, Room(np.empty((len(tasks), *ROW_SHAPE), X_DTYPES[dtype])))
    if done.rejected:
        # The worker may have lost its view of the storage.
        check_this_worker(needs, again=True)
    return done
