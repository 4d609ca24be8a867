"""Parts of recordings: detections as files of sound, in all channels at their own rate, and as spectrograms."""

import errno
import os
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from cache.labels.annotation import Region
from cache.shared.errors import UserError
from cache.shared.files import replacing
from cache.shared.segment import samples_of
from cache.shared.text import human_count, printable
from cache.shared.types import Float32
from featurize.audio.audio import Audio, ClipError
from featurize.audio.decode import open_audio
from featurize.features.row import n_frames_of, spectrogram
from train.predict.results import Kind
from train.predict.sinks import Found, refuse_equal_names
from train.predict.sources import Source
from train.predict.windows import Detections, settings_of
from train.runs.directory import Run

# The longest name that common file systems take.
_MAX_NAME_BYTES = 255


class Segments:
    """Writes the detections of each recording as FLAC files in folders of classes.

    A file is called after its recording, with the seconds of its start and its end. Samples beyond full scale, which
    FLAC cannot hold, make it a WAV of 32-bit floats. A class that cannot be the name of a folder, or two recordings of
    one name, are a UserError before anything is written.
    """

    def __init__(self, run: Run, sources: Sequence[Source], folder: Path) -> None:
        for name in run.class_names:
            if len(os.fsencode(_safe(name))) > _MAX_NAME_BYTES:
                raise UserError(
                    f"the class {name[:20]}.. has too long a name for a folder, so --segments cannot be used with "
                    f"{run.folder}; --format audacity writes labels instead"
                )
        refuse_equal_names(sources, f"cut into {folder}")
        self.folder, self.names = folder, {source.path: source.name for source in sources}
        self.detections, self.regions = Detections(), list[Region]()
        self.n_files = self.n_loud = 0

    def write(self, one: Found) -> str:
        """Take a prediction, and write the files after the last one of a recording."""
        self.regions += self.detections.take(one)
        if one.kind is Kind.WINDOW:
            return ""
        regions, self.regions = self.regions, []
        if one.kind is Kind.REJECTED or not regions:
            return ""
        try:
            self._cut(one.path, regions)
        except ClipError as error:
            return f"it is classified, but its segments cannot be cut: {error}"
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return "it is classified, but its name is too long for the names of its segments"
        return ""

    @property
    def summary(self) -> str:
        """How many files there are."""
        loud = f", {self.n_loud} of them WAV, because they are louder than FLAC can hold" if self.n_loud else ""
        return f"{human_count(self.n_files, 'segment')} in {self.folder}{loud}"

    def _cut(self, path: Path, regions: Sequence[Region]) -> None:
        files = [self.folder / _safe(region.label) / _file_name(self.names[path], region) for region in regions]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        # 24 bits lose nothing of what recorders write, and FLAC saves the space of those that are not used.
        loud = _write(path, regions, files, "FLAC", "PCM_24", highest=1.0)
        if loud:
            wavs = [files[i].with_suffix(".wav") for i in loud]
            _write(path, [regions[i] for i in loud], wavs, "WAV", "FLOAT", highest=np.inf)
        self.n_files, self.n_loud = self.n_files + len(files), self.n_loud + len(loud)


class _TooLoudError(Exception):
    """A sample is beyond what the format can hold."""


def _write(
    path: Path, regions: Sequence[Region], files: Sequence[Path], format: str, subtype: str, highest: float
) -> list[int]:
    """Write regions of a recording as files, and return those that are not written: with a sample beyond the highest.

    Raises a ClipError if the recording cannot be read, or the format cannot hold it.
    """
    loud = []
    # Regions do not overlap, so their pieces come one region after the other.
    for i, pieces in groupby(_pieces(path, regions), key=itemgetter(0)):
        first = next(pieces)
        sr, n_channels = first[1].sr, first[1].n_channels
        try:
            with (
                replacing(files[i]) as beside,
                soundfile.SoundFile(beside, "w", sr, n_channels, subtype, format=format) as out,
            ):
                for _, _, samples in chain([first], pieces):
                    if np.abs(samples).max(initial=0.0) > highest:
                        raise _TooLoudError
                    out.write(samples)
        except _TooLoudError:
            loud.append(i)
        except soundfile.LibsndfileError as error:
            what = f"{human_count(n_channels, 'channel')} at {sr} Hz"
            raise ClipError(f"{format} cannot hold {what} ({error.error_string.strip(' .')})") from None
    return loud


def _pieces(path: Path, regions: Sequence[Region]) -> Iterator[tuple[int, Audio, Float32]]:
    """Yield the samples of regions of a recording, as it is read once from its start to its end."""
    # A generator, so that an error in writing is none of the recording's, as it would be within this block.
    with open_audio(str(path)) as audio:
        for i, samples in audio.pieces([samples_of(region.start, region.end, audio.sr) for region in regions]):
            yield i, audio, samples


class Shown(NamedTuple):
    """A spectrogram in [0, 1], shape (n_mels, n_frames), and from when to when in its recording, in seconds."""

    x: Float32
    start: float
    end: float


def spectrograms(run: Run, path: Path, spans: Sequence[tuple[float, float]]) -> list[Shown | None]:
    """Return the spectrograms of parts of a recording, from start to end in seconds, with the settings of a run.

    A long part is shown by its middle, and a part behind the end of the recording is None. A recording that cannot be
    read is a ClipError.
    """
    settings = settings_of(run)
    parts: list[list[Float32]] = [[] for _ in spans]
    with open_audio(str(path)) as audio:
        for i, samples in audio.pieces([samples_of(start, end, audio.sr) for start, end in spans]):
            parts[i].append(samples)
    found: list[Shown | None] = []
    for (start, _), part in zip(spans, parts, strict=True):
        if not part:
            found.append(None)
            continue
        y = np.concatenate(part)
        seconds = len(y) / audio.sr
        x = spectrogram(y, audio.sr, settings)[:, : n_frames_of(round(seconds * settings.sr), settings), 0]
        middle, half = start + seconds / 2, min(settings.row_seconds, seconds) / 2
        found.append(Shown(x, middle - half, middle + half))
    return found


def _file_name(name: str, region: Region) -> str:
    # At any depth, as the recording is.
    return f"{name}_{region.start:09.2f}-{region.end:09.2f}.flac"


def _safe(class_name: str) -> str:
    """Return a class as the name of one folder, whoever named it."""
    return printable(class_name).replace("/", "_").lstrip(".") or "_"
