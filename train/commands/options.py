"""The options that several commands share, each with one meaning; those of a fit are written down once."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from cache.shared.cli import be_quiet


class ClassWeight(StrEnum):
    """How clips are weighted in the loss."""

    balanced = "balanced"


def _model_names() -> list[str]:
    from train.models.recipes import RECIPES

    return list(RECIPES)


CACHE = Path("data/features.h5")
CacheFile = Annotated[Path, typer.Argument(help="What `python -m featurize` wrote.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the summary.")]
Model = Annotated[
    str,
    typer.Option(help="Which model; `python -m train summary` shows its layers.", autocompletion=_model_names),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Times through the clips.",
        show_default="the model's: 15 for baseline, 24 for compact, fewer where clips are many",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Clips an optimiser step.")]
LearningRate = Annotated[float | None, typer.Option(min=0, help="Of the optimiser.", show_default="the model's")]
Seed = Annotated[int, typer.Option(min=0, help="Decides the split, the order of clips, the first weights.")]
Val = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.9,
        help="Share of clips that choose the epoch to keep.",
        show_default="the model's: 0.15 for baseline, 0 for compact",
    ),
]
Test = Annotated[float, typer.Option(min=0, max=0.9, help="Share of clips for the final score.")]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="What its one (group) captures in a path stays on one side of the split.",
        show_default="speaker or recording where the file names tell it",
    ),
]
SplitFile = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="FILE",
        help="CSV with `path` and `split` that says where each clip goes, such as a run's split.csv; `random`: pay no "
        "heed to folders called train, val, test.",
        show_default="train, val, test folders if DATA has them",
    ),
]
ValList = Annotated[
    str | None, typer.Option(metavar="FILE", help="Text file with the path of a validation clip a line.")
]
TestList = Annotated[str | None, typer.Option(metavar="FILE", help="Text file with the path of a test clip a line.")]
Weight = Annotated[ClassWeight | None, typer.Option(help="`balanced`: a rare class counts as much as a frequent one.")]
Patience = Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N epochs without a better one.")]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="The same weights to the bit from the same seed; slower.")
]

TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Log every epoch for TensorBoard, in the run's folder `tensorboard`.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS|FILE", help="Run on a Dask cluster: tcp://host:8786, tls://.., or a scheduler file."),
]
Dashboard = Annotated[bool, typer.Option("--dashboard", help="Say where the cluster's dashboard is.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Show errors and what was asked for, and nothing else.", callback=be_quiet)
]


_OF_FIT: dict[str, tuple[Any, Any]] = {
    "model": (Model, "baseline"),
    "epochs": (Epochs, None),
    "batch_size": (BatchSize, 32),
    "learning_rate": (LearningRate, None),
    "seed": (Seed, 0),
    "val": (Val, None),
    "test": (Test, 0.15),
    "group_by": (GroupBy, None),
    "class_weight": (Weight, None),
    "patience": (Patience, None),
    "deterministic": (Deterministic, False),
    "split_file": (SplitFile, None),
    "val_list": (ValList, None),
    "test_list": (TestList, None),
}


def with_options_of_fit(**instead: tuple[Any, Any] | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a fit in the place of its parameter `asked`, which gets them by name.

    Parameters
    ----------
    instead
        What one is in this command, its type and its default; None: the command does not have it.
    """
    of_fit = {name: option for name, option in (_OF_FIT | instead).items() if option is not None}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(**given: Any) -> None:
            command(asked={name: given.pop(name) for name in of_fit}, **given)

        own = inspect.signature(command).parameters
        parameters = [
            parameter
            for name, found in own.items()
            for parameter in (
                [found]
                if name != "asked"
                else [
                    Parameter(option, Parameter.KEYWORD_ONLY, annotation=kind, default=default)
                    for option, (kind, default) in of_fit.items()
                ]
            )
        ]
        # typer reads both.
        signature = inspect.Signature([parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters])
        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        return called

    return decorate


def given(context: typer.Context) -> set[str]:
    """Return the parameters that were not left at their default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
