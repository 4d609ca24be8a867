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
        Any audio file that libsndfile reads, or the path of a stretch as a cache has it.
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
    # Not at the top: the command is in this package, and must not wait for them before it can answer Ctrl-C.
    import numpy as np

    from cache.file.layout import ROW_SHAPE
    from cache.file.settings import MelSettings
    from cache.shared.stretch import recording_of
    from featurize.clips.decode import ClipError
    from featurize.workers.batch import write_row
    from featurize.workers.stretches import open_clip

    out = np.empty(ROW_SHAPE, np.float32)
    try:
        if not Path(recording_of(str(path))).exists() and not Path(path).exists():
            raise ClipError("there is no such file")
        with open_clip(str(path)) as audio:
            write_row(audio, settings or MelSettings(), out)
    except ClipError as error:
        raise ClipError(f"{path}: {error}", error.passing) from None
    return out
