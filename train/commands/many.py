"""The commands for many runs: sweep and compare."""

import json
import shlex
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache.shared.cli import command_line, notice
from cache.shared.errors import UserError
from cache.shared.text import printable, terminal_width
from train.commands import options
from train.fitting.options import Options, options_of

if TYPE_CHECKING:
    from train.fitting.worker import Map

# A process that has switched `deterministic` on cannot switch it off, and runs on other splits cannot be compared.
_NOT_VARIED = {"deterministic", "split_file", "val_list", "test_list"}
_DEFAULT = "default"

_bad = partial(typer.BadParameter, param_hint="--grid")


@options.with_options_of_fit()
def sweep(
    context: typer.Context,
    cache: options.CacheFile = options.CACHE,
    grid: Annotated[
        list[str], typer.Option(metavar="KEY=VALUES ..", help="Options of `fit`, each with the values to combine.")
    ] = ["model=baseline,compact"],  # noqa: B006  # typer copies it
    runs: Annotated[Path, typer.Option(help="Folder for the run directories.")] = Path("runs/sweep"),
    *,
    tensorboard: options.TensorBoard = False,
    jobs: options.Jobs = None,
    scheduler: options.Scheduler = None,
    dashboard: options.Dashboard = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
    **asked: Any,
) -> None:
    """Fit every combination of some options, and compare the runs.

    A key of --grid is the name of an option, followed by the values to combine; `default` as a value leaves the option
    out. Options outside of the grid hold for every run. After an interruption, give the same command again: finished
    runs are not repeated, and an unfinished one goes on. The workers of a cluster must all see CACHE and --runs.

    Example: python -m train sweep --grid "model=baseline,compact seed=0,1,2"
    """
    from train.fitting import sweep as sweeps

    options_list = combinations(context, cache, asked, " ".join(grid))
    if scheduler is not None:
        # Each worker writes its runs there, under the same name.
        cache, runs = cache.absolute(), runs.absolute()
        runs.mkdir(parents=True, exist_ok=True)
    folders = [runs] * (scheduler is not None)
    with where(jobs, asked["deterministic"], scheduler, dashboard, cache, *folders) as run_all:
        outcomes = sweeps.sweep(cache, options_list, runs, tensorboard, run_all)
    finished = [outcome.folder for outcome in outcomes if outcome.record is not None]
    if finished and (as_json or not quiet):
        _show_comparison(finished, "accuracy", "json" if as_json else "text")
    if n_failed := len(outcomes) - len(finished):
        raise UserError(f"{n_failed} of {len(outcomes)} runs failed; the reasons are above")


def where(
    jobs: int | None, deterministic: bool, scheduler: str | None, dashboard: bool, cache: Path, *folders: Path
) -> "AbstractContextManager[Map[Any, Any]]":
    """Provide the map that runs folds or runs: `map` itself, that of several processes, or that of a cluster."""
    if scheduler is not None:
        options.refuse({"--scheduler": jobs not in (None, 1)}, "a cluster has its own workers; leave out --jobs")
        from train.fitting.worker import cluster_map

        return cluster_map(scheduler, cache, folders, notice, dashboard)
    options.refuse({"--dashboard": dashboard}, "only a cluster has one; name it with --scheduler")
    if jobs == 1:
        return nullcontext(map)
    from train.fitting.worker import local_map

    return local_map(jobs, deterministic)


class Sort(StrEnum):
    """The column by which a comparison is sorted."""

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
    """Compare runs: their settings, their scores, and whether a difference may be chance.

    Without RUN, it compares all runs in the folder `runs`. The p-value is that of McNemar's exact test against the best
    run that was tested on the same clips; a warning names runs that were tested on other clips.

    Example: python -m train compare runs/first runs/second

    Example: python -m train compare runs/sweep --html > compare.html
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
        if with_model := [entry.folder for entry in compared.entries if entry.record.command == "fit"]:
            print(printable(f"next: {command_line('train', 'predict', with_model[0], 'FILE')}"))
    elif kind == "json":
        print(json.dumps(comparison.as_json(compared)))
    else:
        print(comparison.as_csv(compared) if kind == "csv" else comparison.as_html(compared))


def combinations(context: typer.Context, cache: Path, asked: dict[str, object], grid: str) -> list[Options]:
    """Combine each value of each key of a grid with each value of the others; the last key varies fastest.

    A grid is words such as `seed=0,1,2`, quoted as in a shell: the name of an option of the command and its values,
    each checked as the command checks it. `default` stands for leaving the option out. The options in `asked` that are
    not in the grid hold for every run. Combinations that come to the same options are there once. Raises a
    typer.BadParameter if the grid is not written so, a key is not an option of a fit, or the option cannot have a
    value.
    """
    from cache import open_cache

    varied = _read(context, asked, grid)
    names = [name.replace("-", "_") for name in varied]
    if both := sorted(options.given(context).intersection(names)):
        raise _bad(f"{_shown(both[0])} is given as an option too; leave out one of them")
    found = open_cache(cache)
    grid_of = (asked | dict(zip(names, row, strict=True)) for row in product(*varied.values()))
    return list(dict.fromkeys(options_of(found.n_clips, len(found.class_names), **chosen) for chosen in grid_of))


def _read(context: typer.Context, asked: dict[str, object], grid: str) -> dict[str, list[object]]:
    keys = {_shown(name): name for name in asked if name not in _NOT_VARIED}
    try:
        words = [word.partition("=") for word in shlex.split(grid)]
    except ValueError:
        raise _bad("a quotation mark is not closed") from None
    varied: dict[str, list[object]] = {}
    for key, equals, values in words:
        if not equals:
            raise _bad(f"{key!r} has no values; write it like seed=0,1,2")
        if key not in keys:
            raise _bad(f"there is no key {key!r}; there are {', '.join(sorted(keys))}")
        if key in varied:
            raise _bad(f"{key} is there twice")
        varied[key] = [_value(context, keys[key], value) for value in values.split(",")]
    if not varied:
        raise _bad("it is empty; write it like 'model=baseline,compact seed=0,1,2'")
    return varied


def _value(context: typer.Context, name: str, value: str) -> object:
    parameter = next(found for found in context.command.params if found.name == name)
    if value == _DEFAULT:
        return parameter.get_default(context)
    if not value:
        raise _bad(f"{_shown(name)} has an empty value; write it like seed=0,1,2")
    try:
        return parameter.process_value(context, value)
    except typer.BadParameter as error:
        raise _bad(f"{_shown(name)}={value}: {error.message}") from None


def _shown(name: str) -> str:
    return name.replace("_", "-")
