"""The options that several commands share, each with one meaning; those of a fit are written down once."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.shared.cli import be_quiet
from cache.shared.options import in_command, takes_options
from train.fitting.options import Options

CACHE = Path("data/features.h5")
CacheFile = Annotated[Path, typer.Argument(help="The file that `python -m featurize` wrote.")]
FitRun = Annotated[Path, typer.Argument(help="A run directory that `fit` made.")]
AnyRun = Annotated[Path, typer.Argument(help="A run directory that `fit` or `crossval` made.")]
CacheNow = Annotated[Path | None, typer.Option(help="Where its cache is now.", show_default="where it was in training")]
DataNow = Annotated[Path | None, typer.Option(help="Where the clips are now.", show_default="where the cache says")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Log every epoch for TensorBoard, in the run's folder `tensorboard`.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS|FILE", help="Run on a Dask cluster: tcp://host:8786, tls://.., or a scheduler file."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Fits at a time, each in a process of its own.",
        show_default="as many as have a core and memory, one for little work",
    ),
]
Dashboard = Annotated[bool, typer.Option("--dashboard", help="Print the address of the cluster's dashboard.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Show only errors and the results that were asked for.", callback=be_quiet)
]


def threshold(default: str) -> Any:
    """Return the option for the probability from which a prediction gets a class."""
    return typer.Option(
        "--threshold",
        metavar="P|auto|CLASS=P",
        help="Give no class below this probability; auto: the thresholds kept in the run; CLASS=P: for one class; "
        "may be repeated.",
        show_default=default,
    )


with_options_of_fit = functools.partial(takes_options, Options, annotate=in_command)


def given(context: typer.Context) -> set[str]:
    """Return the parameters that were not left at their default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}


def refuse(others: Mapping[str, object], why: str) -> None:
    """Raise a typer.BadParameter if one of some options is given; each has its name as on the command line."""
    for name, value in others.items():
        if value:
            raise typer.BadParameter(why, param_hint=name)
