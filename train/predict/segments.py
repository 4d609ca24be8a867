"""Segments: the segments that were found as files, at their recordings' own rate and in their own channels."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.labels.annotation import Region
from cache.shared.errors import UserError
from cache.shared.files import replacing
from cache.shared.segment import samples_of
from cache.shared.text import printable
from cache.shared.tree import is_background
from train.predict.predict import Kind, Prediction
from train.predict.regions import regions
from train.predict.sources import Source

# Which region, sample rate in Hz, samples (n, n_channels).
Piece = tuple[int, int, npt.NDArray[np.float32]]


def _pieces(path: Path, named: Sequence[Region]) -> Iterator[Piece]:
    """Yield the samples of regions of a recording as it is read once, in blocks, from its start to its end."""
    from featurize.audio.decode import open_audio

    with open_audio(str(path)) as audio:
        spans = [samples_of(region.start, region.end, audio.sr) for region in named]
        for i, part in audio.pieces(spans):
            yield i, audio.sr, part


def with_segments(
    predictions: Iterable[Prediction], sources: Iterable[Source], folder: Path, replace: bool
) -> Iterator[Prediction]:
    """Pass predictions on, and before a recording's last one write its regions as FLAC files in folders of classes.

    Parameters
    ----------
    predictions
        Of the recordings, in their order.
    sources
        The recordings.
    folder
        Of the folders of classes; a file is called after its recording, with the seconds of its start and its end.
    replace
        Whether files that are there are those of a recording that was interrupted.

    Raises
    ------
    UserError
        A file is there already, or FLAC cannot hold the recording.
    """
    names = {source.path: source.name for source in sources}
    windows: list[Prediction] = []
    for one in predictions:
        if one.kind in (Kind.WINDOW, Kind.CLIP):
            windows.append(one)
        if one.kind in (Kind.RECORDING, Kind.CLIP):
            named = [region for region in regions(windows) if not is_background(region.label)]
            files = [folder / _safe(region.label) / _file_name(names[one.path], region) for region in named]
            if not replace and (there := next((file for file in files if file.exists()), None)):
                raise UserError(f"{there} exists already; give another --segments")
            _write(one.path, named, files)
        if one.kind is not Kind.WINDOW:
            windows = []
        yield one


def _write(path: Path, named: Sequence[Region], files: Sequence[Path]) -> None:
    from featurize.audio.audio import ClipError

    try:
        # Regions do not overlap, so their pieces come one region after the other.
        for i, parts in groupby(_pieces(path, named) if named else (), key=itemgetter(0)):
            files[i].parent.mkdir(parents=True, exist_ok=True)
            _write_flac(files[i], parts)
    except ClipError as error:
        raise UserError(f"{path} could be classified, and its segments cannot be cut: {error}") from None


def _write_flac(file: Path, parts: Iterator[Any]) -> None:
    import soundfile

    _, sr, samples = next(parts)
    try:
        # 24 bits lose nothing of what recorders write, and FLAC leaves out those that are not used.
        with (
            replacing(file) as beside,
            soundfile.SoundFile(beside, "w", sr, samples.shape[1], "PCM_24", format="FLAC") as out,
        ):
            out.write(samples)
            for _, _, more in parts:
                out.write(more)
    except soundfile.LibsndfileError as error:
        channels = f"{samples.shape[1]} channels at {sr} Hz"
        raise UserError(f"{file} cannot be written ({error.error_string}): {channels}") from None


def _file_name(name: str, region: Region) -> str:
    # At any depth, as the recording is.
    return f"{name}_{region.start:09.2f}-{region.end:09.2f}.flac"


def _safe(class_name: str) -> str:
    """Return a class as the name of one folder, whoever named it."""
    return printable(class_name).replace("/", "_").lstrip(".") or "_"
