"""Sinks: where predictions go as they come, as lines of text, CSV or JSON, as labels, or as files of sound."""

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import soundfile
from tqdm import tqdm

from cache.labels.annotation import Region
from cache.shared.errors import UserError
from cache.shared.files import replacing, write_file
from cache.shared.segment import samples_of
from cache.shared.text import human_count, printable
from cache.shared.types import Float32
from featurize.audio.audio import Audio, ClipError
from featurize.audio.decode import open_audio
from train.predict.recordings import LABELS, Kind, Recording, Source, Window
from train.predict.rows import CLASSIFIED_BUT, as_text, region_as_text
from train.runs.directory import Run

Found = Window | Recording

# Writes some lines at once, so that a reader of a pipe has them.
Out = Callable[[bytes], None]

# The longest name that common file systems take.
_MAX_NAME_BYTES = 255


def to_stdout(lines: bytes) -> None:
    """Write to standard output, above the progress bar if both are on one terminal."""
    if lines:
        with tqdm.external_write_mode(file=sys.stdout) if sys.stdout.isatty() else nullcontext():
            sys.stdout.buffer.write(lines)
            sys.stdout.buffer.flush()


def to_file(file: IO[bytes]) -> Out:
    """Return a sink that writes to a file."""

    def write(lines: bytes) -> None:
        file.write(lines)
        file.flush()

    return write


class Sink(Protocol):
    """Takes what is found in one recording after another: the windows of a long one first, and then the recording."""

    def write(self, one: Found, complete: Sequence[Region]) -> str:
        """Take the next one, and the detections that are complete with it.

        Returns in words why its recording cannot be written, else "".
        """

    @property
    def summary(self) -> str:
        """After the last recording, a sentence on the files that were written and the next step; "" for none."""


class Rows:
    """A line for each window and each recording."""

    summary = ""

    def __init__(self, run: Run, out: Out, line_of: Callable[[Run, Found], bytes]) -> None:
        self.run, self.out, self.line_of = run, out, line_of

    def write(self, one: Found, complete: Sequence[Region]) -> str:
        """Write the line."""
        self.out(self.line_of(self.run, one))
        return ""


class Regions:
    """A line for each detection in a long recording, and for each recording: text for people."""

    def __init__(self, run: Run, out: Out) -> None:
        self.run, self.out = run, out
        self.has_detections = self.has_clips = False

    def write(self, one: Found, complete: Sequence[Region]) -> str:
        """Write the lines that are complete."""
        lines = [region_as_text(one.path, region) for region in complete if one.kind is not Kind.CLIP]
        self.out(b"".join([*lines, *([as_text(self.run, one)] if one.kind is not Kind.WINDOW else [])]))
        self.has_detections |= bool(lines)
        self.has_clips |= one.kind is Kind.CLIP
        return ""

    @property
    def summary(self) -> str:
        """How detections become labels, or clips a table."""
        if self.has_detections:
            return f"next: --format {' or '.join(LABELS)} writes these as labels to correct"
        return "next: --format csv writes these as a table" if self.has_clips else ""


class Labels:
    """A file of labels for each recording, which gets its name when it is complete; or labels on standard output."""

    def __init__(self, run: Run, format: str, files: dict[Path, Path | None]) -> None:
        self.format, self.files = LABELS[format], files
        self.band = float(run.record.settings["fmin"]), float(run.record.settings["fmax"])
        self.path: Path | None = None
        self.lines: list[str] = []
        self.n_regions, self.n_labels, self.n_files = 0, 0, 0

    def write(self, one: Found, complete: Sequence[Region]) -> str:
        """Take a prediction, and write the file after the last one of a recording."""
        if one.path != self.path:
            self.path, self.n_regions = one.path, 0
            self.lines = [self.format.HEADER] if self.format.HEADER else []
        for region in complete:
            self.n_regions += 1
            self.lines.append(self.format.line(self.n_regions, region, one.path.name, self.band))
        file = self.files[one.path]
        if file is None:
            to_stdout(_encoded(self.lines))
            self.lines = []
        elif one.kind in (Kind.RECORDING, Kind.CLIP):
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_file(file, _encoded(self.lines))
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                return f"{CLASSIFIED_BUT} its name is too long for the name of its labels"
            self.n_labels, self.n_files = self.n_labels + self.n_regions, self.n_files + 1
        return ""

    @property
    def summary(self) -> str:
        """How many labels went into how many files."""
        if not self.n_files:
            return ""
        what = f"{human_count(self.n_labels, 'label')} in {human_count(self.n_files, 'file')}"
        return f"{what}; next: {self.format.TO_OPEN} and correct them"


def _encoded(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def label_text(format: str, recording: str, regions: Iterable[Region], band: tuple[float, float] = (0.0, 0.0)) -> str:
    """Return the labels of a recording, by rising start, as a file of a format in LABELS; the band is in Hz."""
    writer = LABELS[format]
    lines = [writer.line(i, region, recording, band) for i, region in enumerate(regions, 1)]
    return _encoded([*filter(None, [writer.HEADER]), *lines]).decode()


def label_files(sources: Sequence[Source], format: str, out: Path | None, single: bool) -> dict[Path, Path | None]:
    """Return the file for the labels of each recording; None is standard output.

    That is in the folder `out`, or for a `single` recording, and where no folder has that name, `out` itself. Raises a
    UserError if `out` is missing or is not a folder where there are several recordings, or two would share a file.
    """
    if single and (out is None or not out.is_dir()):
        return {sources[0].path: out}
    if out is None or (out.exists() and not out.is_dir()):
        raise UserError(f"every recording gets a file of labels of its own; give a folder for them, as --out {format}")
    refuse_equal_names(sources, f"labelled in {out}")
    return {source.path: out / (source.name + LABELS[format].ENDING) for source in sources}


def refuse_equal_names(sources: Iterable[Source], where: str) -> None:
    """Raise a UserError if two recordings have the same name, and so would share files."""
    first: dict[str, Path] = {}
    for source in sources:
        other = first.setdefault(source.name, source.path)
        if other != source.path:
            raise UserError(
                f"{source.path} and {other} would both be {where} as {source.name}; give them one at a time"
            )


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
        self.regions: list[Region] = []
        self.n_files = self.n_loud = 0

    def write(self, one: Found, complete: Sequence[Region]) -> str:
        """Take a prediction, and write the files after the last one of a recording."""
        self.regions += complete
        if one.kind is Kind.WINDOW:
            return ""
        regions, self.regions = self.regions, []
        if one.kind is Kind.REJECTED or not regions:
            return ""
        try:
            self._cut(one.path, regions)
        except ClipError as error:
            return f"{CLASSIFIED_BUT} its segments cannot be cut: {error}"
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return f"{CLASSIFIED_BUT} its name is too long for the names of its segments"
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
    """Write regions of a recording as files, and return those that are not, because a sample is beyond the highest.

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


def _file_name(name: str, region: Region) -> str:
    # At any depth, as the recording is.
    return f"{name}_{region.start:09.2f}-{region.end:09.2f}.flac"


def _safe(class_name: str) -> str:
    """Return the name of a class as that of one folder, whatever characters it has."""
    return printable(class_name).replace("/", "_").lstrip(".") or "_"
