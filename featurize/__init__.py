"""Clips to normalised mel spectrograms, once, into the cache."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurize.update.update import build
    from featurize.workers.rows import featurize_clip

__all__ = ["build", "featurize_clip"]

_HOMES = {"build": "featurize.update.update", "featurize_clip": "featurize.workers.rows"}


def __dir__() -> list[str]:
    # For help() and for a notebook's completion, which would not see what is not imported yet.
    return [*__all__]


def __getattr__(name: str) -> Any:
    # Not at the top: the command is in this package, and must be able to answer Ctrl-C before numpy is there.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
