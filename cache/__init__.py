"""The HDF5 file between the stages: its layout, its one writer and its memory-mapping reader."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cache.combine.merge import merge
    from cache.combine.subset import subset
    from cache.file.reader import Cache, open_cache
    from cache.shared.errors import CacheError

__all__ = ["Cache", "CacheError", "merge", "open_cache", "subset"]


def __dir__() -> list[str]:
    # For help() and for a notebook's completion, which would not see what is not imported yet.
    return [*__all__]


def __getattr__(name: str) -> Any:
    # Not at the top: a command that imports cache.shared.cli must not wait for h5py before it can answer Ctrl-C.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = {"merge": "cache.combine.merge", "subset": "cache.combine.subset"}.get(name, "cache.file.reader")
    return getattr(import_module(home), name)
