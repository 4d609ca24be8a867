"""update_alone(): compute the clips that a cache lacks, keep their rows as they come, and publish them."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.file.columns import X_DTYPES
from cache.file.journal import Journal, append, close_journal, open_journal
from cache.file.publish import discard, publish
from cache.file.reader import Cache
from cache.file.settings import MelSettings
from cache.shared.cli import progress_bar
from cache.shared.errors import Interrupted, UserError
from cache.shared.segment import Crop, grid
from cache.shared.text import human_count, human_size
from featurize.update.plan import (
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
from featurize.update.request import Request, without_classes
from featurize.update.segments import shapes
from featurize.workers.batch import Task, n_bytes_of
from featurize.workers.processes import processes
from featurize.workers.schedule import Pool, run_batches

if TYPE_CHECKING:
    from tqdm import tqdm

_VERSIONS_OF = ("numpy", "llvmlite", "soxr", "soundfile", "h5py")

# The cost of a clip beyond its bytes, for the progress bar: opening it and making a row take as long as so many bytes.
_CLIP_BYTES = 100_000

# The disk is set to work whenever so much is waiting for it, so that there is little to wait for at the end.
SYNC_BYTES = 128 << 20

# Headers that are read to estimate how many rows there will be.
_MOST_HEADERS = 500

# A sample rate at which all windows are whole samples.
_MICRO = 1_000_000

fdatasync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def update_alone(request: Request) -> tuple[Request, int, Cache]:
    """Compute what is missing and publish it; return the final request, the number of clips computed, the cache."""
    options = request.options
    why = request.damage or (why_recompute(request.old, request.header) if request.old is not None else "")
    if why:
        options.notify(f"all clips are computed again: {why}")
    elif request.old is not None and (why_some := why_cut_again(request.old, request.header)):
        options.notify(why_some)
    reusable = None if why else request.old
    journal, notice = open_journal(request.cache_file, request.header.determines_rows, X_DTYPES[request.header.dtype])
    if notice:
        options.notify(notice)
    try:
        corrections = corrections_of(request.cache_file, request.header.class_names, lambda line: None)
        plan = make_plan(request.found, reusable, journal, options.rehash, corrections, request.header.cropping)
        n_computed = _compute(request, plan, journal)
        settle(plan, reusable, journal)
        if gone := unusable_classes(plan, len(request.header.class_names)):
            request = without_classes(request, gone, options.notify)
            plan = without(plan, gone, request.found.clips)
            corrections = corrections._replace(class_names=request.header.class_names)
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
        n_missing = len(make_plan(request.found, reusable, journal, rehash=False, crop=request.header.cropping).tasks)
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
    """Compute the clips of a plan into the file of rows, and return how many that were."""
    options = request.options
    if options.strict and plan.rejected:
        bad = min(plan.rejected.values())
        raise UserError(f"{options.data / bad.path}: {bad.reason}; nothing was published because of --strict")
    new = [task for task in plan.tasks if request.options.rehash or not task.known_sha256]
    _check_space(request, plan, journal, len(new), _estimated_rows(options.data, new, request.header.settings))
    with _pool(request, len(plan.tasks), journal) as pool:
        return _compute_by(pool, options.data, plan.tasks, request.header.settings, options.strict, journal)


def _pool(request: Request, n_tasks: int, journal: Journal) -> AbstractContextManager[Pool]:
    options, header = request.options, request.header
    if options.scheduler is not None and n_tasks:
        from featurize.workers.dask import cluster_workers

        folders = [options.data / folder for folder in request.found.folders]
        return cluster_workers(options.scheduler, folders, n_tasks, header.dtype, options.notify, options.dashboard)
    return processes(options.n_jobs, n_tasks, header.settings, header.dtype, journal.rows_path)


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
    olds = [] if reusable is None else [reusable]
    return publish(
        request.cache_file, header, columns, labels, source, olds, journal, rejected, request.options.announce
    )


def _compute_by(
    pool: Pool, data: Path, tasks: Sequence[Task], settings: MelSettings, strict: bool, journal: Journal
) -> int:
    """Compute clips and keep their rows in the journal; return how many clips that were.

    Raises a UserError if no worker is left, or a clip cannot be used and `strict` is set.
    """
    n_seen = n_clips = n_rows = 0
    started = time.perf_counter()
    batches = run_batches(str(data.absolute()), tasks, settings, pool)
    with closing(_bar(tasks)) as bar, _syncing(journal.rows_file) as written, closing(batches) as finished:
        for batch, done, X in finished:
            append(journal, done.rows, X, done.rejected)
            n_clips += len({row.clip or row.path for row in done.rows})
            if strict and done.rejected:
                bad = done.rejected[0]
                raise UserError(f"{data / bad.path}: {bad.reason}; nothing was published because of --strict")
            written(len(done.rows) * journal.row_bytes)
            n_seen, n_rows = n_seen + len(batch), n_rows + len(done.rows)
            rate = n_seen / (time.perf_counter() - started)
            rows = "" if n_rows <= n_seen else f", {n_rows} rows"
            bar.set_postfix_str(f"{n_seen} of {len(tasks)} clips{rows}, {rate:.0f} clips/s", refresh=False)
            bar.update(n_bytes_of(batch) + _CLIP_BYTES * len(batch))
    return n_clips


def _estimated_rows(data: Path, tasks: Sequence[Task], settings: MelSettings) -> int:
    """Return how many rows clips will have at most, by their headers; of many clips by the headers of some."""
    if not tasks or tasks[0].crop.crop == "middle":
        return len(tasks)
    some, shape_of = tasks[:: -(-len(tasks) // _MOST_HEADERS)], shapes(data)
    seconds = [one.segment.end - one.segment.start if one.segment else shape_of(one.path)[0] for one, *_ in some]
    n_rows = [_n_rows(length, task.crop, settings) for length, task in zip(seconds, some, strict=True)]
    return round(sum(n_rows) / len(some) * len(tasks))


def _n_rows(seconds: float, crop: Crop, settings: MelSettings) -> int:
    n = grid(settings.row_seconds, crop.overlap, _MICRO).n_windows(round(_MICRO * seconds))
    return min(n, crop.n_windows) if crop.crop == "loudest" else n


@contextmanager
def _syncing(file: int) -> Iterator[Callable[[int], None]]:
    """Sync a file now and then, in a thread; the block says how many bytes it has written."""
    n_unsynced = 0
    sync: Future[None] | None = None
    syncer = ThreadPoolExecutor(1)

    def written(n_bytes: int) -> None:
        nonlocal n_unsynced, sync
        n_unsynced += n_bytes
        if n_unsynced >= SYNC_BYTES and (sync is None or sync.done()):
            if sync is not None:
                sync.result()
            sync = syncer.submit(fdatasync, file)
            n_unsynced = 0

    try:
        yield written
        if sync is not None:
            sync.result()
    finally:
        syncer.shutdown(wait=False)


def _bar(tasks: Sequence[Task]) -> "tqdm[Any]":
    # Bytes keep the time left true when lengths differ; the clips and their rate are shown behind them.
    return progress_bar(
        n_bytes_of(tasks) + _CLIP_BYTES * len(tasks),
        miniters=1,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}% |{bar}|{postfix}, {remaining} left",
    )
