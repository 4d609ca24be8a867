"""Sinks: where predictions go as they come, as lines of text, CSV or JSON, or as labels of another program."""

import errno
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Protocol

from tqdm import tqdm

from cache.labels.annotation import Region
from cache.shared.errors import UserError
from cache.shared.files import replacing
from cache.shared.text import human_count
from train.predict.results import LABELS, Kind, Recording, Window
from train.predict.rows import as_text, region_as_text
from train.predict.sources import Source
from train.predict.windows import Detections
from train.runs.directory import Run

Found = Window | Recording

# Writes some lines at once, so that a reader of a pipe has them.
Out = Callable[[bytes], None]


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

    def write(self, one: Found) -> str:
        """Take the next one; return in words why its recording cannot be written, else ""."""

    @property
    def summary(self) -> str:
        """A sentence, after the last one, on the files that were written and the next step; "" if that shows."""


class Rows:
    """A line for each window and each recording."""

    summary = ""

    def __init__(self, run: Run, out: Out, line_of: Callable[[Run, Found], bytes]) -> None:
        self.run, self.out, self.line_of = run, out, line_of

    def write(self, one: Found) -> str:
        """Write the line."""
        self.out(self.line_of(self.run, one))
        return ""


class Regions:
    """A line for each detection in a long recording, and for each recording: text for people."""

    def __init__(self, run: Run, out: Out) -> None:
        self.run, self.out, self.detections = run, out, Detections()
        self.has_detections = self.has_clips = False

    def write(self, one: Found) -> str:
        """Write the lines that are complete."""
        found = self.detections.take(one)
        lines = [region_as_text(one.path, region) for region in found if one.kind is not Kind.CLIP]
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
        self.format, self.files, self.detections = LABELS[format], files, Detections()
        self.band = float(run.settings["fmin"]), float(run.settings["fmax"])
        self.path: Path | None = None
        self.lines: list[str] = []
        self.n_regions, self.n_labels, self.n_files = 0, 0, 0

    def write(self, one: Found) -> str:
        """Take a prediction, and write the file after the last one of a recording."""
        if one.path != self.path:
            self.path, self.n_regions = one.path, 0
            self.lines = [self.format.HEADER] if self.format.HEADER else []
        for region in self.detections.take(one):
            self.n_regions += 1
            self.lines.append(self.format.line(self.n_regions, region, one.path.name, self.band))
        file = self.files[one.path]
        if file is None:
            to_stdout(_encoded(self.lines))
            self.lines = []
        elif one.kind in (Kind.RECORDING, Kind.CLIP):
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                with replacing(file) as beside:
                    beside.write_bytes(_encoded(self.lines))
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                return "it is classified, but its name is too long for the name of its labels"
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
