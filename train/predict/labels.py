"""Predictions as labels to open beside the sound: an Audacity label track or a Raven selection table a recording."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import IO, NamedTuple

from cache.shared.errors import UserError
from cache.shared.text import printable
from train.predict.predict import Kind, Prediction
from train.predict.sources import Source
from train.runs.directory import Run

ENDINGS = {"audacity": ".labels.txt", "raven": ".selections.txt"}

_RAVEN = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")


class Region(NamedTuple):
    """A part of a recording with one label, in seconds, and the mean probability of that label."""

    start: float
    end: float
    label: str
    probability: float


def regions(windows: Iterable[Prediction]) -> Iterator[Region]:
    """Join the windows of a recording into regions that do not overlap.

    Where two windows overlap, each has the half that is nearer to it. Neighbours of one label are one region, and
    windows without a label leave a gap.
    """
    rest = iter(windows)
    last = next(rest, None)
    if last is None:
        return
    start, values = last.start, _value(last)
    for one in rest:
        edge = (one.start + last.end) / 2
        if one.label != last.label:
            yield from _region(start, edge, last.label, values)
            start, values = edge, []
        values += _value(one)
        last = one
    yield from _region(start, last.end, last.label, values)


def _value(one: Prediction) -> list[float]:
    return [one.probabilities[one.label]] if one.label else []


def _region(start: float, end: float, label: str, values: Sequence[float]) -> Iterator[Region]:
    if label:
        yield Region(start, end, label, sum(values) / len(values))


def label_files(sources: Sequence[Source], format: str, out: Path | None, single: bool) -> dict[Path, Path | None]:
    """Return the file for the labels of each recording; None is standard output.

    Parameters
    ----------
    sources
        The recordings.
    format
        A key of ENDINGS.
    out
        A folder; where there is a single recording and no folder of that name, the file itself.
    single
        Whether a file was named, and not a folder or several.

    Raises
    ------
    UserError
        `out` is missing or no folder where there are several recordings, or two would be labelled in one file.
    """
    if single and (out is None or not out.is_dir()):
        return {sources[0].path: out}
    if out is None or (out.exists() and not out.is_dir()):
        raise UserError(f"every recording has a file of labels of its own; give a folder for them, as --out {format}")
    files: dict[Path, Path | None] = {}
    named: dict[Path, Path] = {}
    for source in sources:
        file = out / (source.name + ENDINGS[format])
        if file in named:
            raise UserError(
                f"{source.path} and {named[file]} would both be labelled in {file}; give them one at a time"
            )
        files[source.path], named[file] = file, source.path
    return files


def write_labels(predictions: Iterable[Prediction], run: Run, format: str, files: dict[Path, Path | None]) -> None:
    """Write the labels of each recording; a file gets its name when it is whole, and one that is bad gets none."""
    for path, found in groupby(predictions, key=lambda one: one.path):
        with suppress(_RejectedError), _published(files[path]) as out:
            labelled = regions(_parts(found))
            for line in _raven_lines(run, path, labelled) if format == "raven" else _audacity_lines(labelled):
                out.write(line.encode("utf-8", "backslashreplace") + b"\n")
                out.flush()


class _RejectedError(Exception):
    """The recording is bad, so its labels are not published."""


def _parts(found: Iterable[Prediction]) -> Iterator[Prediction]:
    for one in found:
        if one.kind is Kind.REJECTED:
            raise _RejectedError
        if one.kind is not Kind.RECORDING:
            yield one


def _audacity_lines(found: Iterable[Region]) -> Iterator[str]:
    for region in found:
        yield f"{region.start:.6f}\t{region.end:.6f}\t{printable(region.label)}"


def _raven_lines(run: Run, path: Path, found: Iterable[Region]) -> Iterator[str]:
    yield "\t".join((*_RAVEN, "Begin File", "Class", "Probability"))
    low, high = float(run.settings["fmin"]), float(run.settings["fmax"])
    for i, region in enumerate(found, 1):
        times = f"{region.start:.6f}\t{region.end:.6f}\t{low:.1f}\t{high:.1f}"
        of = f"{printable(path.name)}\t{printable(region.label)}\t{region.probability:.4f}"
        yield f"{i}\tSpectrogram 1\t1\t{times}\t{of}"


@contextmanager
def _published(file: Path | None) -> Iterator[IO[bytes]]:
    if file is None:
        yield sys.stdout.buffer
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(file.name + ".part")
    try:
        with beside.open("wb") as out:
            yield out
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
