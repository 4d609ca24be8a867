"""Clips to normalised mel spectrograms, once, into the cache."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from featurize.features.profiles import Wish
    from featurize.update.update import build

__all__ = ["build", "featurize_clip"]

# Modules are imported when they are needed: the command is in this package, and must be able to answer Ctrl-C before
# numpy is there.


def __dir__() -> list[str]:
    # For help() and for a notebook's completion, which would not see what is not imported yet.
    return [*__all__]


def __getattr__(name: str) -> Any:
    if name != "build":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("featurize.update.update").build


def featurize_clip(
    clip: "str | os.PathLike[str] | npt.NDArray[np.floating]",
    settings: "Wish" = None,
    *,
    sr: int | None = None,
) -> "npt.NDArray[np.float32]":
    """Compute the normalised mel spectrogram of one clip, to the bit as it would be in a cache.

    Parameters
    ----------
    clip
        An audio file, the path of a segment as a cache has it, or samples: floats of shape (n,), or (n_channels, n) of
        which the mean is taken.
    settings
        The feature settings, as for `build`; the project's contract by default.
    sr
        The sample rate of samples in Hz.

    Returns
    -------
    ndarray
        Shape (128, 128, 1), float32, in [0, 1].

    Raises
    ------
    ClipError
        The clip cannot be used; the message says why, and names the file.
    """
    from featurize.features.profiles import asked_settings, resolved_settings
    from featurize.workers.rows import row_of_file, row_of_samples

    wanted = resolved_settings(asked_settings(settings))
    return (
        row_of_file(os.fspath(clip), wanted)
        if isinstance(clip, str | os.PathLike)
        else row_of_samples(clip, sr, wanted)
    )
