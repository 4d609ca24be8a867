"""Options of a fit: what decides it beside the cache."""

from dataclasses import dataclass
from typing import Any

from train.models.recipes import default_epochs, recipe


@dataclass(frozen=True)
class Options:
    """What decides a fit, beside the cache; the names and meanings are those of `python -m train fit --help`."""

    model: str = "baseline"
    epochs: int = 15
    batch_size: int = 32
    learning_rate: float | None = None
    seed: int = 0
    val: float = 0.15
    test: float = 0.15
    group_by: str | None = None
    class_weight: str | None = None
    patience: int | None = None
    deterministic: bool = False
    split_file: str | None = None
    val_list: str | None = None
    test_list: str | None = None


def options_of(n_clips: int, **chosen: Any) -> Options:
    """Return the options of a fit; of `epochs` and `val` what is missing or None is the model's own.

    Parameters
    ----------
    n_clips
        Clips of the cache, on which the default of `epochs` depends.
    chosen
        Options by name.

    Raises
    ------
    UserError
        There is no such model.
    TypeError
        There is no such option.
    """
    own = recipe(chosen.get("model", Options.model))
    epochs = default_epochs(own, n_clips, chosen.get("batch_size", Options.batch_size))
    unset = {"epochs": epochs, "val": own.val}
    return Options(**chosen | {name: value for name, value in unset.items() if chosen.get(name) is None})
