"""Clips to normalised mel spectrograms, once, into the cache."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cache.file.settings import MelSettings
    from featurize.update.update import Result

__all__ = ["build", "featurize_clip"]

# What the functions need is imported inside of them: the command is in this package, and must be able to answer Ctrl-C
# before numpy is there.


def build(
    data: str | Path = "data",
    cache_file: str | Path | None = None,
    classes: Sequence[str] = (),
    *,
    labels: Sequence[str | Path] = (),
    label_column: str | None = None,
    widen: bool | None = None,
    background: int | None = None,
    max_per_class: int | None = None,
    dtype: str | None = None,
    n_jobs: int = 1,
    strict: bool = False,
    rehash: bool = False,
    wait: bool = False,
    scheduler: str | None = None,
    dashboard: bool = False,
    settings: "MelSettings | None" = None,
    notify: Callable[[str], None] = lambda line: None,
) -> "Result":
    """Bring a cache up to date with the clips in DATA.

    Options that are None or empty stay as the cache remembers them.

    Parameters
    ----------
    data
        The folder that holds a folder of clips per class, or recordings that have labels.
    cache_file
        The HDF5 file to make or to bring up to date; None: `features.h5` in DATA.
    classes
        Names of class folders or labels, in the order of their label index; ["all"]: every folder with audio in it and
        every label. In a new cache empty means dog, cat and bird where they are all there, and else every folder.
    labels
        Label tables and folders of them, in addition to those of the cache; "none" first: instead of them.
    label_column
        The column that holds the label; "" for the usual ones.
    widen
        Whether labels shorter than the median are widened to it around their middle.
    background
        How many segments without a label to take of each labelled recording.
    max_per_class
        How many clips of each class; 0 for all.
    dtype
        Element type of X, "float32" or "float16".
    n_jobs
        Worker processes.
    strict
        Stop at a clip that cannot be used instead of skipping it.
    rehash
        Recognise clips by their content instead of by size and modification time.
    wait
        Wait while another process writes the cache instead of giving up.
    scheduler
        Compute on the Dask cluster of this scheduler: its address, or its scheduler file.
    dashboard
        Print the address of that cluster's dashboard.
    settings
        What to compute; the project's contract by default.
    notify
        Takes notices for the user, a line each.

    Returns
    -------
    Result
        Its `cache` is open.

    Raises
    ------
    UserError
        The clips or the cache cannot be used as they are. The old cache is as it was, and finished rows are kept for
        the next run.
    """
    from cache.file.settings import MelSettings
    from featurize.update import update

    return update.build(
        data,
        cache_file,
        classes,
        dtype,
        max_per_class,
        notify,
        labels,
        label_column,
        widen,
        background,
        n_jobs=n_jobs,
        strict=strict,
        rehash=rehash,
        wait=wait,
        scheduler=scheduler,
        dashboard=dashboard,
        settings=settings or MelSettings(),
    )


def featurize_clip(path: str | Path, settings: "MelSettings | None" = None) -> "npt.NDArray[np.float32]":
    """Compute the normalised mel spectrogram of one audio file, to the bit as it would be in a cache.

    Parameters
    ----------
    path
        An audio file, or the path of a segment as a cache has it.
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
    from featurize.workers.batch import row_of

    return row_of(str(path), settings)
