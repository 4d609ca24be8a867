"""Clips to normalised mel spectrograms, once, into the cache."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from featurize.features.profiles import Wish
    from featurize.update.update import Result

__all__ = ["build", "featurize_clip"]

# Each function imports its modules itself: the command is in this package, and must be able to answer Ctrl-C before
# numpy is there.


def build(
    data: "str | os.PathLike[str]" = "data",
    cache_file: "str | os.PathLike[str] | None" = None,
    classes: str | Sequence[str] = (),
    *,
    labels: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]" = (),
    file_column: str | None = None,
    start_column: str | None = None,
    end_column: str | None = None,
    label_column: str | None = None,
    point: float | None = None,
    widen: bool | None = None,
    background: int | None = None,
    max_per_class: int | None = None,
    crop: str | None = None,
    overlap: float | None = None,
    n_windows: int | None = None,
    dtype: str | None = None,
    n_jobs: int = 1,
    strict: bool = False,
    rehash: bool = False,
    wait: bool = False,
    scheduler: str | None = None,
    dashboard: bool = False,
    settings: "Wish" = None,
    notify: Callable[[str], None] | None = None,
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
        Names of class folders or labels, in the order of their label index; "all": every folder with audio in it and
        every label; "dog=rex+fido": the folders or labels rex and fido as the class dog. Without a cache to remember
        them, the classes are the labels, if there are any; otherwise dog, cat and bird where they are all there, and
        else every folder.
    labels
        Label tables and folders of them, in addition to those of the cache; "none" first: instead of them.
    file_column, start_column, end_column, label_column
        The columns that hold the recording, the start and the end within it, and the label, in the tables that have
        them; "" for the usual ones.
    point
        Seconds to give to labels of a point in time, around it; 0: skip such labels.
    widen
        Whether labels shorter than the median are widened to it around their middle.
    background
        How many segments without a label to take of each labelled recording, as the class background.
    max_per_class
        How many clips of each class, of all recordings in turn; 0 for all.
    crop
        How a clip that is longer than a row becomes rows: "middle": one row, of its middle; "segments": a row for each
        of its windows; "loudest": a row for each of the windows with the most energy.
    overlap
        The share of a window that the next one overlaps, from 0 to 0.99.
    n_windows
        How many windows "loudest" takes.
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
        The feature settings: some by name, such as {"sr": 48000, "fmax": 24000}, all of them as MelSettings, or the
        name of a profile, such as "bats". Without a cache to remember them they are the project's contract.
    notify
        Takes notices for the user, a line each; None: they are warnings.

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
    from cache.labels.table import ColumnNames
    from cache.shared.files import as_path
    from featurize.features.profiles import asked_settings
    from featurize.update.options import Options, class_list, table_list
    from featurize.update.update import update

    folder = as_path(data, "data")
    return update(
        Options(
            data=folder,
            cache_file=folder / "features.h5" if cache_file is None else as_path(cache_file, "cache_file"),
            classes=class_list(classes),
            labels=table_list(labels),
            columns=ColumnNames(file_column, start_column, end_column, label_column),
            point=point,
            widen=widen,
            background=background,
            max_per_class=max_per_class,
            crop=crop,
            overlap=overlap,
            n_windows=n_windows,
            dtype=dtype,
            n_jobs=n_jobs,
            strict=strict,
            rehash=rehash,
            wait=wait,
            scheduler=scheduler,
            dashboard=dashboard,
            settings=asked_settings(settings),
            notify=notify or _warning_for(sys._getframe(1).f_code.co_filename, sys._getframe(1).f_lineno),
            announce=notify or (lambda line: None),
        )
    )


def _warning_for(file: str, line: int) -> Callable[[str], None]:
    """Return what gives a notice as a warning of a line of the caller's code, at every call again."""
    return lambda text: warnings.warn_explicit(text, UserWarning, file, line)


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
