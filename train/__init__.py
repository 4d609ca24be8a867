"""From the cache to a trained, scored, explained, exported model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.exporters.export import export
    from train.fitting.crossval import crossval
    from train.fitting.fit import fit
    from train.predict.predict import classify
    from train.score.evaluate import evaluate

__all__ = ["classify", "crossval", "evaluate", "export", "fit"]

_HOMES = {
    "classify": "train.predict.predict",
    "crossval": "train.fitting.crossval",
    "evaluate": "train.score.evaluate",
    "export": "train.exporters.export",
    "fit": "train.fitting.fit",
}


def __dir__() -> list[str]:
    # For help() and for a notebook's completion, which would not see what is not imported yet.
    return [*__all__]


def __getattr__(name: str) -> Any:
    # Not at the top: a command that is started must not wait for modules that it does not need.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
