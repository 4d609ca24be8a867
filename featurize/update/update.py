"""Bring a cache up to date: plan what is new, compute it in parallel, hand the rows to the writer."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.file.columns import X_DTYPES
from cache.file.header import Header
from cache.file.journal import Partial, close_partial, open_partial, partial_paths
from cache.file.publish import discard, publish
from cache.file.reader import Cache, open_cache
from cache.file.settings import MelSettings
from cache.shared.errors import DamagedCache, Interrupted, MissingCache, UserError
from cache.shared.files import locked
from cache.shared.text import human_count, human_size
from featurize.audio.find import CLASS_NAMES, Found, find_clips
from featurize.features.row import FEATURE_VERSION, computable
from featurize.update.labelled import Labelling, labelled_clips
from featurize.update.plan import (
    Plan,
    clip_columns,
    is_published,
    make_plan,
    n_rows_to_write,
    settle,
    usable,
    why_recompute,
)
from featurize.update.request import asked

if TYPE_CHECKING:
    from featurize.workers.schedule import Crew

_VERSIONS_OF = ("numpy", "llvmlite", "soxr", "soundfile", "h5py")


@dataclass(frozen=True)
class Job:
    """What a run is asked to do.

    Attributes
    ----------
    data
        The folder that holds a folder of clips per class.
    cache_file
        The HDF5 file to bring up to date.
    class_names
        The position is the label index.
    max_per_class
        Take only the first so many clips of each class, by path; None or 0 for all.
    n_jobs
        Worker processes.
    dtype
        Element type of X, "float32" or "float16".
    strict
        Stop at a clip that cannot be used instead of leaving it out.
    rehash
        Recognise clips by their content instead of by size and modification time.
    wait
        Wait while another process writes the cache instead of giving up.
    scheduler
        Compute on the Dask cluster of this scheduler: its address, or its scheduler file.
    dashboard
        Say where that cluster's dashboard is.
    settings
        What to compute.
    notify
        Takes notices for the user, a line each.
    labelling
        Which tables of labels name segments of recordings.
    """

    data: Path
    cache_file: Path
    class_names: tuple[str, ...] = CLASS_NAMES
    max_per_class: int | None = None
    n_jobs: int = 1
    dtype: str = "float32"
    strict: bool = False
    rehash: bool = False
    wait: bool = False
    scheduler: str | None = None
    dashboard: bool = False
    settings: MelSettings = field(default_factory=MelSettings)
    notify: Callable[[str], None] = lambda line: None
    labelling: Labelling = field(default_factory=Labelling)

    @property
    def header(self) -> Header:
        """What the rows depend on."""
        return Header(
            self.settings.as_dict(),
            FEATURE_VERSION,
            self.class_names,
            self.dtype,
            max_per_class=self.max_per_class or 0,
            tables=tuple(os.path.relpath(path, self.cache_file.parent) for path in self.labelling.tables),
            label_column=self.labelling.column,
            widen=self.labelling.widen,
            label_length=self.labelling.length,
            background=self.labelling.background,
        )


@dataclass(frozen=True)
class Result:
    """What a run did; `cache` is what it left, open."""

    cache: Cache
    found: Found
    n_computed: int
    n_reused: int
    n_removed: int
    seconds: float


def build(
    data: str | Path = "data",
    cache_file: str | Path | None = None,
    classes: Sequence[str] = (),
    dtype: str | None = None,
    max_per_class: int | None = None,
    notify: Callable[[str], None] = lambda line: None,
    labels: Sequence[str | Path] = (),
    label_column: str | None = None,
    widen: bool | None = None,
    background: int | None = None,
    **how: Any,
) -> Result:
    """Bring a cache up to date with the clips in the class folders of DATA.

    Parameters
    ----------
    data
        The folder that holds a folder of clips per class.
    cache_file
        The HDF5 file to make or to bring up to date; None: `features.h5` in DATA.
    classes, dtype, max_per_class, say, labels, label_column, widen, background
        See `featurize.update.request.asked`: what is not given stays as the cache remembers it.
    how
        The other attributes of `Job` by name, such as n_jobs=2.

    Returns
    -------
    Result
        Its `cache` is open.

    Raises
    ------
    UserError
        The clips or the cache cannot be used as they are. The old cache is as it was, and finished rows are kept for
        the next run.
    """
    data = Path(data)
    file = data / "features.h5" if cache_file is None else Path(cache_file)
    names, limit, element, labelling = asked(
        data, file, classes, dtype, max_per_class, notify, labels, label_column, widen, background
    )
    return update(Job(data, file, names, max_per_class=limit, dtype=element, notify=notify, labelling=labelling, **how))


def update(job: Job) -> Result:
    """Make the cache hold exactly the clips in `job.data`, and compute no more than that takes.

    Raises
    ------
    UserError
        The clips or the cache cannot be used as they are. The old cache is as it was, and finished rows are kept for
        the next run.
    """
    started = time.perf_counter()
    computable(job.settings)
    found = _find(job, job.notify)
    # Where the user keeps a link, the cache belongs where it leads.
    job = replace(job, cache_file=Path(os.path.realpath(job.cache_file)))
    _check_place(job.cache_file)
    old, why, _ = _old_cache(job)
    plan = make_plan(found, None if why else old, None, job.rehash)
    leftovers = any(path.exists() for path in partial_paths(job.cache_file))
    if old is None or not is_published(plan, old, job.header) or leftovers:
        lock = job.cache_file.with_name(job.cache_file.name + ".lock")
        remedy = "let it finish, or wait for it with --wait"
        try:
            with locked(lock, f"is writing {job.cache_file}", remedy, job.notify, job.wait) as waited:
                if waited:
                    found = _find(job, lambda line: None)
                old, n_computed, cache = _update(job, found)
        except OSError as error:
            raise _unwritable(job.cache_file, error) from error
    else:
        n_computed, cache = 0, old
    n_removed = len(set(old.paths).difference(cache.paths)) if old is not None and old is not cache else 0
    seconds = time.perf_counter() - started
    return Result(cache, found, n_computed, len(cache) - n_computed, n_removed, seconds)


def _find(job: Job, notify: Callable[[str], None]) -> Found:
    segments = labelled_clips(job.data, job.class_names, job.labelling, notify)
    return find_clips(job.data, job.class_names, job.max_per_class or None, segments)


def _check_place(cache_file: Path) -> None:
    if not cache_file.parent.is_dir():
        raise UserError(f"{cache_file.parent} is not a folder; make it, or choose another place with --cache")
    if cache_file.exists() and not cache_file.is_file():
        raise UserError(f"{cache_file} is not a file; give --cache the name of a file to make or to bring up to date")


def _unwritable(cache_file: Path, error: OSError) -> UserError:
    what_to_do = "put that right"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what_to_do = "make room"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        what_to_do = "make its folder writable or choose another place with --cache"
    return UserError(
        f"{cache_file} cannot be written ({error.strerror or error}); {what_to_do} and run it again:"
        " the old cache, if there is one, is whole, and finished clips are kept"
    )


def _old_cache(job: Job) -> tuple[Cache | None, str, bool]:
    """Open the cache there is; say why its rows are of no use, and whether it is damaged."""
    try:
        old = open_cache(job.cache_file)
    except MissingCache:
        return None, "", False
    except DamagedCache as error:
        return None, str(error).split("; make it again")[0], True
    return old, why_recompute(old, job.header), False


def _update(job: Job, found: Found) -> tuple[Cache | None, int, Cache]:
    """Compute what is missing and publish; return the old cache, the number of rows computed, and the new cache."""
    from featurize.update.compute import compute

    # Read again: until we held the lock another run might have replaced it.
    old, why, damaged = _old_cache(job)
    if why:
        job.notify(f"computing all clips anew: {why}")
    reusable = None if why else old
    partial, notice = open_partial(job.cache_file, job.header.determines_rows, X_DTYPES[job.dtype])
    if notice:
        job.notify(notice)
    try:
        plan = make_plan(found, reusable, partial, job.rehash)
        _check_strict(job, plan)
        _check_space(job, plan, partial)
        with _crew(job, found.folders, len(plan.tasks)) as crew:
            n_computed = compute(job.data, plan.tasks, job.settings, crew, job.strict, partial)
        settle(plan, reusable, partial)
        if reusable is not None and is_published(plan, reusable, job.header):
            discard(partial)
            return old, 0, reusable
        _check_classes(job, plan)
        if damaged:
            aside = _free_name(job.cache_file.with_name(job.cache_file.name + ".damaged"))
            job.notify(f"the damaged cache is set aside as {aside}")
            job.cache_file.replace(aside)
        _publish(job, plan, reusable, partial)
    except Interrupted as interrupt:
        n_clips, n_missing = len(found.clips), len(make_plan(found, reusable, partial, rehash=False).tasks)
        interrupt.kept = (
            f"{n_clips - n_missing} of {n_clips} clips are finished and kept; run the same command again to go on"
        )
        raise
    finally:
        # Rows that are not worth a file would only be litter.
        if partial.n_slots or partial.rejected:
            close_partial(partial)
        else:
            discard(partial)
    return old, n_computed, open_cache(job.cache_file)


def _crew(job: Job, found_in: Sequence[str], n_tasks: int) -> "AbstractContextManager[Crew]":
    if job.scheduler is not None and n_tasks:
        from featurize.workers.dask import cluster_workers

        folders = [job.data / folder for folder in found_in]
        return cluster_workers(job.scheduler, folders, n_tasks, job.dtype, job.notify, job.dashboard)
    from featurize.workers.processes import processes

    return processes(job.n_jobs, n_tasks, job.settings, job.dtype)


def _check_strict(job: Job, plan: Plan) -> None:
    if job.strict and plan.rejected:
        bad = min(plan.rejected.values())
        raise UserError(f"{job.data / bad.path}: {bad.reason}; nothing was published because of --strict")


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}{suffix}") for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    return next((name for name in names if not name.exists()), path)


def _check_space(job: Job, plan: Plan, partial: Partial) -> None:
    needed = n_rows_to_write(plan, partial.n_slots) * partial.row_bytes
    free = shutil.disk_usage(job.cache_file.parent).free
    if needed > free:
        raise UserError(
            f"{job.cache_file.parent} has {human_size(free)} free and the cache needs {human_size(needed)};"
            " make room, choose another place with --cache, or halve it with --dtype float16"
        )
    n_known = 0 if job.rehash else sum(task.known_sha256 != "" for task in plan.tasks)
    if n_known:
        job.notify(
            f"{human_count(n_known, 'clip')} of known size and time to compare by content: the inode is another"
            " (a copy, or a file system that does not keep them)"
        )
    job.notify(
        f"{human_count(len(plan.tasks) - n_known, 'clip')} to compute; needs up to {human_size(needed)} of disk,"
        f" {human_size(free)} are free"
    )


def _check_classes(job: Job, plan: Plan) -> None:
    labels = {clip.label for clip in usable(plan)[0]}
    for label, class_name in enumerate(job.class_names):
        if label not in labels:
            bad = min(plan.rejected[clip.path] for clip in plan.clips if clip.label == label)
            raise UserError(
                f"{job.data / class_name} has no usable clip ({bad.path}: {bad.reason});"
                " put clips there that can be read, or leave the class out with --classes"
            )


def _publish(job: Job, plan: Plan, reusable: Cache | None, partial: Partial) -> None:
    clips, source = usable(plan)
    columns, labels = clip_columns(clips)
    header = replace(
        job.header,
        versions={name: version(name) for name in _VERSIONS_OF},
        data_dir=os.path.relpath(job.data, job.cache_file.parent),
    )
    rejected = [plan.rejected[path] for path in sorted(plan.rejected)]
    publish(job.cache_file, header, columns, labels, source, reusable, partial, rejected, job.notify)
