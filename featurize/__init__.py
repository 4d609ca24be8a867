"""Clips to normalised mel spectrograms, once, into the cache."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cache.file.settings import MelSettings

__all__ = ["featurize_clip"]


def featurize_clip(path: Path, settings: "MelSettings | None" = None) -> "npt.NDArray[np.float32]":
    """Compute the normalised mel spectrogram of one audio file, to the bit as it would be in a cache.

    Parameters
    ----------
    path
        Any audio file that libsndfile reads, or the path of a segment as a cache has it.
    settings
        What to compute; the project's contract by default.

    Returns
    -------
    ndarray
        Shape (128, 128, 1), float32, in [0, 1].

    Raises
    ------
    ClipError
        The file cannot be used; the message names it and says why.
    """
    # Not at the top: the command is in this package, and must not wait for it before it can answer Ctrl-C.
    from featurize.workers.batch import row_of

    return row_of(str(path), settings)
