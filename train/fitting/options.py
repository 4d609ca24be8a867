"""Options: all that decides a fit but the cache. Type, default, help and bounds of each option stand here alone."""

import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from enum import StrEnum
from typing import Any

from cache.shared import options
from cache.shared.options import option


class ClassWeight(StrEnum):
    """How clips are weighted in the loss."""

    balanced = "balanced"


def _model_names() -> list[str]:
    from train.models.recipes import RECIPES

    return list(RECIPES)


@dataclass(frozen=True, kw_only=True)
class Options:
    """All that decides a fit, besides the cache.

    A new option is a field here: it becomes an argument of fit() and crossval(), an option of `fit`, `crossval` and
    `sweep`, a key of a sweep's grid, and an entry of `run.json`. A field without a default has that of the model.
    """

    model: str = option(
        "baseline",
        "Which model; `python -m train summary` shows its layers.",
        autocompletion=_model_names,
    )
    epochs: int = option(
        MISSING,
        "How often to go through all training clips.",
        min=1,
        show_default="the model's: 15 for baseline; for compact 32 for 500 clips of 3 classes, 8 for 20,000",
    )
    batch_size: int = option(32, "Clips per optimiser step.", min=1)
    learning_rate: float | None = option(None, "Learning rate of the optimiser.", min=0, show_default="the model's")
    # NumPy takes no larger seed.
    seed: int = option(0, "Decides the split, the order of clips, the first weights.", min=0, max=2**32 - 1)
    val: float = option(
        MISSING,
        "Share of clips that choose the epoch to keep.",
        min=0,
        max=0.9,
        show_default="the model's: 0.15 for baseline, 0 for compact",
    )
    test: float = option(0.15, "Share of clips for the final score.", min=0, max=0.9)
    group_by: str | None = option(
        None,
        "Clips for which the (group) captures the same text stay in the same subset of the split.",
        metavar="REGEX",
        show_default="speaker or recording where the file names tell it",
    )
    class_weight: ClassWeight | None = option(  # noqa: RUF009 - it makes a field
        None, "`balanced`: a rare class counts as much as a frequent one."
    )
    patience: int | None = option(None, "Stop after N epochs without a better one.", min=1, metavar="N")
    deterministic: bool = option(False, "The same weights to the bit from the same seed; slower.")
    split_file: str | None = option(
        None,
        "CSV with `path` and `split` that says where each clip goes, such as a run's split.csv; `random`: ignore "
        "folders called train, val and test.",
        flag="--split",
        metavar="FILE",
        show_default="train, val, test folders if DATA has them",
    )
    val_list: str | None = option(None, "Text file with the path of a validation clip a line.", metavar="FILE")
    test_list: str | None = option(None, "Text file with the path of a test clip a line.", metavar="FILE")


def checked(chosen: Mapping[str, object]) -> dict[str, Any]:
    """Return options by name, each of its type; numbers may be NumPy's, and paths may be pathlib's.

    Raises a UserError if a value is not of the option's type, outside its bounds, or not the name of a model.
    """
    from train.models.recipes import recipe

    values = options.checked(Options, chosen)
    recipe(str(values.get("model", Options.model)))
    return values


def options_of(n_clips: int, n_classes: int, **chosen: object) -> Options:
    """Return the options of a fit on so many clips of so many classes.

    `epochs` and `val` are the model's own if they are missing or None. Raises a UserError as checked() does,
    and a KeyError if there is no such option.
    """
    from train.models.recipes import default_epochs, recipe

    values = checked(chosen)
    own = recipe(values.get("model", Options.model))
    epochs = default_epochs(own, n_clips, n_classes, values.get("batch_size", Options.batch_size))
    unset = {"epochs": epochs, "val": own.val}
    return Options(**values | {name: value for name, value in unset.items() if values.get(name) is None})


def idle_patience(options: Options, has_validation: bool) -> list[str]:
    """Say that patience has no effect, if no clips say which epoch is better."""
    if options.patience is None or has_validation:
        return []
    return [
        "--patience has no effect: there are no validation clips to say which epoch is better; ask for some by --val"
    ]


def warn_caller(line: str) -> None:
    """Give a warning of Python at the line that called fit() or crossval()."""
    warnings.warn(line, UserWarning, stacklevel=4)
