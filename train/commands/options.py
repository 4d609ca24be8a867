"""The options that several commands share, each with one meaning, and what was chosen with them."""

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cache.shared.command import be_quiet
from train.fit.options import Options


class Once(TyperCommand):
    """A command that refuses an option that is given twice, of which the first would be lost without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, after a first look at what is there."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in order:
            if option.param_type_name == "option" and order.count(option) > 1 and not option.multiple:
                raise typer.BadParameter("it is given twice; give it once", ctx=ctx, param_hint=option.opts[-1])
        return super().parse_args(ctx, args)


class ClassWeight(StrEnum):
    """How clips are weighted in the loss."""

    balanced = "balanced"


class PredictFormat(StrEnum):
    """What predictions can be written as."""

    text = "text"
    csv = "csv"
    json = "json"
    audacity = "audacity"
    raven = "raven"


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
    typer.Option(min=1, help="Times through the clips.", show_default="the model's: 15 for baseline, 60 for compact"),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Clips an optimiser step.")]
LearningRate = Annotated[float | None, typer.Option(min=0, help="Of the optimiser.", show_default="the model's")]
Seed = Annotated[int, typer.Option(min=0, help="Decides the split, the order of clips, the first weights.")]
Val = Annotated[float, typer.Option(min=0, max=0.9, help="Share of clips that choose the epoch to keep.")]
ValOfModel = Annotated[
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


def chosen(context: typer.Context) -> Options:
    """Return the options of a fit as they were given to a command."""
    return options_of(context.params)


def options_of(parameters: Mapping[str, Any]) -> Options:
    """Return the options of a fit from a command's parameters; what is None comes from the model's recipe."""
    from train.models.recipes import recipe

    values = {field.name: parameters[field.name] for field in fields(Options) if field.name in parameters}
    for name in ("epochs", "val"):
        if values[name] is None:
            values[name] = getattr(recipe(values["model"]), name)
    return Options(**values)


def given(context: typer.Context) -> set[str]:
    """Return the parameters that were not left at their default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
