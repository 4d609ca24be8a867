"""The commands that deal with many runs: sweep and compare."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.shared.command import notice
from cache.shared.errors import UserError
from cache.shared.text import terminal_width
from train.commands import options


def sweep(
    context: typer.Context,
    cache: options.CacheFile = options.CACHE,
    grid: Annotated[
        str, typer.Option(metavar="KEY=VALUES ..", help="Options of `fit`, each with the values to combine.")
    ] = "model=baseline,compact",
    runs: Annotated[Path, typer.Option(help="Folder for the run directories.")] = Path("runs/sweep"),
    model: options.Model = "baseline",
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = 32,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
    val: options.Val = 0.15,
    test: options.Test = 0.15,
    group_by: options.GroupBy = None,
    class_weight: options.Weight = None,
    patience: options.Patience = None,
    deterministic: options.Deterministic = False,
    tensorboard: options.TensorBoard = False,
    scheduler: options.Scheduler = None,
    dashboard: options.Dashboard = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Fit every combination of some options, and compare the runs.

    All runs are in one process, or on a cluster's workers, each of which must see CACHE and --runs. Give the same
    command again after an interruption: finished runs are not repeated, and a half-finished one goes on. A key of
    --grid is the name of an option, and `default` among its values leaves the option out; options outside of the grid
    hold for every run.

    Example: python -m train sweep data/features.h5 --grid "model=baseline,compact seed=0,1,2" --epochs 20
    """
    from train.commands.grid import combinations
    from train.fit import sweep as sweeps

    options_list = combinations(context, grid)
    if scheduler is not None:
        # Each worker writes its runs there, under the same name.
        cache, runs = cache.absolute(), runs.absolute()
        runs.mkdir(parents=True, exist_ok=True)
    with where(scheduler, dashboard, cache, *[runs] * (scheduler is not None)) as run_all:
        outcomes = sweeps.sweep(cache, options_list, runs, tensorboard, run_all)
    finished = [outcome.folder for outcome in outcomes if outcome.record is not None]
    if finished and (as_json or not quiet):
        _show_comparison(finished, "accuracy", "json" if as_json else "text")
    if n_failed := len(outcomes) - len(finished):
        raise UserError(f"{n_failed} of {len(outcomes)} runs failed; the reasons are above")


def where(
    scheduler: str | None, dashboard: bool, cache: Path, *folders: Path
) -> AbstractContextManager[Callable[..., Any]]:
    """Return what runs folds or runs: `map`, or its counterpart on a cluster."""
    if scheduler is not None:
        from train.fit.dask import cluster_map

        return cluster_map(scheduler, cache, folders, notice, dashboard)
    if dashboard:
        raise typer.BadParameter("only a cluster has one; name it with --scheduler", param_hint="--dashboard")
    return nullcontext(map)


class Sort(StrEnum):
    """What a comparison is sorted by."""

    accuracy = "accuracy"
    seconds = "seconds"
    run = "run"


def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="Run directories, or folders that hold some.")
    ] = None,
    sort: Annotated[Sort, typer.Option(help="The best first, the fastest first, or by name.")] = Sort.accuracy,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Print the table as an HTML page.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Put runs side by side: settings, scores, and what may be chance.

    Without RUN all runs in the folder `runs`. The p-value is that of McNemar's exact test against the best run that
    was tested on the same clips; a warning says where clips were not the same.

    Example: python -m train compare runs/first runs/second

    Example: python -m train compare runs/sweep --sort seconds --html > compare.html
    """
    if as_csv + as_html + as_json > 1:
        raise typer.BadParameter("give one of --csv, --html and --json")
    kind = "csv" if as_csv else "html" if as_html else "json" if as_json else "text"
    _show_comparison(runs or [Path("runs")], sort.value, kind)


def _show_comparison(runs: list[Path], sort: str, kind: str) -> None:
    from train.report import side_by_side as comparison
    from train.score import compare as comparing

    compared = comparing.compare(runs, sort)
    for line in compared.warnings:
        notice(f"warning: {line}")
    if kind == "text":
        print(comparison.as_text(compared, terminal_width()))
    elif kind == "json":
        print(json.dumps(comparing.as_json(compared)))
    else:
        print(comparison.as_csv(compared) if kind == "csv" else comparison.as_html(compared))
