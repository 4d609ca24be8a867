"""update(): bring a cache up to date: resolve the request, plan, compute what is new, publish."""

import errno
import shutil
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from cache.file.columns import X_DTYPES
from cache.file.journal import Journal, close_journal, journal_paths, open_journal
from cache.file.publish import discard, publish
from cache.file.reader import Cache
from cache.labels.annotation import Problem
from cache.shared.errors import Interrupted, UserError
from cache.shared.files import locked
from cache.shared.text import human_count, human_size
from featurize.audio.find import Found
from featurize.update.options import Options
from featurize.update.plan import (
    Corrections,
    Plan,
    correct,
    corrections_of,
    is_published,
    make_plan,
    n_rows_to_write,
    rows_of,
    settle,
    unusable_classes,
    usable,
    why_cut_again,
    why_recompute,
    without,
)
from featurize.update.request import Request, resolve, without_classes

if TYPE_CHECKING:
    from featurize.workers.schedule import Pool

_VERSIONS_OF = ("numpy", "llvmlite", "soxr", "soundfile", "h5py")


@dataclass(frozen=True)
class Result:
    """The outcome of a run."""

    cache: Cache  # the cache that it left, open
    found: Found  # the clips, and everything else that was found in DATA
    problems: Sequence[Problem]  # labels that were skipped, and other remarks on lines of tables
    # Clips that were computed, that were there already, and that have gone.
    n_computed: int
    n_reused: int
    n_removed: int
    seconds: float  # how long it took
    names_crop: bool = False  # whether the user said how long clips become rows

    def __repr__(self) -> str:
        counts = f"{self.n_computed} computed, {self.n_reused} reused, {self.n_removed} removed"
        return f"<Result: {counts}, {self.cache!r}>"


def update(options: Options) -> Result:
    """Make the cache hold exactly the clips that are asked for, and compute no more than that takes.

    Raises a UserError if the clips or the cache cannot be used as they are. The old cache is as it was, and finished
    rows are kept for the next run.
    """
    started = time.perf_counter()
    request = resolve(options, options.notify)
    corrections = corrections_of(request.cache_file, request.header.class_names, options.notify)
    if _is_done(request, corrections):
        assert request.old is not None
        n_computed, cache = 0, request.old
    else:
        request, n_computed, cache = _update_alone(request)
    old = request.old
    is_new = old is not None and old is not cache
    n_removed = len(set(old.clip_paths).difference(cache.clip_paths)) if old is not None and is_new else 0
    n_reused, seconds = cache.n_clips - n_computed, time.perf_counter() - started
    names_crop = options.crop is not None
    return Result(cache, request.found, request.problems, n_computed, n_reused, n_removed, seconds, names_crop)


def _is_done(request: Request, corrections: Corrections) -> bool:
    """Whether the cache is already what is asked for, and nothing lies beside it."""
    if request.old is None or any(path.exists() for path in journal_paths(request.cache_file)):
        return False
    plan = make_plan(request.found, request.old, None, request.options.rehash, corrections, request.crop)
    plan = correct(plan, corrections, request.old, None)
    return not why_recompute(request.old, request.header) and is_published(plan, request.old, request.header)


def _update_alone(request: Request) -> tuple[Request, int, Cache]:
    """Update the cache while no other run may; return the request as it was at last, the rows computed, the cache."""
    options, file = request.options, request.cache_file
    lock = file.with_name(file.name + ".lock")
    remedy = "let it finish, or wait for it with --wait"
    try:
        with locked(lock, f"is writing {file}", remedy, options.notify, options.wait) as waited:
            if waited or request.is_stale:
                # Another run replaced the cache, and the clips may have changed since.
                request = resolve(options, lambda line: None)
            return _update(request)
    except OSError as error:
        raise _unwritable(file, error) from error


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


def _update(request: Request) -> tuple[Request, int, Cache]:
    """Compute what is missing and publish."""
    options = request.options
    why = request.damage or (why_recompute(request.old, request.header) if request.old is not None else "")
    if why:
        options.notify(f"all clips are computed again: {why}")
    elif request.old is not None and (why_some := why_cut_again(request.old, request.header)):
        options.notify(why_some)
    reusable = None if why else request.old
    journal, notice = open_journal(request.cache_file, request.header.determines_rows, X_DTYPES[request.dtype])
    if notice:
        options.notify(notice)
    try:
        corrections = corrections_of(request.cache_file, request.header.class_names, lambda line: None)
        plan = make_plan(request.found, reusable, journal, options.rehash, corrections, request.crop)
        n_computed = _compute(request, plan, journal)
        settle(plan, reusable, journal)
        if gone := unusable_classes(plan, len(request.classes)):
            request = without_classes(request, gone, options.notify)
            plan = without(plan, gone, request.found.clips)
            corrections = replace(corrections, class_names=request.header.class_names)
        plan = correct(plan, corrections, reusable, journal)
        if corrections.by_content:
            _refuse_empty_classes(request, plan)
        if reusable is not None and is_published(plan, reusable, request.header):
            discard(journal)
            return request, 0, reusable
        if request.damage:
            _set_aside(request)
        return request, n_computed, _publish(request, plan, reusable, journal)
    except Interrupted as interrupt:
        n_clips = len(request.found.clips)
        n_missing = len(make_plan(request.found, reusable, journal, rehash=False, crop=request.crop).tasks)
        interrupt.kept = (
            f"{n_clips - n_missing} of {n_clips} clips are finished and kept; run the same command again to go on"
        )
        raise
    finally:
        # Rows that are not worth a file would only be litter.
        if journal.n_slots or journal.rejected:
            close_journal(journal)
        else:
            discard(journal)


def _refuse_empty_classes(request: Request, plan: Plan) -> None:
    there = {clip.label for clip in usable(plan)[0]}
    if gone := [name for label, name in enumerate(request.header.class_names) if label not in there]:
        raise UserError(
            f"corrections.csv leaves no clip in {', '.join(gone)}; put clips there, or list the other classes with"
            " --classes"
        )


def _compute(request: Request, plan: Plan, journal: Journal) -> int:
    """Compute the clips of a plan into the file of rows, and return how many rows that took."""
    from featurize.update.compute import compute, estimated_rows

    options = request.options
    if options.strict and plan.rejected:
        bad = min(plan.rejected.values())
        raise UserError(f"{options.data / bad.path}: {bad.reason}; nothing was published because of --strict")
    new = [task for task in plan.tasks if request.options.rehash or not task.known_sha256]
    _check_space(request, plan, journal, len(new), estimated_rows(options.data, new, request.settings))
    with _pool(request, len(plan.tasks), journal) as pool:
        return compute(options.data, plan.tasks, request.settings, pool, options.strict, journal)


def _pool(request: Request, n_tasks: int, journal: Journal) -> "AbstractContextManager[Pool]":
    options = request.options
    if options.scheduler is not None and n_tasks:
        from featurize.workers.dask import cluster_workers

        folders = [options.data / folder for folder in request.found.folders]
        return cluster_workers(options.scheduler, folders, n_tasks, request.dtype, options.notify, options.dashboard)
    from featurize.workers.processes import processes

    return processes(options.n_jobs, n_tasks, request.settings, request.dtype, journal.rows_path)


def _check_space(request: Request, plan: Plan, journal: Journal, n_new: int, n_rows: int) -> None:
    """Raise a UserError if the disk is too full for the rows, and announce what is going to be computed."""
    folder = request.cache_file.parent
    needed = n_rows_to_write(plan, n_rows, request.old, journal) * journal.row_bytes
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder} has {human_size(free)} free and the cache needs {human_size(needed)};"
            " make room, choose another place with --cache, or halve it with --dtype float16"
        )
    if n_known := len(plan.tasks) - n_new:
        request.options.announce(
            f"{human_count(n_known, 'clip')} of known size and time to compare by content: the inode is another"
            " (a copy, or a file system that does not keep them)"
        )
    rows = f" (about {human_count(n_rows, 'row')})" if n_rows > n_new else ""
    request.options.announce(
        f"{human_count(n_new, 'clip')}{rows} to compute; needs up to {human_size(needed)} of disk,"
        f" {human_size(free)} are free"
    )


def _set_aside(request: Request) -> None:
    """Keep a damaged cache under another name."""
    damaged = request.cache_file.with_name(request.cache_file.name + ".damaged")
    names = (damaged.with_name(f"{damaged.name}{suffix}") for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    backup = next((name for name in names if not name.exists()), damaged)
    request.options.notify(f"the damaged cache is kept as {backup}")
    request.cache_file.replace(backup)


def _publish(request: Request, plan: Plan, reusable: Cache | None, journal: Journal) -> Cache:
    clips, source = usable(plan)
    source, columns, labels = rows_of(clips, source, reusable, journal)
    if n_corrected := sum(clip.corrected > 0 for clip in clips):
        request.options.announce(f"{human_count(n_corrected, 'label')} corrected, by corrections.csv")
    header = replace(request.header, versions={name: version(name) for name in _VERSIONS_OF})
    rejected = [plan.rejected[path] for path in sorted(plan.rejected)]
    announce = request.options.announce
    return publish(request.cache_file, header, columns, labels, source, reusable, journal, rejected, announce)
