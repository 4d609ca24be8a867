"""sweep(): many fits on one cache, each in its own run directory; it goes on where an earlier sweep stopped."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from cache import open_cache
from cache.shared.cli import complain, is_watched, notice
from cache.shared.errors import Interrupted, UserError
from cache.shared.files import locked
from cache.shared.text import human_percent, human_seconds
from train.dataset.splits import refuse_one_class
from train.fitting.fit import fit, resume_fit
from train.fitting.options import Options
from train.fitting.worker import Map
from train.runs.record import FINISHED, Record, read_record

_MAX_NAME = 100


class Job(NamedTuple):
    """One run of a sweep: all that run_one() needs, and it can be pickled."""

    cache_file: Path
    fingerprint: str  # the content that the cache must still have when the run begins
    folder: Path  # the run directory: new, or that of an interrupted fit of the same options
    options: Options
    tensorboard: bool
    title: str  # its name in the progress bar
    work: int = 0  # clips that its training goes through, each counted once an epoch


class Outcome(NamedTuple):
    """The record of a run that finished, or the reason why it failed."""

    folder: Path
    record: Record | None
    reason: str = ""


def sweep(
    cache_file: Path,
    options_list: Sequence[Options],
    folder: Path,
    tensorboard: bool = False,
    run_all: Map[Job, Outcome] = map,
) -> list[Outcome]:
    """Fit a model with each of some options on one cache, and return an outcome for each, in their order.

    A run that is already in `folder`, by its recorded options and the fingerprint of its cache, is not repeated; an
    unfinished run goes on after its last whole epoch. A run that fails does not stop the others. The remaining runs go
    through `run_all`: `map`, one after another in this process, or another map, such as that of a cluster. Raises a
    UserError if the cache cannot be used, or another sweep works in the folder.
    """
    cache = open_cache(cache_file)
    refuse_one_class(cache.file, cache.class_names)
    fingerprint = cache.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".sweep.lock", f"is at work on another sweep in {folder}", "give another --runs", notice):
        done, folders = _plan(folder, options_list, fingerprint)
        jobs = [
            Job(
                cache_file,
                fingerprint,
                run,
                options,
                tensorboard,
                title=f"{i}/{len(folders)} {run.name}",
                work=options.epochs * cache.n_clips,
            )
            for i, (options, run) in enumerate(folders.items(), start=1)
        ]
        try:
            for job, outcome in zip(jobs, run_all(run_one, jobs), strict=True):
                done[job.options] = outcome
                _notify(job, outcome)
        except Interrupted as stop:
            stop.kept = "finished runs and epochs are kept; give the same command again to go on"
            raise
    return [done[options] for options in options_list]


def run_one(job: Job) -> Outcome:
    """Run one fit of a sweep from its beginning, or from where it was interrupted, and write its report."""
    from train.backend.keras import keras
    from train.report.report import report_finished

    # Keras would keep for ever what an earlier run of this process has left in it.
    keras.utils.clear_session()
    try:
        if open_cache(job.cache_file).fingerprint != job.fingerprint:
            raise UserError(f"{job.cache_file} has changed since the sweep began; give the same command again")
        if (job.folder / "run.json").exists():
            folder, record = resume_fit(job.folder, job.cache_file, job.title)
        else:
            folder, record = fit(
                job.cache_file,
                job.folder,
                tensorboard=job.tensorboard,
                title=job.title,
                notify=lambda _warning: None,  # its report shows them
                **asdict(job.options),
            )
    except UserError as error:
        return Outcome(job.folder, None, str(error))
    report_finished(folder)
    return Outcome(folder, record)


def _plan(
    folder: Path, options_list: Sequence[Options], fingerprint: str
) -> tuple[dict[Options, Outcome], dict[Options, Path]]:
    """Return the finished runs, and the run directory of each of the others."""
    records = {file.parent: read_record(file.parent) for file in sorted(folder.glob("*/run.json"))}
    names = _names(options_list)
    done: dict[Options, Outcome] = {}
    folders: dict[Options, Path] = {}
    for options in options_list:
        asked = fingerprint, "fit", asdict(options)
        same = [at for at, one in records.items() if (one.cache.fingerprint, one.command, one.options) == asked]
        finished = [at for at in same if records[at].state == FINISHED]
        if finished:
            done[options] = Outcome(finished[0], records[finished[0]])
        else:
            folders[options] = same[0] if same else _free(folder, names[options], set(folders.values()))
    return done, folders


def _names(options_list: Sequence[Options]) -> dict[Options, str]:
    """Name each run after its model and the options in which the runs differ."""
    values = [asdict(options) for options in options_list]
    varied = [name for name in values[0] if name != "model" and len({row[name] for row in values}) > 1]
    names: dict[Options, str] = {}
    for options, row in zip(options_list, values, strict=True):
        words = [options.model, *(f"{name.replace('_', '-')}-{row[name]}" for name in varied)]
        names[options] = re.sub(r"[^\w.+-]+", "_", "-".join(words))[:_MAX_NAME]
    return names


def _free(folder: Path, name: str, taken: set[Path]) -> Path:
    # A kill may leave a run directory without a record, which no later run can use.
    number, path = 1, folder / name
    while path in taken or path.exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path


def _notify(job: Job, outcome: Outcome) -> None:
    if outcome.record is None:
        complain(f"{job.title}: {outcome.reason}")
    elif is_watched():
        metrics, seconds = outcome.record.metrics, human_seconds(outcome.record.seconds)
        complain(f"{job.title}: " + (f"{human_percent(metrics.accuracy)} in {seconds}" if metrics else seconds))
