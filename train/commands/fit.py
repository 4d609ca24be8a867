"""The commands that train: fit and crossval."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache.shared.cli import command_line, notice, summarise
from cache.shared.text import printable
from train.commands import many, options

if TYPE_CHECKING:
    from train.runs.record import Record


@options.with_options_of_fit()
def fit(
    context: typer.Context,
    cache: options.CacheFile = options.CACHE,
    run: Annotated[
        Path | None, typer.Option(help="Directory to make for this run.", show_default="runs/<date-time>-<model>")
    ] = None,
    *,
    tensorboard: options.TensorBoard = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted fit; takes no other option.")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    **asked: Any,
) -> None:
    """Train a model on a cache and score it on clips it never saw.

    The run directory holds the model, and report.html with figures and players.

    Example: python -m train fit data/features.h5 --epochs 30 --seed 1

    Example: python -m train fit --resume runs/20261122-201500-baseline
    """
    from train.fitting import fit as fits

    if resume is not None:
        given = options.given(context)
        beside = sorted(given - {"cache", "resume", "quiet", "as_json"})
        if beside:
            option = "--" + beside[0].replace("_", "-")
            raise typer.BadParameter(f"the fit goes on with its own options; leave out {option}", param_hint="--resume")
        folder, record = fits.resume_fit(resume, cache if "cache" in given else None)
    else:
        folder, record = fits.fit(cache, run, tensorboard=tensorboard, notify=lambda _warning: None, **asked)
    _show(folder, record, as_json)


@options.with_options_of_fit("test", "split_file", "val_list", "test_list")
def crossval(
    context: typer.Context,
    cache: options.CacheFile = options.CACHE,
    run: Annotated[
        Path | None,
        typer.Option(help="Directory to make for this run.", show_default="runs/<date-time>-crossval-<model>"),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the clips; each part is tested once.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="How often to do that, each time with other folds.")] = 1,
    fold_by: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="The text that its (group) captures in a path names the clip's fold."),
    ] = None,
    *,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with an interrupted crossval; needs no other option."),
    ] = None,
    jobs: options.Jobs = None,
    scheduler: options.Scheduler = None,
    dashboard: options.Dashboard = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    **asked: Any,
) -> None:
    """Train and test on every clip in turn.

    The clips are divided into folds, and each fold is tested by a network trained on the others. It takes longer
    than `fit`, and the score is far more certain. The run directory holds report.html, and no model.

    Example: python -m train crossval data/features.h5 --folds 5 --repeats 3

    Example: python -m train crossval esc50.h5 --fold-by "([1-5])-[^/]*$"

    Example: python -m train crossval --resume runs/interrupted
    """
    from train.fitting import crossval as validation
    from train.runs.record import read_record

    given = options.given(context)
    if fold_by is not None and (both := given & {"folds", "repeats"}):
        raise typer.BadParameter(f"the paths decide that; leave out --{min(both)}", param_hint="--fold-by")
    if resume is not None:
        moved, was = cache if "cache" in given else None, read_record(resume)
        asked |= {"folds": folds, "repeats": repeats, "fold_by": fold_by, "run": run}
        _refuse_others(resume, was, given, asked)
        exact, file = bool(was.options.get("deterministic")), moved or Path(was.cache.file)
        with many.where(jobs, exact, scheduler, dashboard, file) as run_all:
            folder, record = validation.resume_crossval(resume, moved, run_all)
    else:
        with many.where(jobs, asked["deterministic"], scheduler, dashboard, cache) as run_all:
            folder, record = validation.crossval(
                cache,
                run,
                n_folds=folds,
                n_repeats=repeats,
                fold_by=fold_by,
                run_all=run_all,
                notify=lambda _warning: None,
                **asked,
            )
    _show(folder, record, as_json)


def _refuse_others(run: Path, record: "Record", given: set[str], asked: dict[str, object]) -> None:
    """Refuse options beside --resume that differ from those with which the run was started."""
    was = {"run": run, "fold_by": None, **record.options}
    for name in sorted(given & asked.keys()):
        option = "--" + name.replace("_", "-")
        is_other = asked[name] != was.get(name)
        options.refuse({"--resume": is_other}, f"{run} was started with {option} {was.get(name)}; leave out {option}")


def _show(folder: Path, record: "Record", as_json: bool) -> None:
    from train.commands.screen import run_summary
    from train.report.report import report_finished
    from train.report.sections import hint
    from train.runs.record import as_json as record_as_json

    for line in record.warnings:
        notice(f"warning: {line}")
    if as_json:
        print(json.dumps(record_as_json(folder, record)))
        report_finished(folder)
        return
    summarise(run_summary(folder, record))
    if page := report_finished(folder):
        summarise(f"report: {printable(str(page))}")
    then = ("predict", folder, "FILE") if record.command == "fit" else ("review", folder)
    summarise(printable(f"next: {command_line('train', *then)}"))
    if better := hint(record):
        summarise(better)
